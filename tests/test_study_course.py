"""The course of a search: folds in turn, promotions, a race among finalists, and what is handed over at its end."""

import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

import dummy
from commands import NAME, QUICK, command, copy_prepared, run
from fer.config import AdaptationConfig
from fer.errors import InputError
from fer.model.weights import load_network
from fer.runtime import Runtime
from made_answers import World
from made_study import made_answered
from recorder import Recorder
from slots import study  # noqa: F401  # a fixture
from study.execution.claim import claim_trial, find_due
from study.execution.progress import Progress
from study.execution.supervisor import RACE_UNTIL, SEARCH_UNTIL, _Supervisor, supervise
from study.exit_code import ExitCode
from study.fronts import front_table
from study.options import StudyOptions
from study.pipeline.finish import delete_other_networks
from study.presets import FACTOR, budget_factor
from study.record import StudyRecord
from study.reporting import figures
from study.reporting.exported_files import render_files
from study.storage.backend import load_study, trials_of
from study.storage.slots import (
    DELETED,
    ENDED,
    EVERY_FOLD,
    HANDED_OVER,
    RACE_ENDED,
    Place,
    fill_slots,
    is_of_search,
    place_of,
)
from study.trial_attributes import TrialAttributes, write_attributes
from study.trials import MIN_SOURCE_MEASURE, counted_trials, find_failed_networks, interpolation_name, model_file
from study.tuning.competing_networks import find_competition
from study.tuning.expected_table import expected_table
from study.tuning.fold_effects import comparable_vectors, target_effects
from study.tuning.next_training import FINALIST, MOST_ATTEMPTS, DueTraining, find_due_trainings
from study.tuning.plan import SearchPlan
from study.tuning.race import has_settled
from study.tuning.stored_answers import ValidationImages, pack_answers, unpack_answers
from study.tuning.verdict import reach_verdict
from study.tuning.whole_points import POINT, in_whole_points, vectors_in_whole_points

FOLDS = 4
WORDS = (
    "--target", "tfeid", *QUICK, "--trials", "9", "--rungs", "2", "--folds", "3", "--race", "0.5",
    "--tracking-uri", "none", "--study", NAME,
)  # fmt: skip
CONFIGURATIONS, KILLS = 24, 20
"""Of the study whose workers are killed."""
BASE = AdaptationConfig()


# --- whole points


@pytest.fixture(scope="module")
def plan_with_baseline() -> SearchPlan:
    return SearchPlan(images=images_of(World(2, people=12, images=300, trials=3, folds=3)))


def compare(vectors: np.ndarray, plan: SearchPlan) -> np.ndarray:
    return np.array([in_whole_points(vector, plan, plan.baseline_target) for vector in vectors.tolist()])


def test_what_is_no_better_than_the_baseline_stands_behind_all_that_is(plan_with_baseline):
    baseline = np.array([plan_with_baseline.baseline_source, plan_with_baseline.baseline_target])
    rng = np.random.default_rng(0)
    no_better = baseline - rng.uniform(-0.004, 0.3, (200, 2))
    better = baseline + rng.uniform([-0.5, 0.006], [0.1, 0.4], (200, 2))

    behind = compare(no_better, plan_with_baseline)
    ahead = compare(better, plan_with_baseline)

    assert (behind[:, None] < ahead[None, :]).all()
    # Among themselves both keep their order, as far as whole points tell it.
    for given, compared in ((no_better, behind), (better, ahead)):
        first, second = np.triu_indices(200, 1)
        differences = given[first] - given[second]
        of_compared = compared[first] - compared[second]
        assert (np.sign(of_compared) * np.sign(differences) >= 0).all()
        assert (np.abs(of_compared - differences) <= POINT + 1e-9).all()


def test_differences_of_less_than_half_a_point_are_none(plan_with_baseline):
    source, target = plan_with_baseline.baseline_source, plan_with_baseline.baseline_target
    vectors = [[source - 0.02 + 0.004, target + 0.05 - 0.004], [source - 0.02 - 0.004, target + 0.05 + 0.004]]
    first, second = compare(np.array(vectors), plan_with_baseline).tolist()
    assert first == second == pytest.approx([source - 0.02, target + 0.05])


def test_a_study_that_stored_no_answers_is_compared_as_it_is():
    trials = [make_trial(number, vector, Place(number)) for number, vector in enumerate([[0.5, 0.3], [0.501, 0.3]])]
    assert vectors_in_whole_points(trials, SearchPlan()) == {0: [[0.5, 0.3]], 1: [[0.501, 0.3]]}


