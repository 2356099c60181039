"""Fused networks in a study: their recipe, their trials, their confirmation."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from conftest import TINY, TINY_NETWORK
from fer import baseline
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.baseline import FusedNetworks
from fer.baseline_job import BaselineConfig
from fer.config import to_flat
from fer.model.weights import load_network
from fer.runtime import Runtime, digest_of
from made_study import made_info
from recorder import Recorder
from search_spaces import named_in
from search_spaces.initial_trials import InitialTrial
from study.confirmation.jobs import END, ConfirmationJob, InterpolationPoint
from study.confirmation.retrain import evaluate, retrain
from study.execution.claim import claim_trial
from study.execution.handed_over import hand_over
from study.execution.study_baseline import FUSED_TIME, baseline_config, fused_networks
from study.execution.trial import run_trial
from study.execution.trial_context import TrialContext
from study.inputs import CONVERGED_PASSES, budget_epochs
from study.options import StudyOptions
from study.presets import PRESETS
from study.record import StudyRecord
from study.storage.backend import open_storage, trials_of
from study.storage.slots import EVERY_FOLD, Place, place_of
from study.trials import model_file
from study.tuning.answers import SourceImages, TargetImages
from study.tuning.plan import SearchPlan
from study.tuning.stored_answers import ValidationImages

RECIPE = BaselineConfig(network=TINY_NETWORK, epochs=1, processes=1, batch_size=20)


@pytest.fixture
def context(setting: AdaptationTask, tmp_path: Path) -> TrialContext:
    """What a worker of a study in the paper's space has."""
    task = replace(setting, find_fused=FusedNetworks(RECIPE, tmp_path / "baselines").find_or_train)
    return TrialContext(task, "paper", TINY, 0, tmp_path, interpolation_points=((0.5, 0.0),))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Notes each training of a baseline or a fused network."""
    recorder = Recorder(baseline.train_baseline)
    monkeypatch.setattr(baseline, "train_baseline", recorder)
    return recorder


# The recipe.


def recipe_of(source, passes: int | None, **options) -> tuple[BaselineConfig, BaselineConfig]:
    """Returns the recipe of a study's baseline, and that of its fused networks."""
    asked = asdict(StudyOptions("jaffe", **({"preset": "laptop"} | options)))
    stored = made_info(options=asked)
    stored["baseline"].pop("epochs", None)
    if passes is not None:
        stored["baseline"]["epochs"] = passes
    record = StudyRecord.from_json(stored)
    fused = fused_networks(record, record.options | {"out": "runs"}, source, Runtime())
    return baseline_config(record.options, source, Runtime(), record.architecture), fused.recipe


@pytest.mark.parametrize("passes", [1, 7, 28])
def test_a_fused_network_is_trained_for_as_many_passes_as_the_baseline_was(source, passes):
    of_baseline, fused = recipe_of(source, passes)
    assert fused.epochs == passes
    same = {"epochs": 0, "processes": 0, "minutes": 0}
    assert replace(fused, **same) == replace(of_baseline, **same)


def test_the_presets_width_is_that_of_vgg13_alone(source):
    other = replace(VGG13, name="resnet18", channels=3, structure="ab")
    options = asdict(StudyOptions(target="jaffe", preset="tiny"))

    recipes = [baseline_config(options, source, Runtime(), network) for network in (VGG13, other)]

    assert recipes[0].network == replace(VGG13, width=PRESETS["tiny"].width) != VGG13
    assert recipes[1].network == other


def test_beside_a_network_of_the_users_own_it_has_the_passes_of_the_preset(source):
    of_baseline, fused = recipe_of(source, None)
    assert fused.epochs == of_baseline.epochs
    assert recipe_of(source, None, baseline_epochs=3)[1].epochs == 3


@pytest.mark.parametrize("minutes", [15.0, 40.0])
def test_its_time_is_that_of_the_baselines_processes_together(source, minutes):
    of_baseline, fused = recipe_of(source, 28, baseline_time=minutes)
    assert (of_baseline.processes, fused.processes) == (2, 1)
    assert fused.minutes == FUSED_TIME * 2 * minutes


# Its trials.


def run_trials(context: TrialContext, *initial: InitialTrial) -> list[optuna.trial.FrozenTrial]:
    """Runs some trials in a study of the context's space."""
    study = optuna.create_study(study_name="s", storage=open_storage(None, context.folder), directions=["maximize"] * 2)
    for slot, trial in enumerate(initial):
        trial.enqueue(study, slot)
    for _ in initial:
        assert run_trial(claim_trial(study, "random", 0), context) == TrialState.COMPLETE
    return trials_of(study)


def point(strategy: str, amount: float, **attributes) -> InitialTrial:
    return InitialTrial({"strategy": strategy, "amount": amount}, {"keep": True, **attributes})


def test_fusion_of_the_papers_space_is_a_trial_like_any_other(context, trainings):
    half, whole = run_trials(context, point("FU", 0.5), point("FU", 1.0))

    sizes = [len(job.fused.train) for (job, _) in trainings.calls]
    assert sizes == [21, 42] and {job.fused.share for (job, _) in trainings.calls} == {"natural"}
    for trial in (half, whole):
        assert trial.user_attrs["strategy"] == "FU" and trial.user_attrs["config"]["init"] == "fused"
        assert all(0 <= value <= 1 for value in trial.values)
        assert len(list((context.folder / "models").glob(f"*{trial.number}*"))) <= 1  # no interpolated network


