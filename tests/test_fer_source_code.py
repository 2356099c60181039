"""A network of one's own is known by its code: comments do not make another one of it, and code does."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from fer.errors import InputError
from fer.model.chains import NetworkRequest, build_chain, find_architecture, request
from fer.model.source_code import hash_bytes, hash_code
from fer.model.weights import baseline_of

CODE = '''"""A network."""
from torch import nn

class Net(nn.Sequential):
    """Two layers."""
    def __init__(self, num_classes):
        """Makes them."""
        super().__init__(nn.Flatten(), nn.Linear(3 * 16 * 16, 4), nn.Tanh(), nn.Linear(4, num_classes))
        self.factors = {None: 2.0, **{"a": 'text'}}
'''
SAME = {
    "a comment": CODE + "# That is all.\n",
    "another docstring": CODE.replace("Two layers.", "A layer, and another."),
    "no docstring": CODE.replace('        """Makes them."""\n', ""),
    "blank lines": CODE.replace("\nclass", "\n\n\nclass"),
    "a broken line": CODE.replace("nn.Tanh(), ", "nn.Tanh(),\n            "),
    "other quotes": CODE.replace("'text'", '"text"'),
}
OTHER = {
    "another number": CODE.replace("2.0", "2.5"),
    "a whole number": CODE.replace("2.0", "2"),
    "another text": CODE.replace("text", "words"),
    "another name": CODE.replace("factors", "shares"),
    "another operator": CODE.replace("3 * 16", "3 + 16"),
    "a statement more": CODE + "        self.more = None\n",
    "a text that is none": CODE.replace("None: 2.0", "'None': 2.0"),
    "a key in place of a dictionary": CODE.replace("**{", "None: {"),
    "another order": CODE.replace("nn.Flatten(), nn.Linear(3 * 16 * 16, 4)", "nn.Linear(3 * 16 * 16, 4), nn.Flatten()"),
}


def test_comments_docstrings_and_formatting_are_no_code() -> None:
    assert {hash_code(code.encode()) for code in SAME.values()} == {hash_code(CODE.encode())}


def test_whatever_changes_the_code_changes_its_hash() -> None:
    assert len({hash_code(code.encode()) for code in (CODE, *OTHER.values())}) == 1 + len(OTHER)


@pytest.mark.parametrize("content", [b"def (", b"\xff\x00", b"x = " + b"(" * 10**4, b'x = "\xff"'])
def test_what_is_no_python_is_known_by_its_bytes(content: bytes) -> None:
    assert hash_code(content) == hash_bytes(content) != hash_code(content + b"#")


def test_a_study_goes_on_after_a_comment_changed_and_not_after_the_code_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    file = tmp_path / "net_of_a_study.py"
    file.write_text(CODE)
    importlib.invalidate_caches()
    recorded = find_architecture(request(NetworkRequest("net_of_a_study:Net", 16, 7)))
    as_earlier = replace(recorded, structure=recorded.former_structure)

    # A study of an earlier version knows the code by its bytes, and keeps its hash.
    chain = build_chain(as_earlier, 3)
    reopened = baseline_of(chain, recorded).as_recorded(as_earlier)
    assert recorded.structure != recorded.former_structure
    assert reopened.digest == baseline_of(chain, as_earlier).digest != baseline_of(chain, recorded).digest

    for changed in SAME.values():
        file.write_text(changed)
        build_chain(recorded, 3)
    with pytest.raises(InputError, match="stays what it was"):
        build_chain(as_earlier, 3)
    file.write_text(OTHER["another number"])
    with pytest.raises(InputError, match="stays what it was"):
        build_chain(recorded, 3)