def test_what_equals_the_baseline_on_its_own_fold_stands_behind_also_where_others_gain_less_than_elsewhere():
    plan = SearchPlan(images=images_of(World(2, people=12, images=300, trials=3, folds=3)))
    of_folds = plan.baseline_of_folds

    # On the second fold networks lose what they gain elsewhere; three of each fold are the baseline itself.
    gains = [0.1, -0.1, 0.1]
    trials = []
    for number in range(90):
        fold = number % 3
        is_baseline = number < 9
        source = plan.baseline_source - (0.0 if is_baseline else 0.03)
        target = of_folds[fold] + (0.0 if is_baseline else gains[fold])
        trials.append(make_trial(number, [source, target], Place(number, 1, fold)))
    compared = vectors_in_whole_points(trials, plan)

    behind = {number for number, ((source, _),) in compared.items() if source < 0}
    assert behind == {*range(9), *(number for number in range(90) if number % 3 == 1)}


# --- answers per image


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_answers_are_read_as_they_were_stored(count):
    right = np.random.default_rng(count).random(count) < 0.5
    assert np.array_equal(unpack_answers(pack_answers(right), count), right)


@pytest.mark.parametrize("odd", ["", "AAAA", "§", "A" * 9, None, 5])
def test_text_that_does_not_hold_as_many_answers_is_refused(odd):
    with pytest.raises(ValueError):
        unpack_answers(odd, 9)


def images_of(world: World) -> ValidationImages:
    return ValidationImages(world.target, world.source)


def test_images_are_read_as_they_were_stored():
    images = images_of(World(1, people=8, images=60, trials=3, folds=FOLDS))
    stored = json.loads(json.dumps(images.to_json()))
    again = ValidationImages.from_json(stored)
    assert again.folds == FOLDS and again.baseline_of_folds == images.baseline_of_folds
    for name in ("labels", "subjects", "folds", "baseline_right"):
        assert np.array_equal(getattr(again.target, name), getattr(images.target, name))


@pytest.mark.parametrize("odd", [None, {}, 5, {"target": {}}, {"target": {"labels": [0.5]}, "source": {}}])
def test_images_that_are_none_are_nothing(odd):
    assert ValidationImages.from_json(odd) is None


# --- folds in turn


def test_every_fold_judges_as_many_configurations_and_a_configuration_meets_another_on_each_rung():
    plan = Planted(in_memory(), 1).plan
    assert Counter(plan.first_fold(slot) for slot in range(40 * FOLDS)) == dict.fromkeys(range(FOLDS), 40)
    assert [plan.first_fold(FOLDS - 2, rung) for rung in (1, 2, 3)] == [FOLDS - 2, FOLDS - 1, 0]


def make_trial(number: int, values: list[float], place: Place, **attributes: object) -> FrozenTrial:
    where = {"slot": place.slot, "rung": place.rung, "fold": place.fold, "repeat": place.repeat}
    trial = create_trial(values=values, user_attrs=where | {"strategy": "RE"} | attributes)
    trial.number = number
    return trial


def test_what_the_baseline_shows_on_a_fold_is_taken_off_and_what_all_gain_there_as_far_as_there_are_enough():
    world = World(2, people=12, images=300, trials=3, folds=3)
    plan = SearchPlan(images=images_of(world))
    easy = np.array(plan.baseline_of_folds)

    # Every network gains 0.1 and on the second fold 0.3.
    gains = [0.1, 0.3, 0.1]
    trials = [
        make_trial(slot, [0.5, easy[slot % 3] + gains[slot % 3]], Place(slot, 1, slot % 3)) for slot in range(300)
    ]
    targets = [vectors[0][1] for vectors in comparable_vectors(trials, plan).values()]
    assert np.ptp(targets) < 0.01

    # Alone, a trial on the second fold keeps most of its luck: it may be its own.
    alone = make_trial(0, [0.5, easy[1] + 0.3], Place(0, 1, 1))
    expected = easy[1] - plan.baseline_target
    assert target_effects([alone], plan)[0] == pytest.approx(expected)


def test_with_one_fold_nothing_is_taken_off():
    trials = [make_trial(slot, [0.5, slot / 10], Place(slot)) for slot in range(4)]
    assert [vectors[0] for vectors in comparable_vectors(trials, SearchPlan()).values()] == [
        [0.5, slot / 10] for slot in range(4)
    ]


# --- a whole search, whose networks are planted


