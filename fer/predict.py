"""Using a network that a study left behind.

>>> network = load_network("runs/<study>/models/trial-0012.safetensors")
>>> probabilities = predict_image(network, "face.jpg")
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fer import baseline
from fer.datasets import SIZE, pictures
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from fer.network import to_tensor
from fer.runtime import Runtime

_BATCH = 256


def load_network(path: str | Path) -> nn.Sequential:
    """Loads a network that a study saved, in evaluation mode, on the CPU.

    Raises:
        InputError: The file is not there, is damaged, or holds another network.
    """
    return baseline.load(Path(path), Runtime()).network


def predict_images(network: nn.Sequential, images: np.ndarray) -> np.ndarray:
    """Returns the probabilities (n, 7), in the order of `EXPRESSIONS`, for grey uint8 faces (n, 48, 48)."""
    with torch.inference_mode():
        parts = [
            network(to_tensor(torch.from_numpy(np.array(images[start : start + _BATCH])))).softmax(1)
            for start in range(0, len(images), _BATCH)
        ]
    return torch.cat(parts).numpy()


def predict_image(network: nn.Sequential, path: str | Path, equalise: bool = False) -> dict[str, float]:
    """Finds the face in an image file as the datasets' reader does and returns each expression's probability.

    Args:
        network: From `load_network`.
        path: An image of one face.
        equalise: Whether the study equalised histograms (`--equalise`).

    Raises:
        InputError: The file is no readable image.
    """
    return dict(
        zip(EXPRESSIONS, predict_images(network, read_face(Path(path), equalise)[None])[0].tolist(), strict=True)
    )


class _Exported(nn.Module):
    """The network with what comes before and after it: grey uint8 faces in, probabilities out."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the probabilities (n, 7) of faces (n, 48, 48)."""
        return self.network((images.unsqueeze(1).float() - 128.0) * (1 / 64)).softmax(1)


def export_onnx(network: nn.Sequential, path: str | Path) -> Path:
    """Writes a network as ONNX: input "faces" uint8 (n, 48, 48) for any n, output "probabilities" float32 (n, 7).

    The order of the expressions is in the file's metadata, under "expressions".

    Raises:
        InputError: The packages onnx and onnxscript are missing.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            "exporting needs the packages onnx and onnxscript", str(error), "pip install 'memory-integrity[onnx]'"
        ) from None
    faces = (torch.zeros(2, SIZE, SIZE, dtype=torch.uint8),)
    names: dict[str, Any] = {"input_names": ["faces"], "output_names": ["probabilities"]}
    program = torch.onnx.export(
        _Exported(network.cpu()).eval(), faces, dynamo=True, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("n")},), **names,
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {"expressions": ",".join(EXPRESSIONS)})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return Path(path)


def read_face(path: Path, equalise: bool = False) -> np.ndarray:
    """Returns the face of an image file as uint8 (48, 48); the central square where no face is found.

    Raises:
        InputError: The file is no readable image.
    """
    try:
        grey = pictures.decode(path.read_bytes())
    except (OSError, pictures.UnreadableImage) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError("an image must be readable", f"{path} ({reason})", "Give a JPEG, PNG, TIFF, …") from None
    box = pictures.find_face(grey) if min(grey.shape) > SIZE else None
    face = pictures.shrink(pictures.crop(grey, box) if box else grey)
    return pictures.equalise(face[None])[0] if equalise else face
