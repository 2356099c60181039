"""Promotion: the best third of every rung is trained again with four times the budget, along the whole front."""

import json
from collections import Counter
from dataclasses import asdict

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from commands import NAME, QUICK, run, trials_of
from fer.config import AdaptationConfig
from search_spaces import SPACES
from slots import study  # noqa: F401  # a fixture
from study.execution.claim import claim_trial, enqueue_due
from study.execution.endings import reason_to_end
from study.options import StudyOptions
from study.pareto import non_dominated
from study.pipeline.resume import resumed_options
from study.presets import FACTOR, budget_factor
from study.record import StudyRecord
from study.search_options import DEFAULT_RUNGS
from study.storage import backend
from study.storage.optuna_private import storage_of
from study.storage.slots import (
    ENDED,
    Place,
    discard_trial,
    fill_slots,
    give_trial_back,
    on_first_rung,
    place_of,
    rung_of,
    withdraw_waiting,
)
from study.trial_attributes import TrialAttributes
from study.tuning.plan import SearchPlan
from study.tuning.promotion import ETA, find_promotions, order_by_networks
from study.tuning.samplers import SamplerView

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def make_trial(
    number: int,
    values: list[float] | None = None,
    state: TrialState = COMPLETE,
    **attributes: object,
) -> FrozenTrial:
    trial = create_trial(state=state, values=values, user_attrs={"slot": number, "strategy": "RE"} | attributes)
    trial.number = number
    return trial


def make_rung(points: np.ndarray) -> list[FrozenTrial]:
    return [make_trial(number, point.tolist()) for number, point in enumerate(points)]


# --- which configurations are promoted


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 100])
def test_a_third_of_a_rung_is_promoted(count):
    trials = make_rung(np.random.default_rng(count).random((count, 2)))
    assert len(find_promotions(trials, SearchPlan(rungs=2))) == count // ETA
    assert find_promotions(trials, SearchPlan(rungs=1)) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_dominated_configuration_is_promoted_before_one_that_dominates_it(seed):
    points = np.random.default_rng(seed).random((30, 2))
    order = [trial.number for trial in order_by_networks(make_rung(points), SearchPlan())]
    for place, better in enumerate(order):
        assert not any((points[worse] >= points[better]).all() for worse in order[place + 1 :])


@pytest.mark.parametrize("rungs", [2, 3])
def test_of_configurations_that_are_equally_good_a_third_is_promoted_although_they_end_one_after_the_other(rungs):
    trials: list[FrozenTrial] = []
    for slot in range(27):
        trials.append(make_trial(len(trials), [0.3, 0.4], slot=slot))
        while promotions := find_promotions(trials, SearchPlan(rungs=rungs)):
            slot_promoted, rung = place_of(promotions[0].trial)[0], promotions[0].place.rung
            trials.append(make_trial(len(trials), [0.5, 0.6], slot=slot_promoted, rung=rung))
    expected = {1: 27, 2: 9, 3: 3}
    assert Counter(map(rung_of, trials)) == {rung: expected[rung] for rung in range(1, rungs + 1)}


@pytest.mark.parametrize("space", ["card", "full"])
@pytest.mark.parametrize(("ended", "are_first"), [(12, False), (21, False), (24, True), (60, True)])
def test_named_strategies_are_promoted_first_once_a_rung_has_two_places_for_each(ended, are_first, space):
    initial = [SPACES[space].initial_trial(AdaptationConfig(), index) for index in range(1, 5)]
    names = [trial.user_attrs for trial in initial]
    worst = [make_trial(number, [0.1, 0.1], **attributes) for number, attributes in enumerate(names)]
    others = [make_trial(number, [0.5, 0.2 + number / 100]) for number in range(len(names), ended)]

    promoted = [promotion.trial for promotion in find_promotions([*worst, *others], SearchPlan(rungs=2))]

    assert len(promoted) == ended // ETA
    if are_first:
        assert promoted[: len(names)] == worst
    else:
        assert not any(trial in promoted for trial in worst)


def test_both_ends_of_the_front_are_promoted_before_its_middle():
    source = np.linspace(0, 1, 9)
    trials = make_rung(np.column_stack([source, 1 - source**2]))
    first_two = {trial.number for trial in order_by_networks(trials, SearchPlan())[:2]}
    assert first_two == {0, 8}


