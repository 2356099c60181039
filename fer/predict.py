"""Using a network that a study left behind.

>>> network = load_network("runs/<study>/models/trial-0012.safetensors")
>>> probabilities = predict_image(network, "face.jpg")
"""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fer.datasets import SIZE, faces
from fer.errors import InputError
from fer.expressions import usual_names
from fer.files import read_regular, write_atomically
from fer.image_format import GREY, PAPER_FORMAT, RGB, ImageFormat
from fer.model import weights
from fer.model.inputs import to_tensor

_BATCH = 256
_EXPORT_TOLERANCE = 1e-4
"""How far a probability of an exported network may be from the network's."""


class FaceNetwork(nn.Module):
    """A network with what has to be known of the images that it is given.

    Called with its input, float32 (n, *image_format.shape), it returns the logits (n, classes).

    Attributes:
        network: The network itself.
        image_format: Size, channels and scaling of its images.
        colour: "grey" or "rgb": whether faces are read in colour, as those were that it learned from.
        names: The expressions that its logits stand for; none for the usual seven or eight.
    """

    def __init__(
        self,
        network: nn.Module,
        image_format: ImageFormat = PAPER_FORMAT,
        colour: str = GREY,
        names: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.image_format = image_format
        self.colour = colour
        self.names = names

    @property
    def face_shape(self) -> tuple[int, ...]:
        """The shape of a face, uint8: (size, size), or (3, size, size) where it is read in colour."""
        size = self.image_format.size
        return (3, size, size) if self.colour == RGB else (size, size)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the logits (n, classes) of the network's inputs (n, *image_format.shape)."""
        return self.network(inputs)


def _with_format(network: nn.Module) -> FaceNetwork:
    """Returns a network with the format of its images; one that was not loaded from a file is vgg13."""
    return network if isinstance(network, FaceNetwork) else FaceNetwork(network)


def load_network(path: str | Path, own: str = "") -> FaceNetwork:
    """Loads a network that a study saved.

    Args:
        path: A file of a study's folder `models/`.
        own: The user's own function that made the network, "package.module:function"; it is run. Other networks need
            none.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        InputError: The file does not exist, does not match its checksum, or holds another network.
    """
    loaded = weights.load_module(Path(path), own)
    return FaceNetwork(loaded.module, loaded.architecture.images, loaded.colour, loaded.names).eval()


def predict_images(network: nn.Module, images: np.ndarray, file: str | Path = "this network") -> np.ndarray:
    """Computes the probability of each expression for faces that are cut out already.

    Args:
        network: From `load_network`.
        images: uint8 (n, size, size), grey, of the network's size, 48 of vgg13. For a network of colour images also
            (n, 3, size, size) or (n, size, size, 3): red, green and blue.
        file: Where the network comes from, for the error.

    Returns:
        float32 (n, classes), in the order of `FaceNetwork.names`.

    Raises:
        InputError: The images have another shape or type.
        UnusableNetwork: Its weights are so large that its answers are not finite.
    """
    faced = _with_format(network)
    # Without images, one stands in for them, so that the answer has its columns.
    if not len(images):
        return predict_images(faced, np.zeros((1, *faced.face_shape), np.uint8), file)[:0]

    images = _channels_first(faced, images)
    batches = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            # A copy, because torch warns of arrays that it may not write to.
            batch = torch.from_numpy(np.array(images[start : start + _BATCH]))
            batches.append(faced(to_tensor(batch, faced.image_format)).softmax(1))
    probabilities = torch.cat(batches)
    if not bool(probabilities.isfinite().all()):
        raise UnusableNetwork(file)
    return probabilities.numpy()


def _channels_first(network: FaceNetwork, images: np.ndarray) -> np.ndarray:
    """Returns faces as a network is given them: uint8 (n, size, size), grey, or (n, 3, size, size).

    Raises:
        InputError: They have another shape or type.
    """
    size = network.image_format.size
    allowed = [(size, size)]
    if network.colour == RGB:
        allowed += [(3, size, size), (size, size, 3)]  # type: ignore[list-item]
    if images.dtype != np.uint8 or images.shape[1:] not in allowed:
        shapes = " or ".join(str(("n", *shape)).replace("'", "") for shape in allowed)
        raise InputError(
            f"faces of this network are uint8 {shapes}",
            f"{images.dtype} {images.shape}",
            "Resize the faces, or give the image files.",
        )
    is_channels_last = images.ndim == 4 and images.shape[-1] == 3
    return images.transpose(0, 3, 1, 2) if is_channels_last else images


class UnusableNetwork(InputError):
    """A network whose answers are not finite, whatever the image."""

    def __init__(self, file: str | Path) -> None:
        super().__init__("a network's answers are finite numbers", file, "Train it again, or give another network.")


def predict_image(
    network: nn.Module, path: str | Path, equalise: bool = False, file: str | Path = "this network"
) -> dict[str, float]:
    """Finds the face in an image file, as the datasets' reader does, and computes each expression's probability.

    Args:
        network: From `load_network`.
        path: An image of one face.
        equalise: Whether the study equalised histograms (`--equalise`).
        file: Where the network comes from, for the error.

    Returns:
        The probabilities by expression, in the order of the names.

    Raises:
        InputError: The file is not a readable image, or the network's answers are not finite (`UnusableNetwork`).
    """
    faced = _with_format(network)
    face = read_face(Path(path), equalise, faced.image_format.size, faced.colour)
    (probabilities,) = predict_images(faced, face[None], file).tolist()
    return dict(zip(faced.names or usual_names(len(probabilities)), probabilities, strict=True))


class _Exported(nn.Module):
    """The network from uint8 faces to probabilities, for a file that is used without this project."""

    def __init__(self, network: FaceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the probabilities (n, classes) of faces (n, *face_shape)."""
        return self.network(to_tensor(images, self.network.image_format)).softmax(1)


def export_onnx(network: nn.Module, path: str | Path, file: str | Path = "this network") -> Path:
    """Writes a network as ONNX: input "faces" uint8, output "probabilities" float32 (n, classes), any n.

    Faces are (n, size, size), of vgg13 (n, 48, 48); of a network of colour images (n, 3, size, size). Scaling is part
    of the file.
    The order of the expressions is in the file's metadata, under "expressions".

    Args:
        network: From `load_network`.
        path: The file to write.
        file: Where the network comes from, for the error.

    Returns:
        The file's path.

    Raises:
        InputError: The packages of the extra onnx are missing, the network's answers are not finite, or ONNX cannot
            express what the network computes.
    """
    # Refuses a network whose answers are not finite. Three faces: the network is exported with two.
    faced = _with_format(network)
    faces_tried = np.random.default_rng(0).integers(0, 256, (3, *faced.face_shape), dtype=np.uint8)
    answers = predict_images(faced, faces_tried, file)

    # Optional packages.
    try:
        import onnx  # noqa: PLC0415
        import onnxruntime  # noqa: PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise InputError(
            "exporting needs the packages onnx, onnxscript and onnxruntime",
            str(error),
            "pip install 'memory-integrity[onnx]'",
        ) from None

    model = _to_onnx(faced, file)
    expressions = faced.names or usual_names(answers.shape[1])
    onnx.helper.set_model_props(model, {"expressions": ",".join(expressions)})
    content = model.SerializeToString()

    # Code that leaves torch for a moment is exported without an error, as the constant that it gave.
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"faces": faces_tried})
    except Exception as error:  # onnxruntime's own of several kinds
        raise _no_export(file, f"onnxruntime: {_first_line(error)}") from None
    if found.shape != answers.shape:
        raise _no_export(file, f"it would give {len(found)} answers for {len(answers)} faces")
    difference = float(np.abs(found - answers).max())
    if not difference <= _EXPORT_TOLERANCE:
        raise _no_export(file, f"its probabilities would differ by {difference:.2g}")

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), content)
    return Path(path)


def _to_onnx(network: FaceNetwork, file: str | Path) -> Any:  # noqa: ANN401  an onnx.ModelProto, of an optional package
    """Returns a network as a model of ONNX, of which `export_onnx` says what goes in and comes out.

    Raises:
        InputError: torch cannot export it.
    """
    # Two faces as an example; their number stays free.
    example = (torch.zeros(2, *network.face_shape, dtype=torch.uint8),)
    ends: dict[str, Any] = {"input_names": ["faces"], "output_names": ["probabilities"]}

    try:
        with redirect_stderr(StringIO()):  # where it fails, torch prints the whole graph
            program = torch.onnx.export(
                _Exported(network.cpu()).eval(), example, dynamo=True, verbose=False,
                dynamic_shapes=({0: torch.export.Dim("n")},), **ends,
            )  # fmt: skip
    except Exception as error:  # torch's own of several kinds, and whatever the network's code raises
        cause = error.__cause__ or error
        raise _no_export(file, f"{type(cause).__name__}: {_first_line(cause)}") from None
    assert program is not None
    return program.model_proto


def _first_line(error: BaseException) -> str:
    """Returns the first line of an error's message; torch and onnxruntime write pages."""
    return (str(error).splitlines() or [""])[0]


def _no_export(file: str | Path, reason: str) -> InputError:
    """Returns the error for a network that cannot be exported."""
    return InputError(
        "a network that is exported computes with torch alone, and takes the same steps for all images",
        f"{file} ({reason})",
        "Use it from Python: fer.predict.load_network.",
    )


def read_face(path: Path, equalise: bool = False, size: int = SIZE, colour: str = GREY) -> np.ndarray:
    """Returns the face of an image file, prepared as the datasets' reader prepares it.

    Args:
        path: An image of one face; an image no larger than 48 pixels on one side is taken for the face itself.
        equalise: Whether histograms are equalised.
        size: Height and width of the face.
        colour: "grey", or "rgb" to keep the colour of a file that has it.

    Returns:
        uint8 (size, size); or with "rgb" (3, size, size), whose channels are equal where the file is grey. The central
        square where no face is found.

    Raises:
        InputError: The file is not a readable image.
    """
    try:
        picture = faces.decode(read_regular(path, faces.MOST_BYTES), colour == RGB)
    except (OSError, ValueError) as error:  # a ValueError: no image, or the path holds a NUL
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        is_absent = isinstance(error, FileNotFoundError)
        fix = "Give an image file that exists." if is_absent else "Give a JPEG, PNG, TIFF, …"
        raise InputError("an image must be readable", f"{path} ({reason})", fix) from None

    box = faces.find_face(faces.to_grey(picture)) if min(picture.shape[:2]) > SIZE else None
    if box:
        picture = faces.crop_square(picture, box)
    face = faces.resize_face(picture, size)
    if face.ndim == 3:
        face = face.transpose(2, 0, 1)
    if equalise:
        (face,) = faces.equalise(face[None])
    return np.stack([face] * 3) if colour == RGB and face.ndim == 2 else face
