"""Made-up trials for the tests of front, pictures, report and tracking: plausible, quick, the same every time."""

import copy
import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from fer.architecture import VGG13
from fer.expressions import EXPRESSIONS
from made_answers import World
from study.confirmation.points import ConfirmedPoint
from study.confirmation.statistics import judge_points, measures_on_test, per_class_results, strategy_differences
from study.fronts import front_table
from study.record import StudyRecord
from study.reporting import export, figures
from study.storage.slots import Place
from study.trials import INTERPOLATED_COLUMN, OBJECTIVES, interpolation_name, trials_table
from study.tuning.next_training import find_missing_folds, find_race_trainings
from study.tuning.plan import SearchPlan
from study.tuning.stored_answers import ValidationImages, pack_answers
from study.tuning.summary import SearchSummary, read_search
from study.tuning.verdict import reach_verdict

STRATEGIES = ["BL", "FC", "FC+CL", "RE", "FU"]
DONE, STOPPED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
DISTRIBUTIONS = {
    "strategy": CategoricalDistribution(STRATEGIES),
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "frozen_layers": IntDistribution(0, 13),
}


def made_info(**changes: Any) -> dict:
    info = {
        "id": "study-1",
        "name": "fer2013-tfeid-synthetic-card-tiny",
        "synthetic": True,
        "source": {"name": "fer2013", "kind": "synthetic", "digest": "0123456789abcdef", "report": {"images": 28709}},
        "target": {"name": "tfeid", "kind": "synthetic", "digest": "fedcba9876543210", "report": {"images": 510}},
        "options": {"space": "card", "sampler": "tpe", "seed": 0, "trials": 30},
        "network": {"width": 0.25, "parameters": 1203456},
        "baseline": {
            "file": "baseline.safetensors",
            "digest": "abc",
            "device": "cpu",
            "precision": "fp32",
            "source_val": 0.61,
            "target_val": 0.45,
            "measures": {"source_uar": 0.58},
        },
        "budget_epochs": 4.0,
        "versions": {"python": "3.11", "torch": "2.11.0"},
        "hardware": {"cores": 2},
        "created": "2025-01-01T12:00:00",
    }
    return info | changes


def made_trial(number: int, state: TrialState = DONE, values: Any = (0.5, 0.5), **attrs: Any) -> FrozenTrial:
    """One trial; attributes are overwritten by `attrs`, a None takes one away."""
    strategy = attrs.get("strategy") or "FU"
    config = {"init": "baseline", "frozen_layers": 0, "lr": 0.01, "fusion_ratio": 0.5, "amount": 1.0}
    curve = [{"epoch": e, "loss": 2.0 / e, "source_val": values[0], "target_val": values[1]} for e in (1.0, 2.0, 3.0)]
    measures = {"source_val": values[0], "target_val": values[1], "source_uar": values[0] / 2, "retention": 0.9}
    given = {"strategy": strategy, "config": config, "curve": curve, "measures": measures, "seconds": 3.25} | attrs
    params = {
        "strategy": strategy,
        "lr": min(0.1, (given["config"] or {}).get("lr", 0.01)),
        "frozen_layers": number % 14,
    }
    trial = create_trial(
        state=state,
        values=list(values) if state == DONE else None,
        params=params,
        distributions=DISTRIBUTIONS,
        user_attrs={name: value for name, value in given.items() if value is not None},
    )
    trial.number = number
    trial.datetime_start = datetime(2025, 1, 1, 12) + timedelta(seconds=4 * number)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=3)
    return trial


