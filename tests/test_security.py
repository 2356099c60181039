"""What no line of the packages does, and what every command does first."""

import ast
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [path for package in ("fer", "search_spaces", "study") for path in sorted((ROOT / package).rglob("*.py"))]
COMMANDS = [path for path in FILES if "(main())" in path.read_text()]
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "os.system", "os.popen", "torch.load", "pandas.read_pickle", "pd.read_pickle"}
OPTIONS = {"shell", "allow_pickle", "weights_only"}
READS_WEIGHTS = ROOT / "fer" / "model" / "states.py"
"""The only file that may call torch.load, and only so that it takes tensors alone."""


def loads_weights_only(node: ast.AST) -> bool:
    """Returns whether a line calls torch.load with weights_only=True, written out."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) != "torch.load":
        return False
    options = {option.arg: ast.unparse(option.value) for option in node.keywords}
    return options.get("weights_only") == "True" and None not in options


def offences(source: str, may_load_weights: bool = False) -> list[str]:
    """Returns the lines that read pickles, run text as code or go through a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: set[str] = set()
        if may_load_weights and loads_weights_only(node):
            continue
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names} & RUNS_CODE
        elif isinstance(node, ast.ImportFrom):
            names = {str(node.module).split(".")[0]} & RUNS_CODE
        elif isinstance(node, ast.Call):
            is_written_out = bool(node.args) and all(isinstance(argument, ast.Constant) for argument in node.args)
            names = set() if is_written_out else {ast.unparse(node.func)} & CALLS
            names |= {str(option.arg) for option in node.keywords} & OPTIONS
        found += [f"line {getattr(node, 'lineno', 0)}: {name}" for name in names]
    return found


def test_the_rule_finds_what_it_is_for():
    for line in ("import pickle", "from joblib import load", "eval(x)", "run(x, shell=True)", "torch.load(x)"):
        assert offences(line), line
    assert not offences("network.eval(); numpy.load(x, mmap_mode='r'); eval('0')")

    assert not offences("torch.load(x, weights_only=True)", may_load_weights=True)
    for line in ("torch.load(x, weights_only=True)", "torch.load(x, weights_only=False)"):
        assert offences(line), line
    for line in ("torch.load(x)", "torch.load(x, weights_only=False)", "torch.load(x, weights_only=True, **more)"):
        assert offences(line, may_load_weights=True), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_reads_pickles_runs_text_or_goes_through_a_shell(path):
    assert not offences(path.read_text(), may_load_weights=path == READS_WEIGHTS)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_command_goes_through_one_guard(path):
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    (main,) = (function for function in functions if function.name == "main")
    (_, line) = main.body  # after its docstring

    assert ast.unparse(line).startswith("return run_command(")


def test_an_audit_that_had_no_answer_is_none():
    verdict = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["verdict"]
    skipped = {"name": "a", "skip_reason": "not found"}
    sound, holed = {"name": "b", "version": "1", "vulns": []}, {"id": "CVE-1", "fix_versions": ["1.1"]}
    lines, code = verdict([skipped, skipped])
    assert code == 0 and lines[0].startswith("not audited")
    assert verdict([skipped, sound]) == (["1 packages audited, 1 unknown, 0 vulnerabilities"], 0)

    lines, code = verdict([sound | {"vulns": [holed]}])
    assert code == 1 and lines[0] == "b 1: CVE-1, fixed in 1.1"
