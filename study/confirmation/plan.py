"""What a confirmation trains again: the baseline, the networks of the front, the named strategies."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fer.adaptation.methods import STRATEGIES, strategies_of
from fer.config import AdaptationConfig, fingerprint, from_flat, to_flat
from fer.errors import InputError
from search_spaces import named_in
from study.confirmation.jobs import (
    CONFIRMATION_ATTRIBUTE,
    END,
    Confirmation,
    ConfirmationJob,
    InterpolationPoint,
)
from study.fronts import candidate_networks, front_table, model_names
from study.inputs import base_config
from study.options import StudyOptions
from study.presets import budget_factor
from study.record import DOMAINS, StudyRecord
from study.record import number as stored_number
from study.reporting.dates import describe_opening
from study.reporting.paper_table import AMOUNTS
from study.reporting.wording import count_seeds
from study.storage.backend import trials_of
from study.trial_attributes import TrialAttributes
from study.trials import read_counted_trials
from study.tuning.expected_table import expected_table

if TYPE_CHECKING:
    import optuna
    import pandas as pd


def begin_confirmation(study: "optuna.Study", seeds: int, again: bool) -> Confirmation:
    """Returns what is confirmed: a new confirmation, not recorded yet, or one that was cut off and goes on.

    Args:
        study: Whose.
        seeds: Trainings per job.
        again: Whether the test images may be evaluated once more.

    Raises:
        InputError: The test images were evaluated before, and a second time was not asked for.
    """
    # The first confirmation.
    attribute = study.user_attrs.get(CONFIRMATION_ATTRIBUTE)
    if attribute is None:
        return Confirmation(seeds, plan_jobs(study))

    # One that was cut off goes on, unless its record is damaged.
    stored = attribute if isinstance(attribute, Mapping) else {}
    was_cut_off = not stored.get("finished") and stored.get("seeds") == seeds
    if was_cut_off:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            return Confirmation.from_json(stored)

    # Another one, if it is asked for; it records when the test images were evaluated before.
    evaluated = str(stored.get("opened", "at an unknown time"))
    if not again:
        raise InputError(
            "a study's test sets are opened once",
            f"a study whose test sets were opened {_describe_opening(stored)}",
            "Read its report (study.report writes it again), or evaluate them again with --again, which is recorded.",
        )
    earlier = stored.get("earlier")
    times = [str(time) for time in earlier] if isinstance(earlier, list) else []
    return Confirmation(seeds, plan_jobs(study), earlier=(*times, evaluated))


def _describe_opening(stored: Mapping[str, Any]) -> str:
    """Returns when test sets were opened and with how many seeds: "30 November 2026, 08:59 UTC, with 5 seeds"."""
    when = describe_opening(stored.get("opened"))
    seeds = stored.get("seeds")
    return f"{when}, with {count_seeds(seeds) if isinstance(seeds, int) else 'an unknown number of seeds'}"


def plan_jobs(study: "optuna.Study") -> tuple[ConfirmationJob, ...]:
    """Returns what is trained again: a job per configuration, with each of its networks that is confirmed.

    The baseline comes first, because all others are compared with it; then the front, then the named strategies that
    are not on it.

    Raises:
        InputError: No trial has finished.
    """
    record = StudyRecord.from_json(study.user_attrs["study"])
    trials = trials_of(study)
    table = expected_table(record, trials)
    front = front_table(table)
    if front.empty:
        raise InputError("a study to confirm has a finished trial", study.study_name, "Let it go on with study.run.")

    # The named strategies, by the fingerprint of the configuration; then the front's networks join them.
    jobs = plan_named_strategies(record, highest_rung(table, front))
    configs = readable_configs(trials)
    networks = candidate_networks(table)
    networks["model"] = model_names(networks)
    networks_on_front = networks[networks["model"].isin(front["model"])]
    for row in networks_on_front.to_dict("records"):
        number = row["number"]
        if number not in configs:
            print(f"warning: trial {number} cannot be confirmed: its configuration cannot be read", file=sys.stderr)
            continue

        # A trial may have the configuration of a named strategy, or of another trial: that is one job.
        config = configs[number]
        key = fingerprint(config)
        job = jobs.get(key) or ConfirmationJob("", "", row["strategy"], to_flat(config), ())
        validation = {domain: row[f"{domain}_val"] for domain in DOMAINS}
        # A network from scratch is trained once on all images, however often its configuration was tried.
        trainings = stored_number(row.get("trainings")) if config.init == "baseline" else None
        averaged = None if trainings is None else int(trainings)
        point = InterpolationPoint(row["search_alpha"], row["search_slope"], row["model"], True, validation, averaged)
        jobs[key] = job.add_front_point(point, number)

    # The order; sorting is stable, so it stays within the front and within the named strategies.
    baseline, *others = jobs.values()
    others.sort(key=lambda job: not job.is_on_front)
    return (baseline, *others)


def highest_rung(table: "pd.DataFrame", front: "pd.DataFrame") -> int:
    """Returns the highest rung from which a network of the front comes.

    Args:
        table: Of `study.trials.trials_table`.
        front: Of `study.fronts.front_table`.
    """
    on_front = table["number"].isin(front["trial"])
    return int(table.loc[on_front, "rung"].max())


def plan_named_strategies(record: StudyRecord, rung: int = 1) -> dict[str, ConfirmationJob]:
    """Returns a job per named strategy, by the fingerprint of its configuration; the baseline comes first.

    Args:
        record: Of the study.
        rung: Whose budget the strategies have: the largest of the front, so that no network is compared with a
            strategy that was trained for less.
    """
    source_images, target_images = (record.dataset(domain).count_images("train") for domain in DOMAINS)
    fused_passes = record.baseline.passes or 1.0
    jobs = {}
    for name, strategy, base_budget in reference_adaptations(record):
        config = replace(base_budget, epochs=base_budget.epochs * budget_factor(rung))
        jobs[fingerprint(config)] = ConfirmationJob(
            name=name,
            named=name,
            strategy=strategy,
            config=to_flat(config),
            interpolation_points=(InterpolationPoint(*END),),
            target_passes=config.target_passes(source_images, target_images, fused_passes),
        )
    return jobs


def readable_configs(trials: "Sequence[optuna.trial.FrozenTrial]") -> dict[int, AdaptationConfig]:
    """Returns the configurations of the trials that count, by number; what cannot be read is left out."""
    configs = {}
    for trial in read_counted_trials(trials).value:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            config = TrialAttributes.of(trial).config
            if config is not None:
                configs[trial.number] = from_flat(config)
    return configs


def reference_adaptations(record: StudyRecord) -> list[tuple[str, str, AdaptationConfig]]:
    """Returns what every front is confirmed beside, as name, strategy, configuration: the paper's five.

    One that equals another in the study's network is left out.

    In the paper's space that is its complete table, with both shares of the target's training set.
    """
    space = StudyOptions.from_json(record.options).space
    base = base_config(record)
    adaptations = []
    strategies = STRATEGIES if space == "paper" else strategies_of(base.depth)
    for strategy in strategies:
        config = named_in(space, strategy, base)
        if space == "paper" and strategy != "BL":
            for amount in AMOUNTS:
                percent = f"{amount:.0%}".replace("%", " %")
                adaptations.append((f"{strategy} {percent}", strategy, replace(config, amount=amount)))
        else:
            adaptations.append((strategy, strategy, replace(config, amount=base.amount)))
    return adaptations


def time_now() -> str:
    """Returns the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