class Planted:
    """A study whose configurations are those of a planted world; each trial ends at once.

    Args:
        study: The study, empty.
        trials: Configurations.
        race: What the race may cost.
        world: With one trial per recipe: slot and rung.
        fails: Whether the training of a place ends without a result.
        every_fold: Whether each training is on all folds.
    """

    def __init__(
        self,
        study: optuna.Study,  # noqa: F811
        trials: int,
        race: float = 1.0,
        rungs: int = 1,
        fails: Callable[[Place], bool] = lambda place: False,
        every_fold: bool = False,
    ) -> None:
        self.study, self.trials, self.fails = study, trials, fails
        self.world = World(3, people=20, images=300, trials=trials * rungs, folds=FOLDS)
        self.plan = SearchPlan(
            rungs=rungs,
            race_share=race,
            reference=(1 / 7, 1 / 7),
            images=images_of(self.world),
            every_fold=every_fold,
        )
        self.places: list[Place] = []

    def fill(self) -> None:
        fill_slots(self.study, self.trials, "full", BASE, fold_of_slot=self.plan.first_fold)

    def run(self, most: int = 10_000) -> None:
        """Claims and ends trials as one worker does."""
        while most and (trial := claim_trial(self.study, "random", 1, self.plan)) is not None:
            most -= 1
            self.end(trial)

    def end(self, trial: optuna.Trial) -> None:
        place = place_of(trial)
        self.places.append(place)
        if self.fails(place):
            trial.study.tell(trial, state=TrialState.FAIL)
            return
        if place.fold == HANDED_OVER:
            trial.study.tell(trial, state=TrialState.PRUNED)
            return
        of_recipe = place.slot * self.plan.rungs + place.rung - 1
        trained = [self.world.train(of_recipe, fold, place.repeat) for fold in self.plan.folds_at(place.fold)]
        answers, measures = {}, {}
        for share, evaluations in zip(self.world.points, zip(*trained, strict=True), strict=True):
            name = interpolation_name(share, 0.0)
            target = np.concatenate([evaluation.target_right for evaluation in evaluations])
            right = {"source": evaluations[0].source_right, "target": target}
            answers[name] = {domain: pack_answers(values) for domain, values in right.items()}
            suffix = "" if share == 1 else f"/{name}"
            measures |= {f"{domain}_val{suffix}": float(values.mean()) for domain, values in right.items()}
        if self.plan.min_source:
            measures[MIN_SOURCE_MEASURE] = self.plan.min_source
        write_attributes(trial, strategy="RE", measures=measures, answers=answers)
        trial.study.tell(trial, [measures["source_val"], measures["target_val"]])

    @property
    def raced(self) -> list[FrozenTrial]:
        return [trial for trial in trials_of(self.study) if TrialAttributes.of(trial).race is not None]

    @property
    def handed_over(self) -> list[FrozenTrial]:
        return [trial for trial in trials_of(self.study) if TrialAttributes.of(trial).handed_over is not None]


def in_memory() -> optuna.Study:
    return optuna.create_study(directions=["maximize"] * 2)


@pytest.fixture(scope="module")
def searched() -> Planted:
    """A search that has ended, on twelve configurations."""
    planted = Planted(in_memory(), 12, race=0.5)
    planted.fill()
    planted.run()
    return planted


def test_a_search_tries_promotes_races_and_hands_over_in_this_order(study):  # noqa: F811
    planted = Planted(study, 18, rungs=2)
    planted.fill()
    planted.run()

    kinds = []
    for trial in trials_of(study):
        attributes = TrialAttributes.of(trial)
        kind = "race" if attributes.race is not None else f"rung {place_of(trial).rung}"
        kinds.append("handed over" if attributes.handed_over is not None else kind)
    order = [kind for number, kind in enumerate(kinds) if number == 0 or kinds[number - 1] != kind]
    assert order == ["rung 1", "rung 2", "race", "handed over"]
    assert Counter(kinds)["rung 2"] == 6 and planted.raced and planted.handed_over
    assert len(planted.places) == len(set(planted.places))


def test_the_race_trains_on_folds_that_a_recipe_lacks_before_seeds_and_never_exceeds_its_share():
    planted = Planted(in_memory(), 12, race=2.0)
    planted.fill()
    planted.run()
    raced = [trial for trial in planted.raced if "finalist" not in TrialAttributes.of(trial).race]
    assert 0 < len(raced) <= 24
    for trial in planted.raced:
        place = place_of(trial)
        if place.repeat:
            earlier = [other[:3] for other in planted.places[: planted.places.index(place)]]
            assert all((place.slot, place.rung, fold) in earlier for fold in range(FOLDS))


