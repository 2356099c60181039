"""The user's own weights: read, named, put into the study's order, and written as a file of this project."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from made_weights import OWN, WRONG, State, state_of
from torch import nn

from conftest import TINY_NETWORK, TINY_WIDTH
from fer.architecture import VGG13, Architecture
from fer.baseline import baseline_digest
from fer.baseline_job import BaselineConfig, Pretrained
from fer.errors import InputError
from fer.expressions import EIGHT, EXPRESSIONS, SEVEN
from fer.files import UnsuitableFile, read_unchanged
from fer.model import weights
from fer.model.chains import NetworkRequest, build_module, find_architecture, request
from fer.model.equality import seeded
from fer.model.own_weights import OwnFile, choose_rows, import_weights, load_features
from fer.model.states import read_state
from fer.runtime import Runtime
from fer.tensor_files import MOST_TENSORS, damage_of, read_header
from made_networks import is_one_line

CLASSES = ("Neutral", "happy", "SAD", "surprised", "fear", "disgust", "angry", "contempt")
"""Eight, in an order that is not the study's."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    """The user's own network, with the seven."""
    folder = tmp_path_factory.mktemp("blocks")
    return find_architecture(request(NetworkRequest(OWN, 48, 7)), folder)


def saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def logits_of(path: Path, images: torch.Tensor) -> torch.Tensor:
    trained = weights.load_network(path, Runtime(), own=OWN)
    return trained.network(images.expand(-1, trained.architecture.channels, -1, -1)).detach()


def original_logits(architecture: Architecture, state: State, classes: int) -> torch.Tensor:
    """Returns what the user's network answers to `IMAGES`, however it was saved."""
    module = build_module(replace(architecture, classes=classes))
    module.load_state_dict(state)
    with torch.no_grad():
        return module.eval()(IMAGES.expand(-1, architecture.channels, -1, -1))


with seeded(1):
    IMAGES = torch.randn(5, 1, 48, 48)


