"""ONNX of networks other than vgg13: `study.predict --export` writes what gives the network's own answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from fer.model import weights
from fer.model.chains import NetworkRequest, build_chain, find_architecture, request
from fer.predict import load_network, predict_images
from study import predict

pytestmark = pytest.mark.slow

SIZE = 32
HERE = "test_fer_onnx"


def vit(num_classes: int) -> nn.Module:
    """Returns a transformer of torchvision's with two thin layers."""
    return torchvision.models.VisionTransformer(SIZE, 8, 2, 2, 32, 64, num_classes=num_classes)


class Linear(nn.Module):
    """One layer, on which others build."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.head = nn.Linear(3 * 4 * 4, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(images).flatten(1))


class Branching(Linear):
    """Computes otherwise where the images are bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return logits if images.mean() > 0 else 2 * logits


class ThroughNumpy(Linear):
    """Leaves torch for a moment, with the pooled images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = torch.tensor(self.pool(images).tolist())
        return self.head(pooled.flatten(1))


def save(name: str, colour: str, folder: Path) -> Path:
    """Writes the file of a network with new weights."""
    architecture = find_architecture(request(NetworkRequest(name, SIZE, 7)), folder)
    chain = build_chain(architecture, 3, folder)
    path = folder / "n.safetensors"
    header = weights.colour_entry([colour])
    weights.save_blocks(weights.baseline_of(chain, architecture), chain.network.eval(), path, header)
    return path


@pytest.mark.parametrize(
    ("name", "colour"),
    [("resnet18", "rgb"), ("resnet18", "grey"), ("efficientnet_b0", "rgb"), (f"{HERE}:vit", "rgb"),
     (f"{HERE}:vit", "grey")],
)  # fmt: skip
def test_onnx_of_any_network_gives_what_the_network_gives(name: str, colour: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = save(name, colour, tmp_path)
    exported = tmp_path / "n.onnx"

    assert predict.main([str(model), "--network", name, "--export", str(exported)]) == 0

    network = load_network(model, name)
    shape = (3, SIZE, SIZE) if colour == "rgb" else (SIZE, SIZE)
    assert network.face_shape == shape
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        pixels = np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)
        (found,) = session.run(None, {"faces": pixels})
        np.testing.assert_allclose(found, predict_images(network, pixels), atol=1e-4)


@pytest.mark.parametrize("kind", [Branching, ThroughNumpy])
def test_a_network_that_cannot_be_exported_is_told_in_one_line(
    kind: type[nn.Module], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    name = f"{HERE}:{kind.__name__}"
    module = kind(7)
    path = tmp_path / "n.safetensors"
    about = weights.architecture_header(request(NetworkRequest(name, SIZE, 7)))
    weights.save_tensors(path, module.state_dict(), about)
    exported = tmp_path / "n.onnx"
    capfd.readouterr()

    assert predict.main([str(path), "--network", name, "--export", str(exported)]) == 2

    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "a network that is exported computes with torch alone" in said
    assert not exported.exists()
