"""What a confirmation trains again, and the record that the test images are evaluated."""

from typing import TYPE_CHECKING, Any

from study.record import DOMAINS

if TYPE_CHECKING:
    pass

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fer.errors import InputError
from study.confirmation.retrain import CONFIRMATION_ATTRIBUTE

if TYPE_CHECKING:
    import optuna

    from fer.config import AdaptationConfig


Job = dict[str, Any]


Training = tuple[int, int]
"""The number of a job, and a seed."""


def begin_confirmation(study: "optuna.Study", seeds: int, again: bool) -> dict[str, Any]:
    """Returns what is confirmed: a new opening, not recorded yet, or one that was cut off and goes on.

    Raises:
        InputError: The test sets were opened before, and a second time was not asked for.
    """
    known = study.user_attrs.get(CONFIRMATION_ATTRIBUTE)
    if known is None:
        return {"seeds": seeds, "jobs": plan_jobs(study), "earlier": []}

    opening = known if isinstance(known, Mapping) else {}
    opened, finished = str(opening.get("opened", "at an unknown time")), opening.get("finished")
    if not finished and opening.get("seeds") == seeds and are_jobs(opening.get("jobs")):
        return dict(opening)
    if not again:
        raise InputError(
            "a study's test sets are opened once",
            f"opened {opened} with {opening.get('seeds', 'an unknown number of')} seeds",
            "Read its report, or open them a second time with --again, which is recorded.",
        )
    earlier = opening.get("earlier")
    before = [str(time) for time in earlier] if isinstance(earlier, list) else []
    return {"seeds": seeds, "jobs": plan_jobs(study), "earlier": [*before, opened]}


def are_jobs(jobs: Any) -> bool:
    """Returns whether the jobs of an opening are what `plan_jobs` returns, so that it can go on."""
    from fer.config import unflatten
    from study.reading import is_number

    try:
        for job in jobs:
            unflatten(job["config"])
            named = all(isinstance(job[name], str) for name in ("name", "named", "strategy"))
            placed = all(is_number(way["alpha"]) and is_number(way["slope"]) for way in job["ways"])
            told = all(isinstance(way["model"], str) and isinstance(way["front"], bool) for way in job["ways"])
            if not (named and placed and told and job["ways"]):
                return False
    except (TypeError, KeyError, ValueError):
        return False
    return isinstance(jobs, list) and bool(jobs)


def plan_jobs(study: "optuna.Study") -> list[Job]:
    """Returns what is trained again: a job per configuration, with the places on its way that count.

    The baseline comes first, because all others are compared with it; then the front, then the named strategies that
    are not on it.
    """
    from fer.config import fingerprint, flatten
    from study.fronts import candidate_networks, front_table, model_names
    from study.storage.backend import trials_of
    from study.trials import trials_table

    record = study.user_attrs["study"]
    trials = trials_of(study)
    rows = trials_table(trials)
    configs = readable_configs(trials)
    leading = front_table(rows)
    if leading.empty:
        raise InputError("a study to confirm has a finished trial", study.study_name, "Let it go on with study.run.")
    end = {"alpha": 1.0, "slope": 0.0, "model": "", "front": False}
    jobs: dict[str, Job] = {}
    images = [training_images(record, domain) for domain in DOMAINS]
    for name, strategy, config in reference_adaptations(record):
        jobs[fingerprint(config)] = {
            "name": name, "named": name, "strategy": strategy, "config": flatten(config), "ways": [end],
            "target_passes": config.target_passes(*images),
        }  # fmt: skip
    every = candidate_networks(rows)
    every["model"] = model_names(every)
    for row in every[every["model"].isin(leading["model"])].to_dict("records"):
        number = row["number"]
        if number not in configs:
            print(f"warning: trial {number} cannot be confirmed: its configuration cannot be read", file=sys.stderr)
            continue
        config = configs[number]
        new = {"name": "", "named": "", "strategy": row["strategy"], "config": flatten(config), "ways": []}
        job = jobs.setdefault(fingerprint(config), new)
        job["name"] = job["name"] if job["name"].startswith("trial") else f"trial {number}"
        way = {"alpha": row["share"], "slope": row["slope"], "model": row["model"], "front": True}
        way |= {f"{domain}_val": row[f"{domain}_val"] for domain in DOMAINS}
        job["ways"] = [*(kept for kept in job["ways"] if kept is not end or way["alpha"] != 1), way]
    first, *others = jobs.values()
    others.sort(key=lambda job: not any(way["front"] for way in job["ways"]))
    return [first, *others]


def readable_configs(trials: "Sequence[optuna.trial.FrozenTrial]") -> dict[int, "AdaptationConfig"]:
    """Returns the configurations of the trials that count, by number; what cannot be read is left out."""
    from fer.config import unflatten
    from study.trials import readable

    configs = {}
    for trial in readable(trials).value:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            configs[trial.number] = unflatten(trial.user_attrs["config"])
    return configs


def reference_adaptations(record: dict[str, Any]) -> list[tuple[str, str, "AdaptationConfig"]]:
    """Returns what every front is confirmed beside, as name, strategy, configuration: the paper's five.

    In the paper's space that is its whole table, with both shares of the target's training set.
    """
    from fer.adaptation.methods import STRATEGIES
    from search_spaces import named_in
    from study.inputs import base_config
    from study.reporting.paper_table import AMOUNTS

    space, base, found = record["options"]["space"], base_config(record), []
    for strategy in STRATEGIES:
        if space == "paper" and strategy != "BL":
            shares = [(f"{strategy} {share:.0%}".replace("%", " %"), share) for share in AMOUNTS]
        else:
            shares = [(strategy, base.amount)]
        config = named_in(space, strategy, base)
        found += [(name, strategy, replace(config, amount=share)) for name, share in shares]
    return found


def training_images(record: dict[str, Any], domain: str) -> int:
    """Returns how many training images a dataset of the study has, 0 where its record does not say."""
    sizes = (record[domain].get("report") or {}).get("sizes") or {}
    return int(sizes.get("train", 0))


def time_now() -> str:
    """Returns the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


MOST_SEEDS, MOST_WORKERS = 1000, 1024