@pytest.mark.parametrize(("seed", "race"), [(3, 0.5), (4, 0.2)])
def test_a_race_spends_its_share_on_cheaper_trainings_where_it_does_not_pay_for_the_best(seed, race):
    info, trials = made_answered(seed, race=race)
    verdict = reach_verdict(trials, SearchPlan.of(StudyRecord.from_json(info)))
    searched = [place_of(trial).rung for trial in trials if is_of_search(trial)]
    raced = [trial for trial in trials if TrialAttributes.of(trial).race and FINALIST not in trial.user_attrs["race"]]
    left = race * sum(map(budget_factor, searched)) - sum(budget_factor(place_of(trial).rung) for trial in raced)

    # A first-rung training costs 1; unless all is decided, some network of that rung could still be trained.
    assert left >= 0
    assert left < 1 or has_settled(verdict.front)


def test_equal_studies_have_equal_courses(tmp_path):
    courses = []
    for _ in range(2):
        planted = Planted(in_memory(), 9)
        planted.fill()
        planted.run()
        courses.append((planted.places, [TrialAttributes.of(trial).race for trial in planted.raced]))
    assert courses[0] == courses[1]


def test_a_finished_search_has_nothing_due_and_goes_on_when_it_is_given_more():
    planted = Planted(in_memory(), 6)
    planted.fill()
    planted.run()
    assert find_due_trainings(trials_of(planted.study), planted.plan) == []

    planted.world = World(3, people=20, images=300, trials=12, folds=FOLDS)
    planted.trials = 12
    planted.fill()
    planted.run()
    first = [place for place in planted.places if place.fold == planted.plan.first_fold(place.slot)]
    assert {place.slot for place in first} == set(range(12))


def test_the_recommended_network_was_trained_on_every_fold_and_is_handed_over(searched):
    verdict = reach_verdict(trials_of(searched.study), searched.plan)
    network = verdict.competition.networks[verdict.choice.network]
    folds = {place.fold for place in searched.places if (place.slot, place.rung) == network.recipe}
    assert folds >= set(range(FOLDS)) | {HANDED_OVER}

    handed_over = {TrialAttributes.of(trial).recipe_of for trial in searched.handed_over}
    on_front = {each.trial for each in (verdict.competition.networks[index] for index in verdict.wanted)}
    assert handed_over >= on_front
    for trial in searched.handed_over:
        parts = TrialAttributes.of(trial).parts
        assert {place_of(trials_of(searched.study)[part])[:2] for part in parts} == {place_of(trial)[:2]}


def test_on_every_fold_a_search_has_one_training_of_each_place_and_its_race_repeats_whole_trainings():
    planted = Planted(in_memory(), 9, race=1.0, rungs=2, every_fold=True)
    planted.fill()
    planted.run(most=400)

    trained = [place for place in planted.places if place.fold != HANDED_OVER]
    assert {place.fold for place in trained} == {EVERY_FOLD} and len(trained) == len(set(trained))
    of_search = [place for place in trained if place.repeat == 0]
    assert Counter(place.rung for place in of_search) == {1: 9, 2: 3}
    assert planted.raced and all(place.repeat > 0 for place in trained if place not in of_search)
    assert find_due_trainings(trials_of(planted.study), planted.plan) == []


def test_answers_of_a_trial_on_every_fold_compete_as_those_of_each_fold():
    planted = Planted(in_memory(), 3, race=0.0, every_fold=True)
    planted.fill()
    planted.run(most=100)
    competition = find_competition(trials_of(planted.study), planted.plan)

    recipes = {recipe: index for index, recipe in enumerate(competition.recipes)}
    for evaluation in competition.comparison.evaluations:
        network = competition.networks[evaluation.network]
        wanted = planted.world.train(network.recipe.slot, evaluation.fold)
        share = planted.world.points.index(network.alpha)
        assert np.array_equal(evaluation.target_right, wanted[share].target_right)
    assert len(recipes) == 3
    assert {evaluation.fold for evaluation in competition.comparison.evaluations} == set(range(FOLDS))


def test_a_trial_that_validated_on_nothing_does_not_compete_whatever_its_storage_says():
    world = World(3, people=20, images=300, trials=1, folds=FOLDS)
    plan = SearchPlan(images=images_of(world))
    answers = {"1.00": {"target": "", "source": pack_answers(world.source.baseline_right)}}
    trial = make_trial(0, [0.5, 0.5], Place(0, 1, HANDED_OVER), answers=answers)
    assert find_competition([trial], plan) is None


def test_trainings_that_fail_in_the_race_are_not_asked_for_again():
    planted = Planted(in_memory(), 9, race=3.0, fails=lambda place: place.fold not in (place.slot % FOLDS, HANDED_OVER))
    planted.fill()
    planted.run(most=400)
    assert len(planted.places) < 400 and len(planted.places) == len(set(planted.places))


