"""Using a network that a study left behind.

>>> network = load_network("runs/<study>/models/trial-0012.safetensors")
>>> probabilities = predict_image(network, "face.jpg")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fer.datasets import SIZE, faces
from fer.errors import InputError
from fer.expressions import usual_names
from fer.files import read_regular
from fer.model import weights
from fer.model.vgg import to_tensor

_BATCH = 256


def load_network(path: str | Path, own: str = "") -> nn.Module:
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
    module, _, _ = weights.load_module(Path(path), own)
    return module


def read_names(path: str | Path, own: str = "") -> tuple[str, ...]:
    """Returns the expressions that a network's logits stand for, in their order.

    Args:
        path: A file of a study's folder `models/`.
        own: See `load_network`.

    Raises:
        InputError: See `load_network`.
    """
    _, _, names = weights.load_module(Path(path), own)
    return names


def predict_images(network: nn.Module, images: np.ndarray, file: str | Path = "this network") -> np.ndarray:
    """Computes the probability of each expression for faces that are cut out already.

    Args:
        network: From `load_network`.
        images: uint8 (n, 48, 48), grey.
        file: Where the network comes from, for the error.

    Returns:
        float32 (n, classes), in the order of `read_names`.

    Raises:
        UnusableNetwork: Its weights are so large that its answers are not finite.
    """
    # Without images, one stands in for them, so that the answer has its columns.
    if not len(images):
        return predict_images(network, np.zeros((1, SIZE, SIZE), np.uint8), file)[:0]

    batches = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            # A copy, because torch warns of arrays that it may not write to.
            batch = torch.from_numpy(np.array(images[start : start + _BATCH]))
            batches.append(network(to_tensor(batch)).softmax(1))
    probabilities = torch.cat(batches)
    if not bool(probabilities.isfinite().all()):
        raise UnusableNetwork(file)
    return probabilities.numpy()


class UnusableNetwork(InputError):
    """A network whose answers are not finite, whatever the image."""

    def __init__(self, file: str | Path) -> None:
        super().__init__("a network's answers are finite numbers", file, "Train it again, or give another network.")


def predict_image(
    network: nn.Module,
    path: str | Path,
    equalise: bool = False,
    file: str | Path = "this network",
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Finds the face in an image file, as the datasets' reader does, and computes each expression's probability.

    Args:
        network: From `load_network`.
        path: An image of one face.
        equalise: Whether the study equalised histograms (`--equalise`).
        file: Where the network comes from, for the error.
        names: The expressions that its logits stand for, see `read_names`; None for the usual seven or eight.

    Returns:
        The probabilities by expression, in the order of the names.

    Raises:
        InputError: The file is not a readable image, or the network's answers are not finite (`UnusableNetwork`).
    """
    face = read_face(Path(path), equalise)
    (probabilities,) = predict_images(network, face[None], file).tolist()
    return dict(zip(names or usual_names(len(probabilities)), probabilities, strict=True))


class _Exported(nn.Module):
    """The network from grey uint8 faces to probabilities, for a file that is used without this project."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the probabilities (n, classes) of faces (n, 48, 48)."""
        return self.network((images.unsqueeze(1).float() - 128.0) * (1 / 64)).softmax(1)


def export_onnx(
    network: nn.Module,
    path: str | Path,
    file: str | Path = "this network",
    names: Sequence[str] | None = None,
) -> Path:
    """Writes a network as ONNX: input "faces" uint8 (n, 48, 48), output "probabilities" float32 (n, classes), any n.

    The order of the expressions is in the file's metadata, under "expressions".

    Args:
        network: From `load_network`.
        path: The file to write.
        file: Where the network comes from, for the error.
        names: The expressions that its logits stand for, see `read_names`; None for the usual seven or eight.

    Returns:
        The file's path.

    Raises:
        InputError: The packages onnx and onnxscript are missing, or the network's answers are not finite.
    """
    # Refuses a network whose answers are not finite.
    answers = predict_images(network, np.full((1, SIZE, SIZE), 200, np.uint8), file)

    # Optional packages.
    try:
        import onnx  # noqa: PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise InputError(
            "exporting needs the packages onnx and onnxscript", str(error), "pip install 'memory-integrity[onnx]'"
        ) from None

    # Two faces as an example; their number stays free.
    example = (torch.zeros(2, SIZE, SIZE, dtype=torch.uint8),)
    ends: dict[str, Any] = {"input_names": ["faces"], "output_names": ["probabilities"]}
    program = torch.onnx.export(
        _Exported(network.cpu()).eval(), example, dynamo=True, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("n")},), **ends,
    )  # fmt: skip
    assert program is not None

    model = program.model_proto
    expressions = names or usual_names(answers.shape[1])
    onnx.helper.set_model_props(model, {"expressions": ",".join(expressions)})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return Path(path)


def read_face(path: Path, equalise: bool = False) -> np.ndarray:
    """Returns the face of an image file, prepared as the datasets' reader prepares it.

    Args:
        path: An image of one face; an image no larger than 48 pixels on one side is taken for the face itself.
        equalise: Whether histograms are equalised.

    Returns:
        uint8 (48, 48), grey; the central square where no face is found.

    Raises:
        InputError: The file is not a readable image.
    """
    try:
        grey = faces.decode(read_regular(path, faces.MOST_BYTES))
    except (OSError, ValueError) as error:  # a ValueError: no image, or the path holds a NUL
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError("an image must be readable", f"{path} ({reason})", "Give a JPEG, PNG, TIFF, …") from None

    box = faces.find_face(grey) if min(grey.shape) > SIZE else None
    if box:
        grey = faces.crop_square(grey, box)
    face = faces.resize_face(grey)
    if equalise:
        (face,) = faces.equalise(face[None])
    return face