def made_trials(count: int = 30, seed: int = 0) -> list[FrozenTrial]:
    """A study in which the learning rate decides; every tenth trial is stopped or fails."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        lr = float(10 ** rng.uniform(-5, -1))
        fit = float(np.exp(-((np.log10(lr) + 2.5) ** 2)))
        values = [0.61 - 0.3 * fit * rng.random(), 0.45 + 0.4 * fit + 0.02 * rng.random()]
        state = {8: STOPPED, 9: FAILED}.get(number % 10, DONE)
        attrs: dict[str, Any] = {"strategy": STRATEGIES[number % 5]}
        attrs["config"] = {"init": "baseline", "frozen_layers": number % 14, "lr": lr, "fusion_ratio": "natural"}
        if state != DONE:
            attrs["reason"] = "dominated at rung 2" if state == STOPPED else "Diverged: the loss is nan"
        trials.append(made_trial(number, state, values, **attrs))
    return trials


def make_point(name: str, right: dict[str, np.ndarray], **about: Any) -> ConfirmedPoint:
    """Returns a confirmed point, given which test images each of its trainings got right."""
    return ConfirmedPoint(name, name, right, named=name, **about)


def paper_trials() -> list[FrozenTrial]:
    """The paper's strategies, each with half and with all of the target's images."""
    points = [("BL", 1.0)] + [(name, share) for name in STRATEGIES[1:] for share in (0.5, 1.0)]
    return [
        made_trial(n, values=(0.5 + n / 100, 0.6 + n / 100), strategy=name, config={"lr": 0.1, "amount": share})
        for n, (name, share) in enumerate(points)
    ]


@functools.cache
def made_pictures() -> tuple[dict, list[FrozenTrial], dict[str, bytes], dict[str, str]]:
    """A record, its trials, and their pictures and notes, drawn once for all tests since it takes seconds."""
    info = made_info(name="a $tudy & <b>", options={"space": "card", "storage": "postgresql://me:s3cr3t@host/db"})
    trials = made_trials(30)
    return info, trials, *figures.draw_figures(StudyRecord.from_json(info), trials_table(trials), trials)


def answered_info(world: World, **options: Any) -> dict[str, Any]:
    """A record of a study whose networks answer in a planted world."""
    images = ValidationImages(world.target, world.source)
    info = made_info()
    info["options"] |= {"folds": world.folds, "rungs": 2, "race": 0.5, "keep": 0.8} | options
    info["baseline"] |= {
        "source_val": float(world.source.baseline_right.mean()),
        "target_val": float(world.target.baseline_right.mean()),
        "answers": images.to_json(),
    }
    return info


def answered_trial(world: World, number: int, place: Place, **attrs: Any) -> FrozenTrial:
    """A finished trial whose configuration is the world's of its slot, with the answers of its networks.

    On the second rung a configuration is that of the world's trial after those of the slots.
    """
    slots = world.trials // 2
    of_world = place.slot + slots * (place.rung - 1)
    measures = {}
    answers = {}
    for share, evaluation in zip(world.points, world.train(of_world, place.fold, place.repeat), strict=True):
        name = interpolation_name(share, 0.0)
        right = {"source": evaluation.source_right, "target": evaluation.target_right}
        answers[name] = {domain: pack_answers(values) for domain, values in right.items()}
        for objective, values in zip(OBJECTIVES, right.values(), strict=True):
            column = objective if share == 1 else INTERPOLATED_COLUMN.format(objective, name)
            measures[column] = float(values.mean())
    lr = float(10 ** np.random.default_rng(place.slot).uniform(-4, -1))
    given = {
        "strategy": STRATEGIES[1 + place.slot % 4],
        "config": {"init": "baseline", "frozen_layers": place.slot % 14, "lr": lr, "fusion_ratio": 0.5, "amount": 1.0},
        "measures": measures,
        "answers": answers,
        **place._asdict(),
    }
    return made_trial(number, values=[measures[name] for name in OBJECTIVES], **(given | attrs))


@functools.cache
def made_answered(seed: int = 39, equal: bool = False, race: float = 0.5) -> tuple[dict[str, Any], list[FrozenTrial]]:
    """A record and trials with answers: a baseline, configurations on two rungs, and what a race asked for after them.

    Args:
        seed: Of the planted world.
        equal: Whether all networks are as good as the baseline.
        race: What the race may cost.
    """
    world = World(seed, people=15, images=600, trials=24, folds=3, equal=equal)
    info = answered_info(world, race=race)
    plan = SearchPlan.of(StudyRecord.from_json(info))
    baseline = [info["baseline"][name] for name in OBJECTIVES]
    trials = [made_trial(0, values=baseline, strategy="BL", measures=dict(zip(OBJECTIVES, baseline, strict=True)))]

    # The search: every configuration on the first rung, a third of them on the second.
    for slot in range(1, 12):
        trials.append(answered_trial(world, len(trials), Place(slot, 1, slot % world.folds)))
    for slot in range(1, 12, 3):
        place = Place(slot, 2, (slot + 1) % world.folds)
        trials.append(answered_trial(world, len(trials), place, promoted_from=slot))

    # The race, then the folds that finalists lack, one training at a time.
    while True:
        verdict = reach_verdict(trials, plan)
        assert verdict is not None
        due = find_race_trainings(trials, verdict, plan, 1) or find_missing_folds(trials, verdict, plan)
        if not due:
            return info, trials
        for training in due:
            trials.append(answered_trial(world, len(trials), training.place, **training.attributes))


@functools.cache
def read_made(arguments: tuple = ()) -> tuple[StudyRecord, list[FrozenTrial], pd.DataFrame, SearchSummary]:
    """Returns a made study's record, trials, table and what its search found."""
    info, trials = made_answered(*arguments)
    record = StudyRecord.from_json(info)
    table, summary = read_search(record, trials)
    assert summary is not None
    return record, trials, table, summary


