"""Network files, caches and images that anybody may have written: refused with a line, or made again, never trusted."""

import csv
import io
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conftest import TINY, TINY_WIDTH
from fer import baseline, tensor_files
from fer.adaptation.methods import named
from fer.adaptation.procedure import adapt
from fer.adaptation.task import open_source
from fer.baseline import BaselineConfig
from fer.config import ViewRecipe
from fer.errors import InputError, printable
from fer.files import write_atomically
from fer.model import weights
from fer.model.vgg import build
from fer.predict import UnusableNetwork, export_onnx, load_network, predict_image, predict_images
from fer.runtime import Runtime, digest_of
from fer.tensor_files import DamagedTensorFile, damage_of
from fer.tensors import load_tensors, save_tensors
from fer.training import penalties
from made_study import made_info, made_trial
from study import predict, report
from study.fronts import front_table
from study.tracking import models
from study.trials import pd, trials_table

LONGEST_LINE = 700
FIRST = "conv1_1.conv.weight"


def safetensors(header: object, data: bytes = b"") -> bytes:
    """Returns a file with this header, which is JSON unless it is bytes already."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def place(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more


def entry(**changes: object) -> bytes:
    """Returns a file of one tensor of four bytes, with some of its description changed."""
    return safetensors({"a": place(**changes)}, bytes(4))


def is_one_line(error: InputError) -> bool:
    text = str(error)
    return "\n" not in text and text.isprintable() and len(text) <= LONGEST_LINE


def flipped(content: bytes, position: int, bit: int = 0) -> bytes:
    harmed = bytearray(content)
    harmed[position] ^= 1 << bit
    return bytes(harmed)


@pytest.fixture(scope="module")
def network() -> torch.nn.Sequential:
    return build(TINY_WIDTH, seed=1).eval()


@pytest.fixture(scope="module")
def network_bytes(network: torch.nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("network") / "n.safetensors"
    weights.save_network(network, path, {"width": str(TINY_WIDTH), "strategy": "FC"})
    return path.read_bytes()


# Headers.

HEADERS: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "empty file": (b"", "ends within its header"),
    "half of the length": (b"\x01\x00", "ends within its header"),
    "length alone": ((100).to_bytes(8, "little"), "ends within its header"),
    "length beyond the file": ((10**6).to_bytes(8, "little") + b"{}", "ends within its header"),
    "endless length": ((2**64 - 1).to_bytes(8, "little") + b"{}", "more than 4 MiB"),
    "pickle": (b"\x80\x04\x95 pickle", "more than 4 MiB"),
    "zip of torch.save": (b"PK\x03\x04" + bytes(100), "not JSON|within its header|more than"),
    "zeros": (bytes(1000), "not JSON"),
    "text": (safetensors(b"hello"), "not JSON"),
    "half of a JSON": (safetensors(b'{"a": {"dtype"'), "not JSON"),
    "no UTF-8": (safetensors(b'{"\xff": 1}'), "not JSON"),
    "UTF-16": (safetensors("{}".encode("utf-16")), "not JSON"),
    "depth": (lambda: safetensors(b"[" * 10**6), "not JSON"),
    "depth of objects": (lambda: safetensors(b'{"a":' * 10**5), "not JSON"),
    "number of many digits": (safetensors(b'{"a": ' + b"1" * 10**5 + b"}"), "not JSON"),
    "list": (safetensors([]), "not a JSON object"),
    "null": (safetensors(None), "not a JSON object"),
    "true": (safetensors(True), "not a JSON object"),
    "number": (safetensors(1), "not a JSON object"),
    "string": (safetensors("a"), "not a JSON object"),
    "NaN": (safetensors(math.nan), "not a JSON object"),
    "name twice": (safetensors(b'{"a": 1, "a": 1}'), "name twice"),
    "key twice": (safetensors(b'{"a": {"dtype": "F32", "dtype": "F32"}}'), "name twice"),
    "metadata list": (safetensors({"__metadata__": []}), "metadata"),
    "metadata null": (safetensors({"__metadata__": None}), "metadata"),
    "metadata number": (safetensors({"__metadata__": {"width": 1}}), "metadata"),
    "metadata nested": (safetensors({"__metadata__": {"width": {}}}), "metadata"),
    "tensor null": (safetensors({"a": None}), "not described"),
    "tensor list": (safetensors({"a": []}), "not described"),
    "tensor without type": (safetensors({"a": {"shape": [], "data_offsets": [0, 0]}}), "not described"),
    "tensor with more": (entry(more=1), "not described"),
    "float8": (entry(dtype="F8_E4M3"), "type F8_E4M3"),
    "other float8": (entry(dtype="F8_E5M2"), "type F8_E5M2"),
    "bool": (entry(dtype="BOOL"), "type BOOL"),
    "int8": (entry(dtype="I8"), "type I8"),
    "complex": (entry(dtype="C64"), "type C64"),
    "type null": (entry(dtype=None), "type None"),
    "type list": (entry(dtype=["F32"]), "type"),
    "type of a million characters": (lambda: entry(dtype="F" * 10**6), "type FFF"),
    "shape null": (entry(shape=None), "no shape"),
    "shape number": (entry(shape=1), "no shape"),
    "shape negative": (entry(shape=[-1]), "no shape"),
    "shape float": (entry(shape=[1.0]), "no shape"),
    "shape true": (entry(shape=[True]), "no shape"),
    "shape string": (entry(shape=["1"]), "no shape"),
    "shape of nine dimensions": (entry(shape=[1] * 9), "no shape"),
    "shape of a million dimensions": (lambda: entry(shape=[1] * 10**6), "no shape"),
    "shape too large": (entry(shape=[2**62, 2**62]), "other bytes than its shape"),
    "place null": (entry(offsets=None), "no place"),
    "place of one": (entry(offsets=[0]), "no place"),
    "place of three": (entry(offsets=[0, 4, 8]), "no place"),
    "place negative": (entry(offsets=[-4, 0]), "no place"),
    "place float": (entry(offsets=[0, 4.0]), "no place"),
    "place reversed": (entry(offsets=[4, 0]), "other bytes than its shape"),
    "place beyond the file": (entry(offsets=[2**60, 2**60 + 4]), "does not begin"),
    "gap": (entry(offsets=[4, 8]), "does not begin"),
    "overlap": (safetensors({"a": place(), "b": place()}, bytes(4)), "does not begin"),
    "bytes left over": (safetensors({"a": place()}, bytes(5)), "tells of 4 bytes; there are 5"),
    "bytes missing": (safetensors({"a": place()}, bytes(3)), "tells of 4 bytes; there are 3"),
    "huge tensor that is not there": (
        safetensors({"a": place(shape=[2**40], offsets=[0, 2**42])}, bytes(4)), "there are 4"),
    "100,000 tensors": (
        lambda: safetensors({f"layer{n}": place(shape=[0], offsets=[0, 0]) for n in range(10**5)}),
        "its header has more than",
    ),
    "20,000 tensors": (
        lambda: safetensors({f"layer{n}": place(shape=[0], offsets=[0, 0]) for n in range(20_000)}),
        "20000 tensors, of at most 1000",
    ),
    "name of a million characters": (lambda: safetensors({"x" * 10**6: None}), "tensor xxx"),
    "name with escapes": (safetensors({"\x1b[31m\n\u2028": None}), r"\\x1b\[31m\\n\\u2028"),
}  # fmt: skip


def written(case: str, folder: Path) -> Path:
    content = HEADERS[case][0]
    return write_atomically(folder / "n.safetensors", content if isinstance(content, bytes) else content())


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_is_none_is_refused_with_a_line(case, tmp_path):
    path, reason = written(case, tmp_path), HEADERS[case][1]
    with pytest.raises(InputError, match=reason) as found:
        weights.load_network(path, Runtime())
    assert is_one_line(found.value) and "n.safetensors" in str(found.value)
    assert damage_of(path)


@pytest.mark.parametrize("case", ["list", "null", "float8", "name with escapes"])
def test_the_command_refuses_it_with_a_line_and_code_2(case, tmp_path, capsys):
    path = written(case, tmp_path)
    assert predict.main([str(path), "face.png"]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("error: a network file") and said.err.count("\n") == 1
    assert len(said.err) <= LONGEST_LINE


def test_a_header_beyond_its_bound_is_not_read(tmp_path):
    path = tmp_path / "n.safetensors"
    with path.open("wb") as file:
        file.write((2**31).to_bytes(8, "little"))
        file.truncate(2**31 + 8)
    with pytest.raises(InputError, match="more than 4 MiB"):
        weights.load_network(path, Runtime())


# Layers.

Tensors = dict[str, torch.Tensor]


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: change(tensors[name])}


LAYERS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "one missing": (without("fc3.linear.bias"), r"missing: fc3\.linear\.bias\)"),
    "a layer missing": (without("fc3"), r"missing: fc3\.linear\.weight, fc3\.linear\.bias\)"),
    "many missing": (without("norm"), r"missing: conv1_1\.norm\.weight, conv1_1\.norm\.bias and 48 more"),
    "the first missing": (without(FIRST), "no layers conv1_1"),
    "all missing": (lambda tensors: {}, "no layers conv1_1"),
    "one more": (lambda tensors: tensors | {"extra": torch.zeros(1)}, r"unexpected: extra\)"),
    "many more": (
        lambda tensors: tensors | {f"extra{n}": torch.zeros(1) for n in range(900)}, "unexpected: .* and 898 more"),
    "renamed": (
        lambda tensors: {name.replace("fc", "classifier"): tensor for name, tensor in tensors.items()},
        r"missing: fc1.*unexpected: classifier1"),
    "names of a megabyte": (lambda tensors: tensors | {"x" * 10**6: torch.zeros(1)}, "unexpected: xxx"),
    "name with escapes": (lambda tensors: tensors | {"\x1b[2J\r": torch.zeros(1)}, r"unexpected: \\x1b\[2J\\r"),
    "scalar weight": (changed("fc3.linear.weight", torch.Tensor.sum), "of another shape: fc3"),
    "scalar first layer": (changed(FIRST, torch.Tensor.sum), "no layers conv1_1|of another shape"),
    "empty first layer": (changed(FIRST, lambda tensor: tensor[:0]), "width 0.0"),
    "transposed": (changed("fc2.linear.weight", torch.Tensor.t), "of another shape: fc2"),
    "first layer of one dimension": (changed(FIRST, lambda tensor: tensor[:, 0, 0, 0]), "of another shape"),
    "kernel of five": (changed(FIRST, lambda tensor: torch.zeros(4, 1, 5, 5)), "of another shape"),
    "whole numbers as weights": (changed(FIRST, torch.Tensor.long), "of another type: conv1_1"),
    "bytes as weights": (changed(FIRST, torch.Tensor.byte), "of another type: conv1_1"),
    "fractions as counter": (changed("conv1_1.norm.num_batches_tracked", torch.Tensor.float), "of another type"),
    "width of another": (lambda tensors: build(1 / 8).state_dict() | {FIRST: tensors[FIRST]}, "and .* more"),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS)
def test_a_file_of_other_layers_is_refused_by_the_first_few_names_and_a_count(case, network, tmp_path):
    change, reason = LAYERS[case]
    path = tmp_path / "n.safetensors"
    tensors = {name: tensor.contiguous().clone() for name, tensor in change(network.state_dict()).items()}
    save_file(tensors, path)
    with pytest.raises(InputError, match=reason) as found:
        weights.load_network(path, Runtime())
    assert is_one_line(found.value) and "n.safetensors" in str(found.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_users_own_network_without_checksum_is_read_in_any_floating_type(dtype, network, tmp_path):
    path = tmp_path / "mine.safetensors"
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in network.state_dict().items()}
    save_file(state, path)
    wanted = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    found = weights.load_network(path, Runtime())
    assert found.digest == digest_of(wanted) and found.width == TINY_WIDTH


# Values.

WORST = {"infinity": math.inf, "minus infinity": -math.inf, "not a number": math.nan, "1e300": 1e300, "-1e39": -1e39}


@pytest.mark.parametrize("name", [FIRST, "conv3_1.norm.running_var", "fc3.linear.bias"])
@pytest.mark.parametrize("worst", WORST)
def test_weights_that_are_not_finite_in_fp32_are_refused_when_loaded(name, worst, network, tmp_path):
    path = tmp_path / "n.safetensors"
    bad = torch.full(network.state_dict()[name].shape, WORST[worst], dtype=torch.float64)
    save_file(network.state_dict() | {name: bad}, path)
    with pytest.raises(InputError, match=f"finite numbers; got .*{name}") as found:
        load_network(path)
    assert is_one_line(found.value)


@pytest.mark.parametrize("variance", [-1e-30, -1.0, -3e38])
def test_a_negative_variance_is_refused_when_loaded(variance, network, tmp_path):
    path = tmp_path / "n.safetensors"
    name = "conv1_1.norm.running_var"
    save_file(network.state_dict() | {name: torch.full((4,), variance)}, path)
    with pytest.raises(InputError, match=f"not negative; got .*{name}"):
        load_network(path)


@pytest.fixture(params=[1e30, 3e38])
def overflowing(request: pytest.FixtureRequest, network: torch.nn.Sequential, tmp_path: Path) -> Path:
    """A network of finite weights whose answers are none."""
    state = {
        name: torch.full_like(tensor, request.param) if name.endswith(("conv.weight", "linear.weight")) else tensor
        for name, tensor in network.state_dict().items()
    }
    path = tmp_path / "n.safetensors"
    save_tensors(path, state, {"width": str(TINY_WIDTH)})
    return path


def test_answers_that_are_no_numbers_are_an_error_that_names_the_file(overflowing):
    network, faces = load_network(overflowing), np.full((2, 48, 48), 200, np.uint8)
    with pytest.raises(InputError, match=r"answers are finite numbers; got .*n\.safetensors"):
        predict_images(network, faces, overflowing)
    with pytest.raises(UnusableNetwork, match="this network"):
        predict_images(network, faces)


def test_the_command_prints_no_answer_that_is_none(overflowing, tmp_path, capsys):
    image = tmp_path / "face.png"
    Image.fromarray(np.full((48, 48), 200, np.uint8)).save(image)
    assert predict.main([str(overflowing), str(image), str(image)]) == 2
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and "nan" not in said.out
    assert said.err.count("\n") == 1 and "finite numbers" in said.err and "n.safetensors" in said.err


def test_a_network_without_answers_is_not_exported(overflowing, tmp_path):
    with pytest.raises(InputError, match=r"finite numbers|needs the packages"):
        export_onnx(load_network(overflowing), tmp_path / "n.onnx", overflowing)
    assert not (tmp_path / "n.onnx").exists()


# One bit.


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_noticed_wherever_it_is(seed, network, network_bytes, tmp_path):
    rng = np.random.default_rng(seed)
    header = 8 + int.from_bytes(network_bytes[:8], "little")
    position = int(rng.integers(0, header) if seed % 4 == 0 else rng.integers(header, len(network_bytes)))
    path = tmp_path / "n.safetensors"
    path.write_bytes(flipped(network_bytes, position, int(rng.integers(8))))
    assert damage_of(path) is not None
    with pytest.raises(InputError):
        load_network(path)


@pytest.mark.parametrize("name", ["width", "strategy", "new"])
def test_the_checksum_is_of_the_texts_as_well(name, network, network_bytes, tmp_path):
    path = tmp_path / "n.safetensors"
    path.write_bytes(network_bytes)
    texts = dict(tensor_files.read_header(path).metadata) | {name: "0.0625 "}
    save_file(load_file(path), path, texts)
    with pytest.raises(InputError, match="does not match its checksum"):
        load_network(path)


def test_tensors_that_changed_places_do_not_match_the_checksum(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"a": torch.zeros(2), "b": torch.ones(2)}, {})
    metadata = dict(tensor_files.read_header(path).metadata)
    save_file({"a": torch.ones(2), "b": torch.zeros(2)}, path, metadata)
    with pytest.raises(DamagedTensorFile, match="checksum"):
        load_tensors(path)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(3), torch.zeros(0, 4), torch.arange(6, dtype=torch.uint8), torch.rand(2, 3).t(),
     torch.rand(4).bfloat16(), torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)],
    ids=["scalar", "empty", "bytes", "transposed", "bf16", "channels last"],
)  # fmt: skip
def test_what_is_written_is_read_again_and_by_safetensors_too(tensor, tmp_path):
    path = tmp_path / "folder" / "t.safetensors"
    save_tensors(path, {"a": tensor, "shared": tensor}, {"text": "ä\n"})
    header, found = load_tensors(path, needs_checksum=True)
    assert header.metadata["text"] == "ä\n"
    for read in (found, load_file(path)):
        assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name in ("a", "shared"))


# Caches: what is damaged is made again.

CONFIG = BaselineConfig(width=TINY_WIDTH, epochs=1, processes=1)


def without_checksum(path: Path) -> None:
    metadata = {name: text for name, text in tensor_files.read_header(path).metadata.items() if name != "checksum"}
    save_file(load_file(path), path, metadata)


def in_the_middle(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(flipped(content, len(content) // 2))


HARMS: dict[str, Callable[[Path], object]] = {
    "one bit": in_the_middle,
    "first bit of the last number": lambda path: path.write_bytes(flipped(path.read_bytes(), -4)),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_text("hello"),
    "header is a list": lambda path: path.write_bytes(safetensors([])),
    "no checksum": without_checksum,
    "no tensors": lambda path: save_file({}, path),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_cached_baseline_is_trained_again_with_a_warning(harm, source, network, tmp_path, monkeypatch):
    trained, warned = [], []
    monkeypatch.setattr(baseline, "train_baseline", lambda *_: (trained.append(1), network)[1])

    def obtain() -> Path:
        return baseline.find_or_train(source, CONFIG, Runtime(), tmp_path, on_damage=warned.append)

    path = obtain()
    whole = weights.load_network(path, Runtime(), needs_checksum=True).digest
    HARMS[harm](path)
    assert obtain() == path and len(trained) == 2
    assert obtain() == path and len(trained) == 2
    assert weights.load_network(path, Runtime(), needs_checksum=True).digest == whole
    assert [line.startswith("the cached baseline is damaged") for line in warned] == [True] * (harm[:4] != "link")


@pytest.mark.parametrize("harm", [name for name in HARMS if name != "no tensors"])
def test_damaged_cached_importances_are_computed_again(harm, tmp_path):
    computed = []

    def compute() -> Tensors:
        computed.append(1)
        return {"a": torch.arange(100.0), "b": torch.ones(3, 3)}

    path = tmp_path / "importance" / "i.safetensors"
    for _ in range(2):
        penalties.cached_importance(path, compute)
    assert len(computed) == 1
    HARMS[harm](path)
    for _ in range(2):
        found = penalties.cached_importance(path, compute)
        assert torch.equal(found["a"], torch.arange(100.0))
    assert len(computed) == 2


@pytest.fixture
def front(tmp_path: Path, network: torch.nn.Sequential) -> pd.DataFrame:
    """A study's front of three networks, whose files are in models/."""
    values = [(0.6, 0.3), (0.55, 0.5), (0.3, 0.55)]
    found = front_table(trials_table([made_trial(number, values=pair) for number, pair in enumerate(values)]))
    for model in found["model"]:
        weights.save_network(network, tmp_path / model, {"width": str(TINY_WIDTH)})
    return found