def answers_of(right: dict[str, np.ndarray]) -> dict[str, str]:
    return {domain: pack_answers(values) for domain, values in right.items()}


def end_with_answers(planted: Planted, trial: optuna.Trial, source_of_points: dict[str, float]) -> None:
    """Ends a trial whose networks keep these shares of the source and answer every image of the target rightly."""
    place = place_of(trial)
    planted.places.append(place)
    if place.fold == HANDED_OVER:
        trial.study.tell(trial, state=TrialState.PRUNED)
        return
    count = len(planted.world.source.labels)
    target = np.ones(len(planted.world.target.images_of(place.fold)), bool)
    answers = {
        name: answers_of({"source": np.arange(count) < share * count, "target": target})
        for name, share in source_of_points.items()
    }
    write_attributes(trial, strategy="RE", answers=answers)
    trial.study.tell(trial, [source_of_points["1.00"], 1.0])


def assert_it_ends_without_asking_twice(planted: Planted) -> None:
    for _ in range(20):
        planted.run(most=40)
    assert planted.raced and len(planted.places) == len(set(planted.places))
    assert len(trials_of(planted.study)) == len(planted.places)
    assert find_due_trainings(trials_of(planted.study), planted.plan) == []


def test_trainings_of_the_race_that_repeat_another_trial_are_not_asked_for_again():
    def end(trial: optuna.Trial) -> None:
        if TrialAttributes.of(trial).race is None:
            Planted.end(planted, trial)
            return
        planted.places.append(place_of(trial))
        write_attributes(trial, strategy="RE", twin_of=0)
        trial.study.tell(trial, [0.5, 0.5])

    planted = Planted(in_memory(), 9, race=3.0)
    planted.end = end
    planted.fill()
    assert_it_ends_without_asking_twice(planted)


def test_a_fold_whose_networks_no_longer_compete_is_not_asked_for_again():
    # A first training shows its end alone. In the race the end forgets too much, and the network half-way does not.
    def end(trial: optuna.Trial) -> None:
        is_first = TrialAttributes.of(trial).race is None
        end_with_answers(planted, trial, {"1.00": 0.6} if is_first else {"1.00": 0.2, "0.50": 0.6})

    planted = Planted(in_memory(), 2, race=20.0)
    planted.plan = replace(planted.plan, min_source=0.5)
    planted.end = end
    planted.fill()
    assert_it_ends_without_asking_twice(planted)


def test_without_a_race_the_front_is_handed_over_at_once_and_a_race_whose_time_is_up_asks_for_no_more():
    planted = Planted(in_memory(), 9, race=0.0)
    planted.fill()
    planted.run()
    assert not planted.raced and planted.handed_over

    planted = Planted(in_memory(), 9, race=5.0)
    planted.fill()
    planted.study.set_user_attr(RACE_ENDED, "ended by --timeout 5")
    planted.run()
    assert all("finalist" in TrialAttributes.of(trial).race for trial in planted.raced)


class InlineWorker:
    """A worker that runs a planted study's trials, as many as `most`, when it is asked whether it has ended."""

    def __init__(self, planted: Planted, most: int = 10_000, not_before: float = 0.0) -> None:
        self.planted, self.most, self.not_before = planted, most, not_before

    def poll(self) -> int | None:
        if time.monotonic() < self.not_before:
            return None
        self.planted.run(self.most)
        return ExitCode.DONE

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int:
        return ExitCode.DONE

    def last_words(self) -> str:
        return ""


def test_a_parent_sees_no_more_due_than_its_workers_do():
    # The race's time was up in an earlier call of the command.
    planted = Planted(in_memory(), 9, race=5.0)
    planted.fill()
    planted.study.set_user_attr(RACE_ENDED, "ended by --timeout 5")
    spawned = []

    def spawn(*_: object) -> InlineWorker:
        spawned.append(InlineWorker(planted))
        assert len(spawned) < 5
        return spawned[-1]

    options = StudyOptions("tfeid", trials=9, workers="1")
    assert supervise(planted.study, options, BASE, Progress(), spawn, planted.plan) == "done"
    assert planted.handed_over


def test_a_time_limit_does_not_end_a_search_that_has_tried_and_promoted_all(tmp_path):
    planted = Planted(in_memory(), 9)
    planted.fill()
    planted.run(most=9)
    start, limit = time.monotonic(), 1.5

    def spawn(*_: object) -> InlineWorker:
        return InlineWorker(planted, not_before=start + 0.8 * limit)

    options = StudyOptions("tfeid", trials=9, workers="1", timeout=limit)
    assert supervise(planted.study, options, BASE, Progress(), spawn, planted.plan) == "done"
    assert planted.handed_over and planted.study.user_attrs.get(ENDED) is None


