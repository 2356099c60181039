"""Samplers: equal seeds suggest equal trials, and what is lost, diverged or interpolated is seen as it should be."""

from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fer.errors import InputError
from made_study import made_info, made_trial
from search_spaces import suggest_adaptation
from slots import BASE, states
from study.execution.claim import claim_trial
from study.options import StudyOptions
from study.pipeline.resume import find_record
from study.record import StudyRecord
from study.search_options import SAMPLERS
from study.storage.backend import open_storage, trials_of
from study.storage.optuna_private import storage_of
from study.storage.slots import discard_trial, fail_trial, fill_slots
from study.trials import MIN_SOURCE_MEASURE, RETENTION_CONSTRAINT
from study.tuning.samplers import SamplerView, make_sampler


def view_of(study: optuna.Study) -> SamplerView:
    return SamplerView(study.study_name, storage_of(study)[0])


def new_study(folder: Path) -> optuna.Study:
    storage = open_storage(None, folder)
    return optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)


def values_after(folder: Path, *stages: tuple[int, str]) -> list[float]:
    """Returns the values that a new study's trials are given; each stage fills it to a total, with a sampler."""
    study = new_study(folder)
    for total, sampler in stages:
        fill_slots(study, total, "card", BASE)
        while (trial := claim_trial(study, sampler, 3)) is not None:
            x = trial.suggest_float("x", 0, 1)
            trial.study.tell(trial, [x, 1 - x])
    return [trial.params["x"] for trial in trials_of(study)]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", pytest.param("gp", marks=pytest.mark.slow)])
def test_equal_seeds_suggest_equal_trials_and_a_resumed_study_does_not_repeat_itself(tmp_path, sampler):
    at_once = values_after(tmp_path / "a", (14, sampler))
    resumed = values_after(tmp_path / "b", (5, sampler), (14, sampler))

    assert at_once == resumed
    assert len(set(at_once)) == 14


def test_the_default_sampler_is_tpe_with_conditions_and_other_workers_in_mind():
    assert StudyOptions.sampler == "tpe" and StudyOptions.sampler in SAMPLERS

    sampler = make_sampler("tpe", 0)
    assert type(sampler) is optuna.samplers.TPESampler
    assert (sampler._multivariate, sampler._constant_liar) == (False, True)


def test_a_study_begun_with_auto_goes_on_with_tpe(tmp_path):
    def values(before: str, after: str) -> list[float]:
        return values_after(tmp_path / f"{before}-{after}", (15, before), (20, after))

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
        info = made_info(options=asdict(StudyOptions("tfeid", sampler=sampler)))
        info["baseline"]["answers"] = {"target": {}, "source": {}}
        return info

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
        study = new_study(folder)
        fill_slots(study, finished + 1, "card", BASE)
        for number in range(finished):
            trial = claim_trial(study, sampler, seed)
            suggest_adaptation("card", trial, BASE)
            trial.study.tell(trial, [number % 7, number % 5])
        last = claim_trial(study, sampler, seed)
        suggest_adaptation("card", last, BASE)
        assert last.relative_search_space.keys() == {"strategy", "lr"}
        return dict(last.relative_params)

    first, second = suggested(tmp_path / "a", 1), suggested(tmp_path / "b", 2)
    assert first and second and first != second  # NSGA-II leaves out what it mutates


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("tpe", {}),
        ("tpe", {"min_retention": 0.9}),
        ("tpe", {"reference": [0.5, 0.3]}),
        pytest.param("gp", {"min_retention": 0.9}, marks=pytest.mark.slow),
        pytest.param("gp", {}, marks=pytest.mark.slow),
        pytest.param("gp", {"reference": [0.5, 0.3]}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_samplers_keep_away_from_what_diverges(tmp_path, sampler, options):
    latest = []
    for seed in range(1 if sampler == "gp" else 3):  # GP asks for seconds, and hardly varies
        study = new_study(tmp_path / str(seed))
        study.set_user_attr("study", {"options": options})
        fill_slots(study, 40, "card", BASE)
        while (trial := claim_trial(study, sampler, seed)) is not None:
            x = trial.suggest_float("x", 0, 1)
            if x > 0.3:  # where both would be best
                fail_trial(study, trials_of(study)[trial.number], "Diverged: inf")
                continue
            if "min_retention" in options:
                trial.set_constraint(RETENTION_CONSTRAINT, 0.2 - x)
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
    study.add_trial(made_trial(0, values=end, measures=measures | ({MIN_SOURCE_MEASURE: floor} if floor else {})))

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
        (0, "FAIL", None), (1, "COMPLETE", [-1, -1]),
    ]  # fmt: skip
    assert states(study) == ["FAIL", "FAIL", "WAITING"]