@pytest.mark.parametrize(
    "harm", [name for name in HARMS if name not in ("no checksum", "link to nothing", "no tensors")]
)
def test_a_damaged_network_of_a_front_is_told(harm, front, tmp_path):
    assert not models.damaged_networks(front, tmp_path)
    victim = front["model"][1]
    HARMS[harm](tmp_path / victim)
    damaged = models.damaged_networks(front, tmp_path)
    assert list(damaged) == [victim]
    line = models.damage_warning(damaged)
    assert victim in line and line.isprintable() and len(line) < LONGEST_LINE


def test_a_network_that_is_on_another_machine_is_not_damaged(front, tmp_path):
    (tmp_path / front["model"][0]).unlink()
    assert not models.damaged_networks(front, tmp_path)


def test_the_report_warns_of_damaged_networks(front, tmp_path, monkeypatch, capsys):
    trials = [made_trial(number, values=pair) for number, pair in enumerate([(0.6, 0.3), (0.55, 0.5), (0.3, 0.55)])]
    monkeypatch.setattr(report, "open_study", lambda *_: (made_info(), trials))
    monkeypatch.setattr("study.reporting.export.export", lambda *_: [])
    command = [tmp_path.name, "--out", str(tmp_path.parent)]
    assert report.main(command) == 0 and not capsys.readouterr().err
    in_the_middle(tmp_path / front["model"][2])
    assert report.main(command) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: networks of the front are damaged") and front["model"][2] in said


