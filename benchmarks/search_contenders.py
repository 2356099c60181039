"""What `benchmarks.search` replays: every contender, and one search of it over a surrogate of real trainings."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from benchmarks.search_peers import Stopping, mo_asha, multi_metric
from benchmarks.search_simulator import Course, Plan, Search, base, simulate, slots
from benchmarks.search_table import SHARES
from fer.adaptation.methods import STRATEGIES
from fer.config import AdaptationConfig
from search_spaces import suggest_adaptation
from study.options import StudyOptions
from study.search.early_stopping import ETA, should_stop
from study.search.samplers import SamplerView, make_sampler
from study.storage.optuna_private import storage_of

TRIALS = 200
SEEDS = 20
DEFAULT = "the default"
WITHOUT = "the default, no stopping"
RANDOMLY = "random, named first, stopping"
OTHER_SAMPLERS = ("nsga2",)
EARLY = SHARES[:-1]


@dataclass(frozen=True)
class Contender:
    """How trials are searched for.

    Attributes:
        sampler: From a seed to a sampler.
        named: Whether the named methods come first, as in a study.
        stopping: From the study to the rule that stops trials; None lets all run to their end.
        rungs: Shares of the budget at which the rule is asked.
        workers: How many trials run at once.
        seeds: How many searches are replayed.
        trials: How many trials a search has; fewer where asking takes seconds.
        needs: The package of another project, without which the contender is left out.
    """

    sampler: Callable[[int], BaseSampler]
    named: bool = False
    stopping: Stopping | None = None
    rungs: tuple[float, ...] = (0.5,)
    workers: int = 1
    seeds: int = SEEDS
    trials: int = TRIALS
    needs: str | None = None


def halving(eta: int = ETA) -> Stopping:
    """Returns this project's early stopping."""

    def rule(trial: optuna.Trial, share: float, mine: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
        return should_stop(mine, others, eta)

    return lambda study: rule


def contenders() -> dict[str, Contender]:
    """Returns every contender by name, the slow ones last."""

    def random(seed: int) -> BaseSampler:
        return RandomSampler(seed=seed)

    def nsga2(seed: int, population_size: int = 50) -> BaseSampler:
        return NSGAIISampler(seed=seed, population_size=population_size)

    def tpe(seed: int) -> BaseSampler:
        return TPESampler(seed=seed)

    def gp(seed: int) -> BaseSampler:
        return GPSampler(seed=seed)

    default = Contender(partial(make_sampler, StudyOptions.sampler), named=True, stopping=halving())
    syne_tune = Contender(random, stopping=mo_asha(), rungs=EARLY, needs="syne_tune")
    optunahub = Contender(tpe, stopping=multi_metric(MedianPruner), rungs=EARLY, needs="optunahub")
    return {
        "random": Contender(random),
        "nsga2": Contender(nsga2),
        "nsga2, population 20": Contender(partial(nsga2, population_size=20)),
        "Syne Tune's MO-ASHA": syne_tune,
        "Syne Tune's MO-ASHA, rung 1/2, eta 2": replace(syne_tune, stopping=mo_asha(4, 2)),
        "Syne Tune's MO-ASHA, named first": replace(syne_tune, named=True),
        "random, named first": Contender(random, named=True),
        RANDOMLY: Contender(random, named=True, stopping=halving()),
        WITHOUT: replace(default, stopping=None),
        DEFAULT: default,
        **{f"{n} workers": replace(default, workers=n) for n in (2, 8, 64)},
        "rungs 1/4, 1/2": replace(default, rungs=(0.25, 0.5)),
        "rungs 1/2, 3/4": replace(default, rungs=(0.5, 0.75)),
        "rungs 1/8, 1/4, 1/2, 3/4": replace(default, rungs=EARLY),
        "rung 1/4": replace(default, rungs=(0.25,)),
        "eta 2": replace(default, stopping=halving(2)),
        "eta 4": replace(default, stopping=halving(4)),
        "tpe, Optuna's": Contender(tpe),
        "OptunaHub's multi-metric pruner": optunahub,
        **{f"--sampler {name}": replace(default, sampler=partial(make_sampler, name)) for name in OTHER_SAMPLERS},
        "gp, 60 trials": Contender(gp, trials=60),
    }


def replay(
    contender: Contender, answer: Callable[[AdaptationConfig, int], Course], seed: int, trials: int = TRIALS
) -> tuple[Search, list[float]]:
    """Replays one search; returns it and the seconds that each ask took.

    Args:
        contender: How it searches.
        answer: From a configuration and a seed to its course.
        seed: The seed of sampler and trainings.
        trials: How many trials the search has.
    """
    states = optuna.trial.TrialState
    ends = {"finished": states.COMPLETE, "stopped": states.PRUNED, "failed": states.FAIL}
    # One sampler for all trials, as Optuna's own searches have it.
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=contender.sampler(seed))
    waiting = slots(contender.named)
    latencies: list[float] = []

    def ask(index: int) -> tuple[optuna.Trial, AdaptationConfig]:
        started = time.perf_counter()
        next(waiting).enqueue(study, slot=index)
        # Samplers see a study of this project otherwise than one of Optuna's, and each trial needs a view of its own.
        asked = SamplerView(study.study_name, storage_of(study)[0], study.sampler) if contender.named else study
        trial = asked.ask()
        _, config = suggest_adaptation("full", trial, base())
        latencies.append(time.perf_counter() - started)
        return trial, config

    def tell(trial: optuna.Trial, vector: tuple[float, float] | None, state: str, seconds: float) -> None:
        trial.set_user_attr("seconds", seconds)
        if state == "failed":
            trial.set_user_attr("reason", "Diverged: simulated")
        study.tell(trial, vector, ends[state])

    plan = Plan(
        trials,
        seed,
        contender.workers,
        rule=contender.stopping(study) if contender.stopping else None,
        rungs=contender.rungs,
        unstoppable=len(STRATEGIES) if contender.named else 0,
    )
    with warnings.catch_warnings(action="ignore"):
        search = simulate(answer, ask, tell, plan)
    return search, latencies