def test_with_another_budget_it_is_the_same_network_and_is_not_trained_again(context, trainings):
    first, promoted = run_trials(context, point("FU", 1.0, rung=1), point("FU", 1.0, rung=2))

    assert len(trainings.calls) == 1
    assert promoted.values == first.values
    twins = [trial.user_attrs.get("twin_of") for trial in (first, promoted)]
    assert twins in ([None, first.number], [promoted.number, None])  # a worker takes the higher rung first


def test_where_trials_are_trained_on_every_fold_a_fusion_from_scratch_has_one_of_them(context, trainings):
    count = len(context.task.target.pool())
    folds = context.task.target.fold_of_images(3, context.seed)
    target = TargetImages(np.zeros(count, int), np.arange(count), folds, np.zeros(count, bool))
    images = ValidationImages(target, SourceImages(np.zeros(8, int), np.ones(8, bool)))
    every_fold = replace(context, plan=SearchPlan(images=images, every_fold=True))
    study = optuna.create_study(study_name="s", storage=open_storage(None, context.folder), directions=["maximize"] * 2)
    for slot in range(2):
        point("FU", 1.0).enqueue(study, slot, EVERY_FOLD)
        assert run_trial(claim_trial(study, "random", 0), every_fold) == TrialState.COMPLETE

    assert len(trainings.calls) == 2
    assert [place_of(trial) for trial in trials_of(study)] == [Place(0, 1, 0), Place(1, 1, 1)]


def test_a_repeat_has_another_seed_and_another_network(context, trainings):
    run_trials(context, point("FU", 1.0, replicate=0), point("FU", 1.0, replicate=1))
    assert len({job.config.seed for (job, _) in trainings.calls}) == 2


def test_what_is_handed_over_is_trained_on_all_images_and_is_no_average(context, trainings):
    study = optuna.create_study(study_name="s", storage=open_storage(None, context.folder), directions=["maximize"] * 2)
    point("FU", 1.0).enqueue(study, slot=0)
    assert run_trial(claim_trial(study, "random", 0), context) == TrialState.COMPLETE
    study.enqueue_trial({"strategy": "FU", "amount": 1.0}, {"recipe_of": 0, "parts": [0], "handed_over": [[1.0, 0.0]]})
    trial = study.ask()
    config = named_in("paper", "FU", TINY)

    with_folds = replace(context, plan=SimpleNamespace(folds=3, folds_at=lambda fold: range(1)))
    hand_over(trial, with_folds, config, study_seed=5, strategy="FU")

    (job, _) = trainings.calls[-1]
    united = with_folds.task_of_all_images
    assert len(job.fused.train) == len(united.target.open("train")) == 56
    handed_over = load_network(context.folder / model_file(0), Runtime())
    assert handed_over.digest == digest_of(united.find_fused(united, config, 5).state_dict())


@pytest.mark.parametrize("space", ["card", "full"])
def test_fusion_from_the_first_step_is_a_trial_of_the_default_spaces(context, trainings, space):
    (trial,) = run_trials(replace(context, space=space), InitialTrial({}, {"named": "FU-first", "keep": True}))

    (job, _) = trainings.calls[0]
    assert job.fused.share == 0.1 and job.config.epochs == RECIPE.epochs
    assert trial.user_attrs["strategy"] == "FU-first"


# Its confirmation.


def test_a_confirmation_trains_it_again_on_the_training_images_of_each_division(context, trainings):
    config = named_in("paper", "FU", TINY)
    job = ConfirmationJob("FU", "FU", "FU", to_flat(config), (InterpolationPoint(*END),))

    adapted = [retrain(context, job, seed) for seed in (0, 1)]
    answers = evaluate(context, job, 1, adapted[1])

    assert len({job.fused.name for (job, _) in trainings.calls}) == 2
    assert answers["target-0"].shape == (14, 7)


# The budget of the strategies beside it.


@pytest.mark.parametrize("images", [20, 150, 600, 4000])
def test_the_papers_strategies_have_the_passes_after_which_they_learn_no_more(images):
    options = asdict(StudyOptions("jaffe", preset="laptop", space="paper"))
    assert budget_epochs(options, images) == max(CONVERGED_PASSES, round(1600 / images))
    assert budget_epochs(options | {"space": "card"}, images) == max(2, round(1600 / images))
    assert budget_epochs(options | {"epochs": 3.5}, images) == 3.5


@pytest.mark.parametrize("images", [20, 150])
def test_a_trial_on_every_fold_has_the_budget_of_one_training_divided_among_them(images):
    options = asdict(StudyOptions("jaffe", preset="laptop", folds=5, folds_per_trial="all"))
    assert budget_epochs(options, images) == max(3, round(1600 / images / 5))
    assert budget_epochs(options | {"folds_per_trial": "one"}, images) == max(2, round(1600 / images))
