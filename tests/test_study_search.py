"""Slots, claims, retries: totals stay exact whatever happens to the workers, on every storage."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fer.config import AdaptationConfig
from fer.errors import InputError
from made_study import made_info, made_trial
from search_spaces import choose
from study.execution.claim import claim_trial
from study.options import SAMPLERS, StudyOptions
from study.pipeline.resume import find_record
from study.record import StudyRecord
from study.search.samplers import SamplerView, make_sampler
from study.storage.backend import load_study, open_storage, trials_of
from study.storage.leases import identity_of_process, requeue_expired
from study.storage.optuna_private import storage_of
from study.storage.slots import RETRIES, discard_trial, fail_trial, fill_slots
from study.trials import CONSTRAINT, MIN_SOURCE_ACCURACY, counted_trials

BASE = AdaptationConfig()
STORAGES = {"journal": lambda folder: None, "sqlite": lambda folder: f"sqlite:///{folder}/study.db"}


@pytest.fixture(params=STORAGES)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    storage = open_storage(STORAGES[request.param](tmp_path), tmp_path / "s")
    return optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)


def finish_all(study: optuna.Study, seed: int = 1) -> int:
    number = 0
    while (trial := claim_trial(study, "random", seed)) is not None:
        trial.suggest_float("x", 0, 1)
        trial.study.tell(trial, [0.5, 0.5])
        number += 1
    return number


def view_of(study: optuna.Study) -> SamplerView:
    return SamplerView(study.study_name, storage_of(study)[0])


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in trials_of(study)]


def test_a_study_of_n_trials_has_n_slots_and_no_more(study):
    assert fill_slots(study, 7, "card", BASE) == 7
    assert finish_all(study) == 7
    assert claim_trial(study, "random", 1) is None
    assert fill_slots(study, 7, "card", BASE) == 0
    assert fill_slots(study, 9, "card", BASE) == 2
    assert finish_all(study) == 2
    assert len(counted_trials(trials_of(study))) == 9


def test_a_lower_total_withdraws_what_was_not_begun(study):
    fill_slots(study, 9, "card", BASE)
    first = claim_trial(study, "random", 1)
    first.study.tell(first, [0.5, 0.5])
    assert fill_slots(study, 4, "card", BASE) == 3
    assert finish_all(study) == 3
    assert [trial.number for trial in counted_trials(trials_of(study))] == [0, 1, 2, 3]


def test_many_workers_claim_each_slot_once(study):
    fill_slots(study, 40, "card", BASE)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: finish_all(study), range(8))) == 40
    assert states(study) == ["COMPLETE"] * 40


def test_two_parents_that_fill_the_same_slots_change_no_total(study):
    storage, _ = storage_of(study)
    parents = [optuna.load_study(study_name="s", storage=storage) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda parent: fill_slots(parent, 12, "card", BASE), parents))
        assert sum(pool.map(lambda _: finish_all(study), range(4))) == 12
    done = counted_trials(trials_of(study))
    assert sorted(trial.user_attrs["slot"] for trial in done) == list(range(12))


def test_a_slot_filled_twice_counts_once_even_when_the_first_is_done_last(study):
    fill_slots(study, 2, "card", BASE)
    late = claim_trial(study, "random", 1)
    study.enqueue_trial({}, user_attrs={"slot": 0})  # as a parent would that had not seen it
    assert finish_all(study) == 1
    late.study.tell(late, [0.5, 0.5])
    assert [trial.number for trial in counted_trials(trials_of(study))] == [0, 1]
    assert trials_of(study)[2].user_attrs["lost"] == "one too many"


def test_a_parent_that_died_between_losing_a_trial_and_copying_it_loses_nothing(study):
    fill_slots(study, 3, "card", BASE)
    claim_trial(study, "random", 1)
    lost = die_with_a_trial(study)  # the second, FC
    discard_trial(study, lost, "worker died", TrialState.RUNNING)
    assert fill_slots(study, 3, "card", BASE) == 3
    copy = trials_of(study)[-1]
    assert copy.user_attrs == {"keep": True, "slot": 1, "copy_of": 1}
    assert copy.system_attrs["fixed_params"]["strategy"] == "FC"


def test_a_failed_trial_counts(study):
    fill_slots(study, 3, "card", BASE)
    trial = claim_trial(study, "random", 1)
    trial.study.tell(trial, state=TrialState.FAIL)
    assert fill_slots(study, 3, "card", BASE) == 2


def test_the_first_five_are_the_papers_strategies(study):
    fill_slots(study, 6, "card", BASE)
    fixed = [trial.system_attrs.get("fixed_params", {}).get("strategy") for trial in trials_of(study)]
    assert fixed == [None, "FC", "FC+CL", "RE", "FU", None]
    assert trials_of(study)[0].user_attrs == {"named": "BL", "keep": True, "slot": 0}


def die_with_a_trial(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """Claims a trial as a process that is dead by the time this returns."""
    trial = claim_trial(study, "random", 1)
    trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    trial.set_user_attr("curve", [1])
    trial.set_user_attr("worker", identity_of_process() | {"pid": dead_process()})
    return trials_of(study)[trial.number]


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_dead_workers_trial_is_done_again_and_counted_once(study):
    fill_slots(study, 3, "card", BASE)
    lost = die_with_a_trial(study)
    assert requeue_expired(study) == 1 and requeue_expired(study) == 0
    copy = trials_of(study)[-1]
    assert copy.system_attrs["fixed_params"] == lost.params
    assert copy.user_attrs == {"named": "BL", "keep": True, "slot": 0, "copy_of": 0}
    assert fill_slots(study, 3, "card", BASE) == 3
    assert finish_all(study) == 3
    assert [trial.number for trial in counted_trials(trials_of(study))] == [1, 2, 3]


def test_a_trial_that_kills_every_worker_fails(study):
    fill_slots(study, 1, "card", BASE)
    for _ in range(RETRIES):
        die_with_a_trial(study)
        requeue_expired(study)
    (last,) = counted_trials(trials_of(study))
    assert last.state == TrialState.FAIL and "died 3 times" in last.user_attrs["reason"]
    assert finish_all(study) == 0


def test_a_living_workers_trial_is_left_alone(study):
    fill_slots(study, 2, "card", BASE)
    claim_trial(study, "random", 1)
    assert requeue_expired(study) == 0
    elsewhere = claim_trial(study, "random", 1)
    elsewhere.set_user_attr("worker", {"host": "another", "pid": 1, "since": time.time()})
    assert requeue_expired(study) == 0


def test_a_copy_keeps_the_knobs_that_were_fixed_before_any_was_suggested(study):
    fill_slots(study, 2, "card", BASE)
    claim_trial(study, "random", 1)
    fc = claim_trial(study, "random", 1)
    fc.set_user_attr("worker", identity_of_process() | {"pid": dead_process()})
    assert requeue_expired(study, blame=False) == 1
    copy = trials_of(study)[-1]
    assert copy.system_attrs["fixed_params"] == {"strategy": "FC", "lr": 0.01}
    assert copy.user_attrs == {"keep": True, "slot": 1, "copy_of": 1}


def test_a_torn_journal_loses_its_last_line_alone(tmp_path):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    fill_slots(study, 3, "card", BASE)
    journal = tmp_path / "journal.log"
    journal.write_bytes(journal.read_bytes()[:-20])
    for _ in range(2):
        again = optuna.load_study(study_name="s", storage=open_storage(None, tmp_path))
        fill_slots(again, 3, "card", BASE)
        assert len(again.trials) == 3


def test_a_worker_killed_inside_a_write_stops_nobody(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from study.storage.backend import open_storage\n"
        "storage = open_storage(None, Path(sys.argv[1])); storage._backend._kernel_lock.acquire()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parent.parent, check=False)
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    assert fill_slots(study, 2, "card", BASE) == 2


def test_discarding_a_finished_trial_does_nothing(study):
    fill_slots(study, 1, "card", BASE)
    finish_all(study)
    assert not discard_trial(study, trials_of(study)[0], "withdrawn")
    assert states(study) == ["COMPLETE"]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "gp"])
def test_equal_seeds_suggest_equal_trials_and_a_resumed_study_does_not_repeat_itself(tmp_path, sampler):
    def values(folder: Path, stops: tuple[int, ...]) -> list[float]:
        storage = open_storage(None, folder)
        study = optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)
        for total in stops:
            fill_slots(study, total, "card", BASE)
            while (trial := claim_trial(study, sampler, 3)) is not None:
                x = trial.suggest_float("x", 0, 1)
                trial.study.tell(trial, [x, 1 - x])
        return [trial.params["x"] for trial in trials_of(study)]

    once = values(tmp_path / "a", (14,))
    assert once == values(tmp_path / "b", (5, 14))
    assert len(set(once)) == 14


def test_the_default_sampler_is_tpe_with_conditions_and_other_workers_in_mind():
    assert StudyOptions.sampler == "tpe" and StudyOptions.sampler in SAMPLERS
    sampler = make_sampler("tpe", 0)
    assert type(sampler) is optuna.samplers.TPESampler
    assert (sampler._multivariate, sampler._constant_liar) == (False, True)


def test_a_study_begun_with_auto_goes_on_with_tpe(tmp_path):
    def values(before: str, after: str) -> list[float]:
        storage = open_storage(None, tmp_path / f"{before}-{after}")
        found = optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)
        for total, sampler in ((15, before), (20, after)):
            fill_slots(found, total, "card", BASE)
            while (trial := claim_trial(found, sampler, 3)) is not None:
                x = trial.suggest_float("x", 0, 1)
                trial.study.tell(trial, [x, 1 - x])
        return [trial.params["x"] for trial in trials_of(found)]

    assert values("auto", "auto") == values("auto", "tpe") == values("tpe", "tpe")


@pytest.mark.parametrize("sampler", ["evolution", "qmc", "Tpe", ""])
def test_a_study_of_a_sampler_that_is_gone_is_refused_in_one_line_and_none_of_its_trials_is_taken(study, sampler):
    fill_slots(study, 1, "card", BASE)
    with pytest.raises(InputError, match="--warm-start") as caught:
        claim_trial(study, sampler, 0)
    assert f"--sampler {sampler}" in str(caught.value) and "\n" not in str(caught.value)
    assert states(study) == ["WAITING"]


def test_a_study_that_an_older_version_began_is_resumed_or_refused_by_its_sampler():
    def record_of(sampler: str) -> dict:
        return made_info(options=asdict(StudyOptions("tfeid", sampler=sampler)))

    found = find_in(record_of("auto"), StudyOptions("tfeid"))
    assert found.options["sampler"] == "tpe"
    with pytest.raises(InputError, match="sampler tpe → random"):
        find_in(record_of("auto"), StudyOptions("tfeid", sampler="random"))
    for gone in ("evolution", "qmc"):
        with pytest.raises(InputError, match=f"--sampler {gone}, which is gone"):
            find_in(record_of(gone), StudyOptions("tfeid"))


def find_in(record: dict, options: StudyOptions) -> StudyRecord:
    """Looks for a study in a storage that has one with this record."""
    study = optuna.create_study(study_name="s", directions=["maximize"] * 2)
    study.set_user_attr("study", record)
    return find_record(StudyRecord.from_json(record | {"name": "s"}), options, storage_of(study)[0])


@pytest.mark.parametrize(("sampler", "finished"), [("nsga2", 56), ("gp", 12)])
def test_a_baseline_without_knobs_does_not_make_optunas_samplers_draw_at_random(tmp_path, sampler, finished):
    def suggested(folder: Path, seed: int) -> dict:
        storage = open_storage(None, folder)
        study = optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)
        fill_slots(study, finished + 1, "card", BASE)
        for number in range(finished):
            trial = claim_trial(study, sampler, seed)
            choose("card", trial, BASE)
            trial.study.tell(trial, [number % 7, number % 5])
        last = claim_trial(study, sampler, seed)
        choose("card", last, BASE)
        assert last.relative_search_space.keys() == {"strategy", "lr"}
        return dict(last.relative_params)

    first, second = suggested(tmp_path / "a", 1), suggested(tmp_path / "b", 2)
    assert first and second and first != second  # NSGA-II leaves out what it mutates


@pytest.mark.parametrize("options", [{}, {"min_retention": 0.9}, {"reference": [0.5, 0.3]}], ids=str)
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_keep_away_from_what_diverges(tmp_path, sampler, options):
    latest = []
    for seed in range(1 if sampler == "gp" else 3):  # GP asks for seconds, and hardly varies
        storage = open_storage(None, tmp_path / str(seed))
        study = optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)
        study.set_user_attr("study", {"options": options})
        fill_slots(study, 40, "card", BASE)
        while (trial := claim_trial(study, sampler, seed)) is not None:
            x = trial.suggest_float("x", 0, 1)
            if x > 0.3:  # where both would be best
                fail_trial(study, trials_of(study)[trial.number], "Diverged: inf")
                continue
            if "min_retention" in options:
                trial.set_constraint(CONSTRAINT, 0.2 - x)
            trial.study.tell(trial, [x, x])
        latest += [trial.state.name for trial in trials_of(study)[-20:]]
    assert latest.count("FAIL") < 0.5 * len(latest)  # 0.7 at random, nearly all where failures tell nothing


@pytest.mark.parametrize(
    "end, way, floor, seen",
    [
        ((0.5, 0.6), (0.6, 0.6), 0.0, [0.6, 0.6]),
        ((0.5, 0.6), (0.55, 0.3), 0.0, [0.5, 0.6]),
        ((0.5, 0.6), (0.55, 0.3), 0.52, [0.55, 0.3]),  # the end forgets too much
        ((0.5, 0.6), (0.51, 0.3), 0.52, [0.5, 0.6]),  # both do; the constraint tells
        ((0.1, 0.6), (0.1, 0.1), 0.0, [0.1, 0.6]),  # nothing is above chance
    ],
)
def test_samplers_see_a_trial_as_its_best_network(study, end, way, floor, seen):
    measures = {"source_val": end[0], "target_val": end[1], "source_val/0.50": way[0], "target_val/0.50": way[1]}
    study.add_trial(made_trial(0, values=end, measures=measures | ({MIN_SOURCE_ACCURACY: floor} if floor else {})))
    (trial,) = view_of(study).get_trials(states=(TrialState.COMPLETE,))
    assert trial.values == pytest.approx(seen)
    assert trials_of(study)[0].values == list(end)


def test_a_lost_trial_tells_samplers_nothing(study):
    fill_slots(study, 3, "card", BASE)
    for reason in ("worker died", None):
        trial = claim_trial(study, "random", 1)
        trial.suggest_float("x", 0, 1)
        if reason:
            discard_trial(study, trials_of(study)[trial.number], reason, TrialState.RUNNING)
        else:
            fail_trial(study, trials_of(study)[trial.number], "Diverged: inf")
    seen = view_of(study).get_trials(states=(TrialState.COMPLETE, TrialState.FAIL))
    assert [(trial.number, trial.state.name, trial.values) for trial in seen] == [
        (0, "FAIL", None), (1, "COMPLETE", [0, 0]),
    ]  # fmt: skip
    assert states(study) == ["FAIL", "FAIL", "WAITING"]


def test_a_missing_study_names_those_that_exist(tmp_path):
    optuna.create_study(study_name="mine", storage=open_storage(None, tmp_path / "mine"))
    with pytest.raises(InputError, match=r"'yours' in .* which has mine"):
        load_study("yours", tmp_path, None)
    with pytest.raises(InputError, match="a study must exist"):
        load_study("yours", tmp_path, f"sqlite:///{tmp_path}/x.db")


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path):
    with pytest.raises(InputError) as caught:
        open_storage("postgresql://me:secret@127.0.0.1:9/x", tmp_path)
    assert "secret" not in str(caught.value) and "--storage" in str(caught.value)