def made_study(trials: list[FrozenTrial], storage: Any = None, name: str = "made") -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, study_name=name, directions=["maximize", "maximize"])
    study.set_user_attr("study", made_info(name=name))
    study.add_trials(trials)
    return study


@functools.cache
def made_confirmed() -> tuple[dict, list[FrozenTrial]]:
    """A record and trials as a confirmed study has them: confusions, test answers of five seeds, layers' similarity."""
    rng = np.random.default_rng(5)
    trials = made_trials(30)
    labels = {"source": np.arange(140) % 7, "target": np.arange(56) % 7}
    subjects = {"source": np.full(140, -1), "target": np.arange(56) // 7}
    for trial in trials:
        counts = {side: np.diag([9] * 7) + rng.integers(0, 3, (7, 7)) for side in labels}
        shares = {f"retention_{name}": float(rng.uniform(0.5, 1.1)) for name in EXPRESSIONS}
        trial.user_attrs["confusion"] = {side: found.tolist() for side, found in counts.items()}
        trial.user_attrs["measures"] |= shares
    front = front_table(trials_table(trials))
    points = []
    networks = [("BL", "BL", "", 0.61, 0.45), *((n, n, "", 0.55, 0.6) for n in STRATEGIES[1:])]
    networks += [(f"trial {row.trial}", row.strategy, row.model, row.source_val, row.target_val) for row in
                 front.itertuples()]  # fmt: skip
    for name, strategy, model, source, target in networks:
        seeds = 1 if name == "BL" else 5
        logits = {}
        for side, level in (("source", source), ("target", target)):
            logits[side] = rng.normal(size=(seeds, len(labels[side]), 7))
            right = rng.random((seeds, len(labels[side]))) < level
            logits[side][..., :] += 4 * right[..., None] * np.eye(7)[labels[side]]
        right = {side: logits[side].argmax(-1) == labels[side] for side in labels}
        points.append(
            ConfirmedPoint(
                name=name,
                named=name if not model else "",
                strategy=strategy,
                model=model,
                front=bool(model),
                divisions=min(seeds, 4),
                validation={"source": source, "target": target} if model else {},
                logits=logits,
                right=right,
                cka=np.linspace(1, 0.4, len(VGG13.blocks)),
                probe=0.6,
            )
        )
    results = judge_points(points, subjects, 0.95).to_json()
    rows = zip(results["points"], measures_on_test(points, labels, EXPRESSIONS), strict=True)
    results["points"] = [row | measures for row, measures in rows]
    results["inside"] = [per_class_results(point, points[0], labels, EXPRESSIONS) for point in points]
    results["differences"] = [row.to_json() for row in strategy_differences(points, subjects, 0.95)]
    opening = {"opened": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00", "seeds": 5}
    info = made_info(confirmation=opening | {"results": results, "earlier": []})
    info["baseline"]["confusion"] = trials[0].user_attrs["confusion"]
    return info, trials


def rich_info() -> dict[str, Any]:
    """A confirmed study's record with options that few studies have."""
    info = copy.deepcopy(made_confirmed()[0])
    info["options"] |= {"reference": [0.1, 0.1], "folds": 3, "min_retention": 0.9}
    return info


def whole_record(**changes: Any) -> dict[str, Any]:
    """A record with all that a training needs."""
    baseline = {"file": "b.safetensors", "digest": "abc", "device": "cpu", "precision": "fp32", "source_val": 0.6}
    options = {
        "space": "card", "sampler": "random", "seed": 0, "preset": "tiny", "early_stop": "on", "interpolate": "on",
        "lr": 0.01, "amount": 1.0, "equalise": False, "keep_duplicates": False, "data": None,
    }  # fmt: skip
    return made_info(baseline=baseline, options=options, budget_epochs=4.0, **changes)


def sound_trials() -> list[FrozenTrial]:
    """Trials of every state, between which a test's odd one stands as number 2."""
    values = [(0.6, 0.3), (0.5, 0.5), (0.9, 0.9), (0.4, 0.6), (0.3, 0.2), (0.3, 0.3)]
    trials = [made_trial(number, values=pair) for number, pair in enumerate(values)]
    trials[3] = made_trial(3, STOPPED, reason="dominated")
    trials[4] = made_trial(4, FAILED, reason="no faces")
    return trials


@pytest.fixture
def export_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, list[FrozenTrial]], Path]:
    """Exports without pictures, which take seconds."""
    monkeypatch.setattr(figures, "draw_figures", lambda *_: ({}, {"pareto": "not drawn here"}))

    def write(info: Any, trials: list[FrozenTrial]) -> Path:
        folder = tmp_path / "exported"
        export.export(info, trials, folder)
        assert export.is_exported(info, trials, folder)
        return folder

    return write
