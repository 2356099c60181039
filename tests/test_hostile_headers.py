"""Network files whose headers say what no header should: refused with a line, and little of them is read."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from fer.errors import InputError
from fer.files import write_atomically
from fer.model import weights
from fer.runtime import Runtime
from fer.tensor_files import damage_of
from made_networks import LONGEST_LINE, is_one_line, one_tensor, place, safetensors
from study import predict

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
    "tensor with more": (one_tensor(more=1), "not described"),
    "float8": (one_tensor(dtype="F8_E4M3"), "type F8_E4M3"),
    "other float8": (one_tensor(dtype="F8_E5M2"), "type F8_E5M2"),
    "bool": (one_tensor(dtype="BOOL"), "type BOOL"),
    "int8": (one_tensor(dtype="I8"), "type I8"),
    "complex": (one_tensor(dtype="C64"), "type C64"),
    "type null": (one_tensor(dtype=None), "type None"),
    "type list": (one_tensor(dtype=["F32"]), "type"),
    "type of a million characters": (lambda: one_tensor(dtype="F" * 10**6), "type FFF"),
    "shape null": (one_tensor(shape=None), "no shape"),
    "shape number": (one_tensor(shape=1), "no shape"),
    "shape negative": (one_tensor(shape=[-1]), "no shape"),
    "shape float": (one_tensor(shape=[1.0]), "no shape"),
    "shape true": (one_tensor(shape=[True]), "no shape"),
    "shape string": (one_tensor(shape=["1"]), "no shape"),
    "shape of nine dimensions": (one_tensor(shape=[1] * 9), "no shape"),
    "shape of a million dimensions": (lambda: one_tensor(shape=[1] * 10**6), "no shape"),
    "shape too large": (one_tensor(shape=[2**62, 2**62]), "other bytes than its shape"),
    "place null": (one_tensor(offsets=None), "no place"),
    "place of one": (one_tensor(offsets=[0]), "no place"),
    "place of three": (one_tensor(offsets=[0, 4, 8]), "no place"),
    "place negative": (one_tensor(offsets=[-4, 0]), "no place"),
    "place float": (one_tensor(offsets=[0, 4.0]), "no place"),
    "place reversed": (one_tensor(offsets=[4, 0]), "other bytes than its shape"),
    "place beyond the file": (one_tensor(offsets=[2**60, 2**60 + 4]), "does not begin"),
    "gap": (one_tensor(offsets=[4, 8]), "does not begin"),
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