TOLD = {
    "nothing": "{}",
    "no JSON": "hello",
    "list": "[]",
    "null": "null",
    "depth": "[" * 10**5,
    "no configuration": '{"seconds": 1}',
    "configuration list": '{"config": [], "seconds": 1}',
    "texts": '{"config": {"epochs": "many"}, "seconds": "\\u001b[2J"}',
    "infinity": '{"config": {"epochs": Infinity}, "seconds": NaN}',
    "lists": '{"config": {"epochs": []}, "seconds": {}}',
}


@pytest.mark.parametrize("case", TOLD)
def test_what_a_users_network_tells_of_its_training_is_numbers_or_nothing(case, network, tmp_path):
    path = tmp_path / "n.safetensors"
    save_file(network.state_dict(), path, {"baseline": TOLD[case]})
    assert baseline.training_of(path) == (None, None)


def test_what_the_own_baseline_tells_of_its_training_is_read(source, network, tmp_path, monkeypatch):
    monkeypatch.setattr(baseline, "train_baseline", lambda *_: network)
    epochs, seconds = baseline.training_of(baseline.find_or_train(source, CONFIG, Runtime(), tmp_path))
    assert epochs == 1 and seconds is not None and seconds >= 0


# Special files.


@pytest.fixture
def special(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file of some kind that is none to read."""
    server = socket.socket(socket.AF_UNIX)

    def make(kind: str) -> Path:
        path = tmp_path / "special"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            os.chdir(tmp_path)  # a socket's path is short
            server.bind("special")
        elif kind == "folder":
            path.mkdir()
        elif kind == "device":
            return Path("/dev/zero")
        elif kind == "link to a device":
            path.symlink_to("/dev/zero")
        elif kind == "link to itself":
            path.symlink_to(path)
        elif kind == "link to nothing":
            path.symlink_to("nothing")
        elif kind == "sparse":
            with path.open("wb") as file:
                file.truncate(10 * 2**30)
        elif kind == "long name":
            return tmp_path / ("x" * 5000)
        elif kind == "long path":
            return tmp_path / ("x/" * 5000)
        elif kind == "NUL":
            return tmp_path / "a\0b"
        elif kind == "surrogate":
            return tmp_path / "a\udcffb"
        elif kind == "below a file":
            path.write_bytes(b"")
            return path / "x"
        return path

    before = Path.cwd()
    yield make
    os.chdir(before)
    server.close()


KINDS = ("pipe", "socket", "folder", "device", "link to a device", "link to itself", "link to nothing", "sparse",
         "long name", "long path", "NUL", "surrogate", "below a file")  # fmt: skip


@pytest.fixture
def in_time() -> Iterator[None]:
    """Ends the whole test process where something hangs for ten seconds."""
    timer = threading.Timer(10, os._exit, (1,))
    timer.start()
    yield
    timer.cancel()


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_file_is_regular_and_bounded(kind, special, capsys):
    path = special(kind)
    assert predict.main([str(path), "face.png"]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("error: a network file") and said.err.count("\n") == 1
    assert said.err[:-1].isprintable() and len(said.err) <= LONGEST_LINE
    assert damage_of(path) is not None if kind != "NUL" else True


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_a_regular_bounded_file_and_the_others_go_on(kind, special, network_bytes, tmp_path, capsys):
    model = write_atomically(tmp_path / "n.safetensors", network_bytes)
    Image.fromarray(np.full((48, 48), 100, np.uint8)).save(tmp_path / "good.png")
    assert predict.main([str(model), str(special(kind)), str(tmp_path / "good.png")]) == 1
    said = capsys.readouterr()
    assert said.out.count("\n") == 2
    assert said.err.startswith("error: an image must be readable") and said.err.count("\n") == 1
    assert said.err[:-1].isprintable() and len(said.err) <= LONGEST_LINE


# Names in the answer.

NAMES = {
    "=cmd().png": "'=cmd().png",
    "=HYPERLINK(\"http:x\").png": "'=HYPERLINK(\"http:x\").png",
    "+1+1.png": "'+1+1.png",
    "@SUM(1).png": "'@SUM(1).png",
    " =1+1.png": "' =1+1.png",
    "\u3000=1+1.png": None,
    "＝1+1.png": "'＝1+1.png",
    "a;=1+1.png": "a;'=1+1.png",
    "a,=1+1.png": "a,'=1+1.png",
    "a|@1.png": "a|'@1.png",
    "a;b;-1.png": "a;b;'-1.png",
    "\t=1.png": r"\t=1.png",
    "\r=1.png": r"\r=1.png",
    "\n=1.png": r"\n=1.png",
    "\x1b[31mred.png": r"\x1b[31mred.png",
    "\x1b]0;title\x07.png": r"\x1b]0;title\x07.png",
    "\u202egnp.png": r"\u202egnp.png",
    "a\u2028b.png": r"a\u2028b.png",
    "a\udcffb.png": r"a\udcffb.png",
    "a\x7f\x9b2J.png": r"a\x7f\x9b2J.png",
    "quoted\".png": "quoted\".png",
    "two, three.png": "two, three.png",
    "plain-name=1.png": "plain-name=1.png",
    "Gesicht für Ä 顔.png": "Gesicht für Ä 顔.png",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=printable)
def test_a_name_is_neither_a_formula_nor_an_order_to_the_terminal(name, network_bytes, tmp_path, monkeypatch, capsys):
    model = write_atomically(tmp_path / "n.safetensors", network_bytes)
    image = io.BytesIO()
    Image.fromarray(np.full((48, 48), 100, np.uint8)).save(image, "PNG")
    write_atomically(tmp_path / name, image.getvalue())
    monkeypatch.chdir(tmp_path)
    assert predict.main([str(model), "--", name]) == 0
    said = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(said.out))
    assert all(character.isprintable() or character == "\n" for character in said.out)
    assert not row["image"].lstrip().startswith(("=", "+", "-", "@"))
    if NAMES[name] is not None:
        assert row["image"] == NAMES[name]


@pytest.mark.parametrize("name", ["-1+1.png", "-cmd|' /C calc'!A0", "=a;=b;@c", "", "'", "a'=b"])
def test_a_cell_never_begins_with_a_formula(name):
    text = predict.spreadsheet_text(name)
    assert text.replace("'", "") == name.replace("'", "")
    assert not any(cell.strip().startswith(("=", "+", "-", "@")) for cell in text.split(";"))


def test_help_says_what_becomes_of_names():
    text = " ".join(predict.build_parser().format_help().split())
    assert "escapes" in text and "formula" in text


@pytest.mark.slow
def test_a_full_output_is_one_line(network_bytes, tmp_path):
    model = write_atomically(tmp_path / "n.safetensors", network_bytes)
    image = tmp_path / "face.png"
    Image.fromarray(np.full((48, 48), 100, np.uint8)).save(image)
    command = [sys.executable, "-m", "study.predict", str(model), str(image)]
    root = Path(__file__).parent.parent
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=root)
    assert (
        ended.returncode == 1 and ended.stderr.count("\n") == 1 and "standard output cannot be written" in ended.stderr
    )


# Features and other caches that disappear while they are used.


@pytest.fixture
def feed(setting):
    split = setting.open_split("target", "train")
    return lambda: open_source(setting, split, 10, ViewRecipe(), 1)


IMAGES, VIEWS = np.arange(14), np.zeros(14, int)


def delete(cache: Path) -> None:
    shutil.rmtree(cache / "features")


def delete_and_make_again(cache: Path) -> None:
    (bank,) = (cache / "features").iterdir()
    shutil.rmtree(bank)
    bank.mkdir()


def replace_by_empty_files(cache: Path) -> None:
    for path in (cache / "features").rglob("*.*"):
        path.unlink()
        path.touch()


LOSSES = {"deleted": delete, "made again": delete_and_make_again, "emptied": replace_by_empty_files}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_features_that_are_lost_are_computed_again_or_still_there(loss, moment, feed, setting):
    undisturbed = feed()
    undisturbed.prepare(IMAGES, VIEWS)
    wanted = undisturbed.batch(IMAGES, VIEWS)
    delete(setting.cache)

    disturbed = feed()
    if moment == "before":
        LOSSES[loss](setting.cache)
    disturbed.prepare(IMAGES[:7], VIEWS[:7])
    if moment == "between":
        LOSSES[loss](setting.cache)
    disturbed.prepare(IMAGES, VIEWS)
    if moment == "after":
        LOSSES[loss](setting.cache)
    assert torch.equal(disturbed.batch(IMAGES, VIEWS), wanted)

    later = feed()
    later.prepare(IMAGES, VIEWS)
    assert torch.equal(later.batch(IMAGES, VIEWS), wanted)
    assert torch.equal(disturbed.batch(IMAGES, VIEWS), wanted)


@pytest.mark.parametrize("lost", ["features", "importance", "."])
@pytest.mark.parametrize("strategy", ["FC+CL", *(pytest.param(name, marks=pytest.mark.slow) for name in ("FC", "FU"))])
def test_a_trial_whose_cache_is_deleted_while_it_trains_ends_as_if_it_were_not(
    strategy, lost, make_setting, monkeypatch
):
    monkeypatch.setattr(penalties, "IMPORTANCE_SAMPLES", 7)
    setting = make_setting()
    config = replace(named(strategy, TINY), epochs=2, anchor="fisher", anchor_weight=0.1)
    wanted = adapt(make_setting(cached=False), config, seed=5)

    def delete_at_half(share: float, row: dict[str, float], _: object) -> bool:
        shutil.rmtree(setting.cache / lost)
        return False

    found = adapt(setting, config, seed=5, on_rung=delete_at_half)
    np.testing.assert_allclose([row["loss"] for row in found.curve], [row["loss"] for row in wanted.curve], rtol=1e-5)
    again = adapt(setting, config, seed=5)
    assert again.curve == found.curve and again.measures == found.measures


def test_importances_whose_folder_is_deleted_while_they_are_computed_are_kept_all_the_same(tmp_path):
    path = tmp_path / "importance" / "i.safetensors"

    def compute() -> Tensors:
        shutil.rmtree(path.parent)
        return {"a": torch.ones(3)}

    assert torch.equal(penalties.cached_importance(path, compute)["a"], torch.ones(3))
    assert damage_of(path) is None


def test_a_baseline_whose_folder_is_deleted_while_it_trains_is_kept_all_the_same(
    source, network, tmp_path, monkeypatch
):
    folder = tmp_path / "baselines"
    monkeypatch.setattr(baseline, "train_baseline", lambda *_: (shutil.rmtree(folder), network)[1])
    assert damage_of(baseline.find_or_train(source, CONFIG, Runtime(), folder)) is None


def test_one_image_is_predicted_as_before(network, network_bytes, tmp_path):
    model, image = write_atomically(tmp_path / "n.safetensors", network_bytes), tmp_path / "face.png"
    face = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    Image.fromarray(face).save(image)
    found = predict_image(load_network(model), image)
    np.testing.assert_allclose(list(found.values()), predict_images(network, face[None])[0], atol=1e-6)