def ask_twice_for_what_is_due(planted: Planted) -> DueTraining:
    """Runs the nine configurations, and asks twice for the training that is due then; returns it."""
    planted.fill()
    planted.run(most=9)
    (due,) = find_due_trainings(trials_of(planted.study), planted.plan)
    for _ in range(2):
        place = {"slot": due.place.slot, "fold": due.place.fold, "repeat": due.place.repeat, "rung": due.place.rung}
        planted.study.enqueue_trial({}, user_attrs=place | {"race": {}, "strategy": "RE"})
    return due


def test_two_workers_may_ask_for_the_same_training_and_it_is_done_once():
    planted = Planted(in_memory(), 9)
    due = ask_twice_for_what_is_due(planted)
    planted.run()
    assert planted.places.count(due.place) == 1


def test_a_worker_that_asked_for_what_another_had_asked_for_gets_what_is_due_besides():
    planted = Planted(in_memory(), 9, race=2.0)
    due = ask_twice_for_what_is_due(planted)

    first, second = (claim_trial(planted.study, "random", 1, planted.plan) for _ in range(2))

    assert first is not None and place_of(first) == due.place
    assert second is not None and place_of(second) != due.place


def test_a_hand_over_that_fails_is_tried_again_and_then_named_as_missing():
    fails = Recorder(lambda place: place.fold == HANDED_OVER)
    planted = Planted(in_memory(), 6, fails=fails)
    planted.fill()
    planted.run()

    attempts = Counter(place_of(trial)[:2] for trial in planted.handed_over)
    assert set(attempts.values()) == {MOST_ATTEMPTS} and not find_due(
        planted.study, trials_of(planted.study), planted.plan
    )
    failed = find_failed_networks(trials_of(planted.study))
    front = front_table(expected_table(made_record(planted), trials_of(planted.study)))
    assert set(front["model"]) <= set(failed) and set(failed.values()) == {"no reason given"}

    # What is not there is not named.
    info = made_record(planted).to_json()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_figures", lambda *_: ({}, {}))
        files = render_files(info, trials_of(planted.study))
    assert pd.read_csv(io.BytesIO(files["front.csv"]))["model"].isna().all()

    # Once it succeeds, it counts.
    planted = Planted(in_memory(), 6, fails=lambda place: place.fold == HANDED_OVER and place.repeat == 0)
    planted.fill()
    planted.run()
    assert {place_of(trial).repeat for trial in planted.handed_over} == {0, 1}
    assert not find_failed_networks(trials_of(planted.study))


def test_a_study_that_patience_ended_is_not_filled_and_emptied_again():
    ended = in_memory()
    for number in range(6):
        ended.add_trial(make_trial(number, [0.5, 0.5], Place(number)))
    options = StudyOptions("tfeid", trials=20, patience=3, workers="1")
    supervisor = _Supervisor(ended, options, BASE, Progress(), spawn=None, plan=SearchPlan())

    assert "--patience 3" in supervisor.step()
    assert len(trials_of(ended)) == 6


def test_what_is_handed_over_is_no_trial_of_the_table_and_the_race_teaches_samplers_nothing(searched):
    trials = trials_of(searched.study)
    counted = counted_trials(trials)
    assert not {trial.number for trial in searched.handed_over} & {trial.number for trial in counted}
    assert sum(map(is_of_search, counted)) == 12


@pytest.mark.parametrize(("race", "until"), [(0.5, SEARCH_UNTIL), (0.0, RACE_UNTIL)])
def test_the_time_limit_ends_the_search_and_then_the_race_and_leaves_time_to_hand_over(race, until):
    limited = in_memory()
    fill_slots(limited, 9, "card", BASE)
    options = StudyOptions("tfeid", trials=9, timeout=1000.0)
    supervisor = _Supervisor(limited, options, BASE, Progress(), spawn=None, plan=SearchPlan(race_share=race))

    supervisor.started = time.monotonic() - 1000 * (until - 0.01)
    assert not supervisor.decide_about_end(trials_of(limited)) and not supervisor.end_reason

    supervisor.started = time.monotonic() - 1000 * (until + 0.01)
    assert supervisor.decide_about_end(trials_of(limited)) and "--timeout 1000" in supervisor.end_reason
    assert not any(trial.state == TrialState.WAITING for trial in trials_of(limited))

    supervisor.started = time.monotonic() - 1000 * (RACE_UNTIL + 0.01)
    supervisor.decide_about_end(trials_of(limited))
    assert supervisor.race_is_over and limited.user_attrs[RACE_ENDED]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("has_baseline", [True, False])