def test_a_configuration_stands_where_the_best_of_its_networks_stands():
    middling = make_trial(0, [0.5, 0.5])
    forgetful = make_trial(1, [0.1, 0.1], measures={"source_val/0.50": 0.6, "target_val/0.50": 0.6})
    poor = make_trial(2, [0.2, 0.2])
    assert find_promotions([middling, forgetful, poor], SearchPlan(rungs=2))[0].trial is forgetful


@pytest.mark.parametrize(
    "odd",
    [
        {"strategy": "BL"},
        {"twin_of": 0},
        {"lost": "worker died"},
        {"state": PRUNED, "values": None},
        {"state": FAIL, "values": None},
    ],
    ids=str,
)
def test_what_a_larger_budget_would_not_change_is_not_promoted(odd):
    ordinary = [make_trial(number, [0.2, 0.2]) for number in range(5)]
    best = make_trial(5, **({"values": [0.9, 0.9]} | odd))
    promoted = [promotion.trial.number for promotion in find_promotions([*ordinary, best], SearchPlan(rungs=2))]
    assert promoted and 5 not in promoted


def test_the_highest_rung_comes_first_and_no_place_is_filled_twice():
    points = np.random.default_rng(1).random((27, 2))
    trials = make_rung(points)
    for promotion in find_promotions(trials, SearchPlan(rungs=3)):
        slot = place_of(promotion.trial).slot
        again = make_trial(len(trials), promotion.trial.values, slot=slot, rung=promotion.place.rung)
        trials.append(again)

    promotions = find_promotions(trials, SearchPlan(rungs=3))

    assert [promotion.place.rung for promotion in promotions] == [3, 3, 3]
    best = {trial.number for trial, leads in zip(trials[:27], non_dominated(points), strict=True) if leads}
    assert {place_of(promotion.trial)[0] for promotion in promotions[:2]} <= best


def test_budgets_of_rungs_are_1_4_and_16():
    assert [budget_factor(rung) for rung in (1, 2, 3)] == [1, FACTOR, FACTOR**2] == [1, 4, 16]


# --- promotions as trials of a study


def run_all(study: optuna.Study, rungs: int) -> list[Place]:  # noqa: F811
    """Claims and ends all trials as one worker does; returns their places in the order in which they were claimed."""
    places = []
    while (trial := claim_trial(study, "random", 1, SearchPlan(rungs=rungs))) is not None:
        x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("strategy", "RE")
        places.append(place_of(backend.trials_of(study)[trial.number]))
        trial.study.tell(trial, [x, 1 - x**2])
    return places


def test_promotions_are_trained_with_the_same_hyperparameters_and_the_study_keeps_its_total(study):  # noqa: F811
    fill_slots(study, 27, "card", AdaptationConfig())

    places = run_all(study, rungs=3)

    by_rung = Counter(rung for _, rung, *_ in places)
    assert by_rung == {1: 27, 2: 9, 3: 3}
    assert len(set(places)) == len(places)
    trials = backend.trials_of(study)
    for trial in trials:
        origin = TrialAttributes.of(trial).promoted_from
        if rung_of(trial) > 1:
            assert trial.params == trials[origin].params
            assert rung_of(trials[origin]) == rung_of(trial) - 1 and place_of(trials[origin])[0] == place_of(trial)[0]
    assert fill_slots(study, 27, "card", AdaptationConfig()) == 0 and len(on_first_rung(trials)) == 27


def test_a_promotion_that_two_workers_enqueue_is_trained_once(study):  # noqa: F811
    fill_slots(study, 6, "card", AdaptationConfig())
    run_all(study, rungs=1)
    view = backend.trials_of(study)
    enqueue_due(study, SearchPlan(rungs=2))
    # The other worker saw the study before this promotion was enqueued.
    for promotion in find_promotions(view, SearchPlan(rungs=2))[:1]:
        study.enqueue_trial(promotion.trial.params, user_attrs={"slot": place_of(promotion.trial)[0], "rung": 2})

    places = run_all(study, rungs=2)

    assert len(places) == len(set(places)) == 2
    counted = [trial for trial in backend.trials_of(study) if not TrialAttributes.of(trial).lost]
    assert len({place_of(trial) for trial in counted}) == len(counted)


def test_a_promoted_trial_whose_worker_died_is_trained_again_at_its_place(study):  # noqa: F811
    fill_slots(study, 3, "card", AdaptationConfig())
    run_all(study, rungs=1)
    running = claim_trial(study, "random", 1, SearchPlan(rungs=2))
    give_trial_back(study, backend.trials_of(study)[running.number])

    places = run_all(study, rungs=2)

    assert len(places) == 1 and places[0][1] == 2
    trials = backend.trials_of(study)
    copy = TrialAttributes.of(trials[-1])
    assert copy.copy_of == running.number and trials[-1].params == trials[copy.promoted_from].params


