"""Network files for tests: a tiny network, its file, and files whose headers say what no header should."""

import json

import pytest
import torch

from conftest import TINY_WIDTH
from fer.errors import InputError
from fer.model import weights
from fer.model.vgg import build

Tensors = dict[str, torch.Tensor]
LONGEST_LINE = 700
FIRST_WEIGHT = "conv1_1.conv.weight"


def safetensors(header: object, data: bytes = b"") -> bytes:
    """Returns a file with this header, which is JSON unless it is bytes already."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def place(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4), **more: object) -> dict[str, object]:
    """Returns what a header says of one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more


def one_tensor(**changes: object) -> bytes:
    """Returns a file of one tensor of four bytes, with some of its description changed."""
    return safetensors({"a": place(**changes)}, bytes(4))


def is_one_line(error: InputError) -> bool:
    text = str(error)
    return "\n" not in text and text.isprintable() and len(text) <= LONGEST_LINE


@pytest.fixture(scope="module")
def network() -> torch.nn.Sequential:
    return build(TINY_WIDTH, seed=1).eval()


@pytest.fixture(scope="module")
def network_bytes(network: torch.nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("network") / "n.safetensors"
    weights.save_network(network, path, {"width": str(TINY_WIDTH), "strategy": "FC"})
    return path.read_bytes()


def distance(network: torch.nn.Sequential, baseline: weights.Baseline) -> float:
    """Returns how far a network's weights are from the baseline's."""
    pairs = zip(network.parameters(), baseline.network.parameters(), strict=True)
    return float(sum((p - q).square().sum() for p, q in pairs) ** 0.5)