@pytest.mark.parametrize("least", [0.0, 0.86])
def test_what_is_handed_over_is_the_front_that_the_table_shows(seed, has_baseline, least):
    planted = Planted(in_memory(), 6, race=0.0)
    planted.world = World(seed, people=20, images=300, trials=6, folds=FOLDS)
    images = images_of(planted.world)
    of_baseline = float(images.source.baseline_right.mean())
    planted.plan = replace(planted.plan, images=images, min_source=least * of_baseline)
    if has_baseline:
        planted.study.add_trial(make_trial(0, list(map(float, planted.world.baseline_truth)), Place(6), strategy="BL"))
    planted.fill()
    planted.run()

    record = made_record(planted)
    baseline = replace(record.baseline, source_val=of_baseline)
    record = replace(record, baseline=baseline, options=record.options | {"min_retention": least})
    front = front_table(expected_table(record, trials_of(planted.study)))
    adapted = front[front["strategy"] != "BL"]
    handed_over = set()
    for trial in planted.handed_over:
        attributes = TrialAttributes.of(trial)
        handed_over |= {model_file(attributes.recipe_of, *point) for point in attributes.handed_over}
    assert set(adapted["model"]) == handed_over


def test_a_network_that_was_deleted_is_made_again_where_it_comes_back_to_the_front(tmp_path):
    planted = Planted(in_memory(), 6)
    planted.fill()
    planted.run()

    # All networks that were handed over lie in the folder, and one that is on the front no longer.
    trials = trials_of(planted.study)
    (tmp_path / "models" / "parts").mkdir(parents=True)
    for trial in planted.handed_over:
        for alpha, slope in TrialAttributes.of(trial).handed_over:
            (tmp_path / model_file(TrialAttributes.of(trial).recipe_of, alpha, slope)).touch()
    gone = planted.handed_over[0]
    recipe = place_of(gone)[:2]
    running = SimpleNamespace(study=planted.study, folder=tmp_path, record=made_record(planted))
    delete_other_networks(running)
    front = front_table(expected_table(running.record, trials))
    assert {path.name for path in (tmp_path / "models").iterdir()} == {model[7:] for model in front["model"]}
    assert planted.study.user_attrs[DELETED] == [] and not find_due(planted.study, trials, planted.plan)

    # While others dominate it, the recipe's network goes.
    dominated = front[~front["trial"].isin([TrialAttributes.of(gone).recipe_of])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.pipeline.finish.front_table", lambda table: dominated)
        delete_other_networks(running)
    deleted = planted.study.user_attrs[DELETED]
    assert deleted == [[gone.number, *point] for point in TrialAttributes.of(gone).handed_over]

    (due,) = find_due(planted.study, trials, planted.plan)
    assert due.place[:3] == (*recipe, HANDED_OVER)
    planted.run()
    assert not find_due(planted.study, trials_of(planted.study), planted.plan)


# --- what is made of it


def test_a_recipe_competes_as_one_network_per_point_with_all_its_answers(searched):
    competition = find_competition(trials_of(searched.study), searched.plan)
    assert len(competition.networks) == 12 * len(searched.world.points)
    judged = [place for place in searched.places if place.fold != HANDED_OVER]
    assert len(competition.comparison.evaluations) == len(judged) * len(searched.world.points)


def test_networks_that_keep_less_than_the_study_allows_do_not_compete(searched):
    all_networks = find_competition(trials_of(searched.study), searched.plan)
    least = float(np.median([evaluation.source_right.mean() for evaluation in all_networks.comparison.evaluations]))
    strict = SearchPlan(min_source=least, images=searched.plan.images)
    kept = find_competition(trials_of(searched.study), strict)
    assert 0 < len(kept.networks) < len(all_networks.networks)
    assert kept.comparison.trials.max() == len(kept.recipes) - 1


@pytest.mark.parametrize(("keep", "min_retention", "kept"), [(0.95, 0.0, 0.95), (0.95, 0.99, 0.99), (0.95, 0.9, 0.95)])
def test_what_is_recommended_keeps_what_every_answer_must(keep, min_retention, kept):
    record = StudyRecord.from_json({"options": {"keep": keep, "min_retention": min_retention}})
    assert SearchPlan.of(record).keep == kept


def test_the_table_says_of_every_network_what_is_expected_and_of_one_that_it_is_recommended(searched):
    record = made_record(searched)
    table = expected_table(record, trials_of(searched.study))
    roles = pd.concat([table[column] for column in table if column.startswith("expected/role/")]).dropna()
    assert len(roles) == 12 * len(searched.world.points) and (roles == "recommended").sum() == 1
    lower, value, upper = (table[f"expected/target_{name}/1.00"] for name in ("lower", "val", "upper"))
    assert (lower.dropna() <= value.dropna()).all() and (value.dropna() <= upper.dropna()).all()


def made_record(planted: Planted) -> object:
    answers = planted.plan.images.to_json()
    baseline = {"source_val": 0.5, "target_val": 0.4, "answers": answers}
    return StudyRecord.from_json({"baseline": baseline, "options": {"rungs": planted.plan.rungs, "race": 1.0}})


# --- the real command


@pytest.fixture(scope="module")
def real_search(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a study by one worker, and what its command printed."""
    folder = tmp_path_factory.mktemp("real")
    copy_prepared(prepared, folder)
    said = run("run", *WORDS, "--workers", "1", folder=folder, seconds=600)
    return folder / "runs" / NAME, said


@pytest.mark.slow
def test_a_real_search_with_folds_and_a_race_hands_over_the_networks_of_its_front(real_search):
    folder, out = real_search
    front, trials = pd.read_csv(folder / "front.csv"), pd.read_csv(folder / "trials.csv")
    assert "in the race" in out and set(trials["fold"]) == {0, 1, 2}
    promoted = trials[trials["promoted_from"].notna() & ~trials["race"]].iloc[0]
    origin = trials[trials["number"] == promoted["promoted_from"]].iloc[0]
    assert promoted["epochs"] == FACTOR * origin["epochs"] and promoted["lr"] == origin["lr"]
    assert promoted["fold"] == (origin["fold"] + 1) % 3
    assert all((folder / model).exists() for model in front["model"])
    assert not (folder / "models" / "parts").exists()
    baseline = {"trial-0000.safetensors"}  # stays, since no hand-over could make it again
    left = {path.name for path in (folder / "models").iterdir()}
    assert left - baseline == {model.split("/")[1] for model in front["model"]} - baseline


@pytest.mark.slow
def test_equal_commands_of_one_worker_give_equal_studies(real_search, tmp_path):
    # The second begins with nothing: its baseline is trained again.
    run("run", *WORDS, "--workers", "1", folder=tmp_path, seconds=600)

    files = []
    for folder in (real_search[0], tmp_path / "runs" / NAME):
        trials = pd.read_csv(folder / "trials.csv").drop(columns="seconds")
        networks = {path.name: load_network(path, Runtime()).digest for path in sorted((folder / "models").iterdir())}
        files.append((trials.to_csv(), (folder / "front.csv").read_text(), networks))
    assert files[0] == files[1]


@pytest.mark.slow
def test_twenty_killed_workers_and_a_killed_parent_lose_nothing_at_any_rung_in_the_race_or_at_the_end(prepared_folder):
    rng = random.Random(1)
    kills, parents_killed = 0, 0
    words = (*WORDS, "--trials", str(CONFIGURATIONS), "--rungs", "3", "--workers", "2")
    process = command("run", *words, folder=prepared_folder)
    while process.poll() is None:
        time.sleep(0.1)
        ended = count_ended(prepared_folder)

        # Spread over the trials, of which there are some forty, and not over the clock.
        if kills < KILLS and ended > 2 * kills:
            kills += dummy.kill_one(load_study(NAME, prepared_folder / "runs", None), rng)
        if ended >= KILLS and not parents_killed:
            parents_killed += 1
            process.kill()
            process.wait()
            process = command("run", *words, folder=prepared_folder)
    out = "".join(process.communicate())
    assert process.returncode == 0, out
    assert kills >= 0.75 * KILLS and parents_killed == 1

    # Each place counts once, every configuration was tried, and the networks of the front are there.
    trials = trials_of(load_study(NAME, prepared_folder / "runs", None))
    held = [trial for trial in trials if not TrialAttributes.of(trial).lost]
    assert len({place_of(trial) for trial in held}) == len(held)
    assert all(trial.state.is_finished() for trial in trials)
    assert {place_of(trial).slot for trial in held if is_of_search(trial)} == set(range(CONFIGURATIONS))
    folder = prepared_folder / "runs" / NAME
    front = pd.read_csv(folder / "front.csv")
    assert all((folder / model).exists() for model in front["model"])
    assert "nothing to do" in run("run", *words, folder=prepared_folder)


def count_ended(folder: Path) -> int:
    """Returns how many trials of the study have ended; 0 before it begins."""
    if not (folder / "runs" / NAME / "journal.log").exists():
        return 0
    try:
        study = load_study(NAME, folder / "runs", None)
    except (KeyError, InputError):
        return 0
    return sum(trial.state.is_finished() for trial in trials_of(study))