def test_a_withdrawn_promotion_is_due_again(study):  # noqa: F811
    fill_slots(study, 3, "card", AdaptationConfig())
    run_all(study, rungs=1)
    enqueue_due(study, SearchPlan(rungs=2))
    discard_trial(study, backend.trials_of(study)[-1], "withdrawn")
    assert len(find_promotions(backend.trials_of(study), SearchPlan(rungs=2))) == 1


def test_with_fewer_rungs_nothing_waits_above_them_and_with_more_it_is_due_again(study):  # noqa: F811
    fill_slots(study, 9, "card", AdaptationConfig())
    run_all(study, rungs=1)
    enqueue_due(study, SearchPlan(rungs=2))

    withdraw_waiting(study, above_rung=1)
    assert run_all(study, rungs=1) == []

    places = run_all(study, rungs=2)
    assert len(places) == len(set(places)) == 3


def test_patience_ends_a_study_until_its_last_promotion_and_not_after_it():
    trials = make_rung(np.full((9, 2), 0.5))
    options = StudyOptions("tfeid", trials=9, rungs=2, patience=3)
    assert "--patience 3" in reason_to_end(trials, options)

    promoted = [make_trial(9 + slot, [0.5, 0.5], slot=slot, rung=2) for slot in range(3)]
    assert reason_to_end([*trials, *promoted], options) == ""


@pytest.mark.parametrize(
    ("asked", "before", "expected"), [(None, {}, 1), (2, {}, 2), (None, {"rungs": 2}, 2), (1, {"rungs": 3}, 1)]
)
def test_a_study_goes_on_with_its_rungs_unless_it_is_asked_and_had_one_before_there_were_any(asked, before, expected):
    options = StudyOptions("tfeid", rungs=asked)
    new = StudyRecord.from_json({"options": asdict(options) | {"rungs": asked or DEFAULT_RUNGS}})
    earlier = StudyRecord.from_json({"options": before})
    assert resumed_options(earlier, new, options)["rungs"] == expected


def test_a_study_that_its_patience_ended_promotes_nothing(study):  # noqa: F811
    fill_slots(study, 3, "card", AdaptationConfig())
    run_all(study, rungs=1)
    study.set_user_attr(ENDED, "ended by --patience 1")
    assert run_all(study, rungs=2) == []


def test_samplers_see_a_configuration_once_on_the_highest_rung_that_ended(study):  # noqa: F811
    fill_slots(study, 9, "card", AdaptationConfig())
    run_all(study, rungs=2)
    enqueue_due(study, SearchPlan(rungs=3))  # waits

    view = SamplerView(study.study_name, storage_of(study)[0])
    shown = [trial for trial in view.get_trials(deepcopy=False) if trial.state == COMPLETE]

    trials = backend.trials_of(study)
    highest = {}
    for trial in trials:
        if trial.state == COMPLETE:
            slot, rung, *_ = place_of(trial)
            highest[slot] = max(rung, highest.get(slot, 1))
    assert {place_of(trial)[:2] for trial in shown} == set(highest.items())
    assert len(shown) == 9


# --- the real command


@pytest.mark.slow
def test_a_study_with_rungs_ends_with_its_promotions_and_promotes_no_more_when_it_is_resumed(prepared_folder):
    arguments = ("--target", "tfeid", *QUICK, "--trials", "9", "--rungs", "2", "--tracking-uri", "none")
    arguments += ("--workers", "1", "--early-stop", "off")
    run("run", *arguments, folder=prepared_folder)

    table = trials_of(prepared_folder)
    rungs = Counter(table["rung"])
    assert rungs == {1: 9, 2: 3}
    for _, promoted in table[table["rung"] == 2].iterrows():
        origin = table[table["number"] == promoted["promoted_from"]].iloc[0]
        assert promoted["epochs"] == FACTOR * origin["epochs"] and promoted["lr"] == origin["lr"]
    stored = json.loads((prepared_folder / "runs" / NAME / "study.json").read_text())
    assert stored["options"]["rungs"] == 2

    out = run("run", *arguments, folder=prepared_folder)
    assert "nothing to do" in out and len(trials_of(prepared_folder)) == len(table)
