"""When a study ends before its last trial: nothing grows any more, or nothing works."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from study.options import StudyOptions
from study.storage.slots import has_diverged, is_of_search, on_first_rung
from study.trial_attributes import TrialAttributes
from study.tuning.early_stopping import trials_since_growth
from study.tuning.fold_effects import comparable_vectors
from study.tuning.plan import SearchPlan
from study.tuning.promotion import find_promotions

MOST_CRASHES_IN_A_ROW = 5
"""Workers that end before their first trial, one after the other, until a study gives up; more with many workers."""
MOST_FAILURES_IN_A_ROW = 20
"""Trials that fail, one after the other, until a study gives up."""


class GaveUp(RuntimeError):
    """The study cannot go on by itself; the message is the reason."""


def reason_to_end(ended: list[FrozenTrial], options: StudyOptions, plan: SearchPlan | None = None) -> str:
    """Returns why --patience ends a study with these trials, nothing when it does not.

    A study that has all its trials, and all promotions, has ended anyway.

    Args:
        ended: The ended trials, in the order of their ends.
        options: The study's options.
        plan: The course of its search.
    """
    plan = plan or SearchPlan(rungs=options.rung_count)
    ended = [trial for trial in ended if is_of_search(trial)]
    if not options.patience or len(ended) <= options.patience:
        return ""
    has_all_configurations = len(on_first_rung(ended)) >= options.wanted
    if has_all_configurations and not find_promotions(ended, plan):
        return ""
    vectors = comparable_vectors([trial for trial in ended if trial.state == TrialState.COMPLETE], plan)
    since = trials_since_growth(ended, options.reference or plan.reference, vectors)
    if since < options.patience:
        return ""
    return f"ended by --patience {options.patience}: hypervolume has not grown for {since} finished trials"


def give_up_if_hopeless(crashes: int, ended_here: list[FrozenTrial], workers: int, reasons: Sequence[str] = ()) -> None:
    """Gives up when workers keep ending before their first trial, or when every trial fails.

    Args:
        crashes: Workers in a row that ended before their first trial.
        ended_here: The ended trials of this call of the command, in the order of their ends.
        workers: How many workers there may be.
        reasons: Why workers ended, the latest last.

    Raises:
        GaveUp: There were too many.
    """
    # All workers twice, or a machine that went away.
    if crashes >= max(MOST_CRASHES_IN_A_ROW, 2 * workers):
        latest_reason = reasons[-1] if reasons else "no reason given"
        raise GaveUp(f"{crashes} workers in a row ended before their first trial, at last because: {latest_reason}")

    latest = ended_here[-MOST_FAILURES_IN_A_ROW:]
    all_failed = len(latest) == MOST_FAILURES_IN_A_ROW and all(trial.state == TrialState.FAIL for trial in latest)
    # A sampler may propose diverging rates for long, as random draws do in a narrow space: nothing is broken then.
    if all_failed and not all(has_diverged(trial) for trial in latest):
        reason = TrialAttributes.of(latest[-1]).reason
        raise GaveUp(f"the last {len(latest)} trials failed, at last because: {reason}")