def no_change(state: State) -> State:
    return state


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "plain": no_change,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "best": 0.7},
    "model": lambda state: {"model": state, "optimizer": {"lr": 1.0}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "net": lambda state: {"net": state},
    "ema": lambda state: {"ema": state},
    "nested": lambda state: {"model": {"state_dict": state}},
    "DataParallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled": lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
    "Lightning": lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
    "both": lambda state: {"net": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
    "averaged": lambda state: (
        {f"module.{name}": tensor for name, tensor in state.items()} | {"n_averaged": torch.tensor(7)}
    ),
    "half": lambda state: {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_trained_network_has_the_weights_of_its_file_however_that_was_saved(wrapping, network, tmp_path):
    state = state_of(network)
    if wrapping == "half":
        state = {
            name: tensor.half().float() if tensor.is_floating_point() else tensor for name, tensor in state.items()
        }
    path = saved(WRAPPINGS[wrapping](state), tmp_path / "mine.pth")

    imported = import_weights(OwnFile(path, "baseline"), network, SEVEN, tmp_path)

    taken = read_state(imported.path).tensors
    assert taken.keys() == state.keys() and all(torch.equal(taken[name], state[name]) for name in state)
    assert any("--classes" in note and "anger, disgust" in note for note in imported.notes)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_kind_of_file_it_is_its_content_says(legacy, network, tmp_path):
    state = state_of(network)
    torch.save(state, tmp_path / "n.safetensors", _use_new_zipfile_serialization=not legacy)
    safetensors.torch.save_file(state, tmp_path / "n.pt")

    for name in ("n.safetensors", "n.pt"):
        tensors = read_state(tmp_path / name).tensors
        assert all(torch.equal(tensors[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize("name", [OWN, VGG13.name])
def test_logits_are_put_into_the_studys_order_and_other_classes_are_left_out(name, network, tmp_path):
    architecture = network if name == OWN else replace(VGG13, width=TINY_WIDTH)
    state = state_of(architecture, classes=8)
    path = saved(state, tmp_path / "eight.pt")

    imported = import_weights(OwnFile(path, "baseline", CLASSES), architecture, SEVEN, tmp_path)

    order = [6, 5, 4, 1, 2, 3, 0]
    wanted = original_logits(architecture, state, 8)[:, order]
    assert torch.allclose(logits_of(imported.path, IMAGES), wanted, atol=1e-4)
    assert imported.architecture.classes == 7 and not imported.notes


def test_eight_in_another_order_are_eight_in_the_studys(network, tmp_path):
    state = state_of(network, classes=8)
    path = saved(state, tmp_path / "eight.pt")

    imported = import_weights(OwnFile(path, "baseline", CLASSES), replace(network, classes=8), EIGHT, tmp_path)

    wanted = original_logits(network, state, 8)[:, [6, 5, 4, 1, 2, 3, 0, 7]]
    assert torch.allclose(logits_of(imported.path, IMAGES), wanted, atol=1e-4)
    assert weights.load_network(imported.path, Runtime(), own=OWN).expressions == EIGHT.names


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("happy", "sad"), "no anger, disgust"),
        ((*CLASSES[:6], "contempt"), "no anger among"),
        ((*CLASSES, "fury", "anger"), "anger twice"),
        (("a",), "2 to 32 classes"),
    ],
)
def test_classes_that_are_not_the_studys_are_refused(classes, message):
    with pytest.raises(InputError, match=message) as caught:
        choose_rows(classes, SEVEN, Path("n.pt"))
    assert is_one_line(caught.value)


class Shared(nn.Module):
    """A network whose logits depend on all classes at once: leaving one out changes the others."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.first(images)).log_softmax(1)


def shared(num_classes: int) -> nn.Module:
    return Shared(num_classes)


def test_logits_that_cannot_be_left_out_are_refused(tmp_path):
    name = f"{__name__}:shared"
    architecture = find_architecture(request(NetworkRequest(name, 48, 7)))
    path = saved(state_of(architecture, classes=8), tmp_path / "n.pt")
    with pytest.raises(InputError, match="a row for each of them"):
        import_weights(OwnFile(path, "baseline", CLASSES), architecture, SEVEN, tmp_path)


@pytest.mark.parametrize("classes", [7, 1000])
@pytest.mark.parametrize("name", [OWN, VGG13.name])
def test_pretrained_features_come_with_a_new_head(name, classes, network, tmp_path):
    architecture = network if name == OWN else replace(VGG13, width=TINY_WIDTH, blocks=VGG13.blocks)
    state = state_of(architecture, classes=classes)
    path = saved(state, tmp_path / "features.pth")

    imported = import_weights(OwnFile(path, "features"), architecture, SEVEN, tmp_path)
    module = build_module(architecture, seed=5)
    new = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    load_features(module, imported.path)

    head = "head." if name == OWN else "fc"
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, new[key] if key.startswith(head) else state[key]), key


def test_features_without_any_head_are_features(network, tmp_path):
    state = {name: tensor for name, tensor in state_of(network).items() if not name.startswith("head.")}
    path = saved(state, tmp_path / "features.pth")
    assert import_weights(OwnFile(path, "features"), network, SEVEN, tmp_path).path.exists()
    with pytest.raises(InputError, match=r"features without the head: missing: head.*--pretrained"):
        import_weights(OwnFile(path, "baseline"), network, SEVEN, tmp_path)


def test_an_edited_file_is_another_one_and_an_equal_one_is_found_again(network, tmp_path):
    state = state_of(network)
    path = saved(state, tmp_path / "n.pt")
    first = import_weights(OwnFile(path, "baseline"), network, SEVEN, tmp_path)
    written = first.path.stat().st_mtime_ns
    again = import_weights(OwnFile(path, "baseline"), network, SEVEN, tmp_path)
    state["head.4.bias"][0] += 1
    edited = import_weights(OwnFile(saved(state, path), "baseline"), network, SEVEN, tmp_path)

    assert again.path == first.path and again.path.stat().st_mtime_ns == written
    assert edited.path != first.path and edited.checksum != first.checksum
    assert read_header(first.path).metadata["origin"] == f"n.pt ({first.checksum})"


def test_a_damaged_copy_is_written_again(network, tmp_path):
    path = saved(state_of(network), tmp_path / "n.pt")
    copy = import_weights(OwnFile(path, "baseline"), network, SEVEN, tmp_path).path
    whole = read_header(copy).metadata
    copy.write_bytes(copy.read_bytes()[:-9])
    again = import_weights(OwnFile(path, "baseline"), network, SEVEN, tmp_path).path
    assert again == copy and read_header(again).metadata == whole and damage_of(again) is None


def test_a_baseline_from_other_features_has_another_hash(source):
    config = BaselineConfig(network=TINY_NETWORK)
    plain, first, second = (
        baseline_digest(source, replace(config, pretrained=features), Runtime())
        for features in (None, Pretrained(Path("a"), "a", "1"), Pretrained(Path("a"), "a", "2"))
    )
    assert len({plain, first, second}) == 3


def test_a_network_of_this_project_says_itself_what_it_is(network, tmp_path):
    state = state_of(network)
    mine = saved(state, tmp_path / "n.pt")
    project = import_weights(OwnFile(mine, "baseline"), network, SEVEN, tmp_path).path

    imported = import_weights(OwnFile(project, "baseline"), network, SEVEN, tmp_path / "other")
    assert not imported.notes and torch.equal(logits_of(imported.path, IMAGES), logits_of(project, IMAGES))

    for wanted, expressions, classes, message in (
        (replace(VGG13, width=TINY_WIDTH), SEVEN, (), "--network is vgg13"),
        (replace(network, size=64), SEVEN, (), "it says size 48, and the study has 64"),
        (replace(network, mean=(0.5, 0.5, 0.5)), SEVEN, (), "it says mean 0.485.*see --mean"),
        (replace(network, classes=8), EIGHT, (), "no contempt among"),
        (network, SEVEN, EXPRESSIONS[::-1], "as the file itself does"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            import_weights(OwnFile(project, "baseline", classes), wanted, expressions, tmp_path)
        assert is_one_line(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_dropped_with_a_word(name, tmp_path):
    torchvision = pytest.importorskip("torchvision")
    size = 96
    whole = torchvision.models.get_model(name, weights=None, num_classes=7, init_weights=False, aux_logits=True)
    path = saved(whole.state_dict(), tmp_path / "n.pth")
    wanted = find_architecture(request(NetworkRequest(name, size, 7)))
    imported = import_weights(OwnFile(path, "baseline", EXPRESSIONS), wanted, SEVEN, tmp_path)
    assert any("auxiliary heads" in note for note in imported.notes)


def test_files_of_more_than_a_thousand_tensors_are_read(tmp_path):
    state = {f"layer{number}": torch.zeros(1) for number in range(1207)}
    assert len(state) < MOST_TENSORS
    safetensors.torch.save_file(state, tmp_path / "n.safetensors")
    assert len(read_state(tmp_path / "n.safetensors").tensors) == len(state)


@pytest.mark.parametrize("beginning", [b"\x80", b"PK"])
def test_a_header_may_be_as_long_as_the_beginning_of_another_kind_of_file(beginning, tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    length = int.from_bytes(beginning, "little")
    path = tmp_path / "n.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + bytes(4))
    assert path.read_bytes().startswith(beginning) and list(read_state(path).tensors) == ["a"]


# Files that cannot be used.


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(case, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, message = WRONG[case]
    path = tmp_path / "mine.pt"
    write(path, state_of(network))

    with pytest.raises(InputError, match=message) as caught:
        import_weights(OwnFile(path, "baseline"), network, SEVEN, tmp_path / "copies")

    assert is_one_line(caught.value) and not (tmp_path / "copies").exists()
    assert not (tmp_path / "executed").exists()


def test_torchscript_is_not_executed(tmp_path):
    path = tmp_path / "n.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))
    with pytest.raises(InputError, match="a program of TorchScript"):
        read_state(path)


def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "n.pt"
    path.write_bytes(bytes(2**24))
    is_over = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not is_over.is_set():
                file.write(b"x")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(UnsuitableFile, match="written while it was read"):
            for _ in range(200):
                read_unchanged(path, 2**30)
    finally:
        is_over.set()
        writer.join()


def test_weights_need_no_more_of_the_folder_than_the_file(network, tmp_path):
    path = saved(state_of(network), tmp_path / "n.pt")
    moved = shutil.copy(path, tmp_path / "copy of n.pt")
    first, second = (
        import_weights(OwnFile(Path(each), "baseline"), network, SEVEN, tmp_path) for each in (path, moved)
    )
    assert first.path == second.path


@pytest.mark.slow
def test_a_larger_network_of_the_family_is_another_network(tmp_path):
    wanted = find_architecture(request(NetworkRequest("resnet18", 32, 7)))
    larger = build_module(request(NetworkRequest("resnet34", 32, 7)))
    path = saved(larger.state_dict(), tmp_path / "n.pth")
    for kind in ("baseline", "features"):
        with pytest.raises(InputError, match=r"another network: unexpected: layer1\.2"):
            import_weights(OwnFile(path, kind), wanted, SEVEN, tmp_path)
