"""The contract with Optuna's private parts: each is where `study.storage.optuna_private` looks for it.

A failure here after an update of Optuna names the part that has moved; `study/storage/optuna_private.py` is the one
file to mend.
"""

import ast
import json
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from study.storage import optuna_private
from study.storage.backend import open_storage
from study.storage.optuna_private import (
    StudyView,
    database_url,
    enqueued_parameters,
    open_trial,
    storage_number,
    storage_of,
)
from study.tuning.samplers import make_sampler

ROOT = Path(__file__).parent.parent
STORAGES = {
    "memory": lambda folder: InMemoryStorage(),
    "journal": lambda folder: open_storage(None, folder),
    "sqlite": lambda folder: open_storage(f"sqlite:///{folder}/study.db", folder),
}


@pytest.fixture(params=STORAGES)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    """The second study of its storage, so that its numbers differ from those of the first."""
    storage = STORAGES[request.param](tmp_path)
    first = optuna.create_study(study_name="first", storage=storage)
    first.ask()
    return optuna.create_study(study_name="second", storage=storage, directions=["maximize"] * 2)


class Recorder(StudyView):
    """A view that hides the first trial, and counts how often it is asked what to show."""

    asked = 0

    def show(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        self.asked += 1
        return trials[1:]


def searched(study: optuna.Study, trials: int = 12) -> optuna.Study:
    """A study with finished trials of one parameter, enough of them for every sampler to use them."""
    for _ in range(trials):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        study.tell(trial, [x, 1 - x])
    return study


def test_a_study_has_a_storage_and_a_number_there(study):
    storage, number = storage_of(study)
    assert storage.get_all_trials(number) == []
    assert storage.get_study_name_from_id(number) == "second"


def test_a_trial_has_a_number_by_which_its_storage_knows_it(study):
    storage, _ = storage_of(study)
    trial = study.ask()

    (frozen,) = study.get_trials()

    assert storage_number(frozen) == storage_number(trial)
    assert storage.get_trial(storage_number(frozen)).number == frozen.number == 0


def test_a_running_trial_of_the_storage_can_be_opened_and_suggests(study):
    storage, _ = storage_of(study)
    study.enqueue_trial({"x": 0.25})
    (waiting,) = study.get_trials()
    storage.set_trial_state_values(storage_number(waiting), TrialState.RUNNING)

    trial = open_trial(study, waiting)

    assert (trial.suggest_float("x", 0, 1), trial.number) == (0.25, 0)


def test_a_trial_says_with_which_parameters_it_was_enqueued(study):
    study.enqueue_trial({"x": 0.25})
    study.enqueue_trial({})
    study.ask()
    study.ask()
    study.ask()  # which was not enqueued

    assert [enqueued_parameters(trial) for trial in study.get_trials()] == [{"x": 0.25}, {}, {}]


def test_only_a_database_has_a_url(tmp_path):
    found = {name: database_url(make(tmp_path)) for name, make in STORAGES.items()}
    assert found == {"memory": "", "journal": "", "sqlite": f"sqlite:///{tmp_path}/study.db"}


def test_every_entry_of_a_journal_has_an_operation(tmp_path):
    searched(optuna.create_study(storage=open_storage(None, tmp_path), directions=["maximize"] * 2), 2)
    lines = (tmp_path / "journal.log").read_text().splitlines()

    assert len(lines) > 2
    assert all(optuna_private.JOURNAL_OPERATION in json.loads(line) for line in lines)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp"])
def test_a_sampler_sees_the_trials_of_a_view_and_the_view_looks_once(study, name):
    searched(study)
    view = Recorder(study.study_name, storage_of(study)[0], make_sampler(name, 0))
    trial = view.ask()
    trial.suggest_float("x", 0, 1)
    trial.suggest_float("y", 0, 1)

    assert view.asked == 1, f"{name} does not read trials as Optuna's samplers did: StudyView hides nothing from it"


def test_a_view_hides_what_it_does_not_show_and_copies_what_may_be_changed(study):
    searched(study, 3)
    view = Recorder(study.study_name, storage_of(study)[0])
    trials = view.get_trials(states=(TrialState.COMPLETE,))
    trials[0].user_attrs["changed"] = True

    assert [trial.number for trial in view.trials] == [1, 2]
    assert not any(trial.user_attrs for trial in view.trials)
    assert view.get_trials(states=(TrialState.FAIL,)) == []
    assert len(study.trials) == 3


def test_a_view_cannot_be_used_without_saying_what_it_shows(study):
    with pytest.raises(NotImplementedError):
        StudyView(study.study_name, storage_of(study)[0]).trials  # noqa: B018


def private_parts(path: Path) -> set[str]:
    """Returns the private attributes that a file reads of other objects than its own, and its private imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls", "os"):
                found.add(f"{owner}.{node.attr}")
        if isinstance(node, ast.ImportFrom):
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found |= {part for part in parts if part.startswith("_") and not part.startswith("__")}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if "._" in alias.name}
    return found


def test_private_parts_of_other_packages_are_named_where_they_are_pinned_alone():
    files = [path for package in ("study", "search_spaces", "benchmarks") for path in (ROOT / package).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix(): private_parts(path) for path in files}

    assert {name: parts for name, parts in found.items() if parts} == {
        "study/storage/optuna_private.py": {
            "study._storage", "study._study_id", "trial._trial_id", "super()._get_trials",
        },
        "study/command_parser.py": {"argparse._ArgumentGroup", "group._group_actions"},
        "study/execution/live_display.py": {"self._live_render._shape"},
    }  # fmt: skip
