"""Settles how many workers a study has, of how many threads each, and tells what it works with."""

from dataclasses import replace

from study.execution.autotune import candidates, find_or_measure
from study.execution.phase import Phase
from study.execution.progress import Progress
from study.inputs import feature_room_of
from study.machine import cores, usual_workers
from study.options import cache_folder
from study.pipeline.running_study import RunningStudy
from study.presets import budget_factor
from study.record import DOMAINS, StudyRecord
from study.redaction import hide_secrets
from study.reporting.wording import count_of, dataset_label, format_percent
from study.tuning.plan import SearchPlan


def settle_workers(running: RunningStudy) -> RunningStudy:
    """Returns the study with a number of workers in place of "auto", and of threads of each.

    A GPU has four workers at most, which share it. On a CPU both numbers are measured, once for a machine, and the
    study's record keeps the measurement.
    """
    options = running.options

    # The cluster or the user says.
    if options.ray:
        return running
    if options.workers != "auto":
        return _with_workers(running, int(options.workers))

    # No measurement. With `tiny` it would take longer than the study.
    device = running.record.baseline.device
    only_one_choice = len(candidates(cores())) == 1
    if device != "cpu" or options.preset == "tiny" or only_one_choice:
        return _with_workers(running, usual_workers(device))

    # Measurement.
    phase = Phase("calibration", counted="measuring how many workers, of how many threads, train most on this machine")
    with running.progress.phase(phase):
        measured = find_or_measure(
            cache_folder(options.out), running.record.architecture, running.record.baseline.precision
        )
    record = replace(running.record, more=running.record.more | {"calibration": measured})
    running.study.set_user_attr("study", record.to_json())
    if any(measured["images_per_second"].values()):
        show_calibration(measured["images_per_second"], running.progress)
    return _with_workers(replace(running, record=record, threads=measured["threads"]), measured["workers"])


def _with_workers(running: RunningStudy, workers: int) -> RunningStudy:
    """Returns the study with a number of workers, one at least, and no more than it has trials."""
    workers = max(1, min(workers, running.options.wanted))
    return replace(running, options=replace(running.options, workers=str(workers)))


def show_calibration(rates: dict[str, float], progress: Progress) -> None:
    """Prints how fast each number of workers and threads trained.

    Args:
        rates: Images per second by "WORKERSxTHREADS".
        progress: Prints it.
    """
    parts = []
    for pair, rate in rates.items():
        workers, threads = pair.split("x")
        parts.append(f"{describe_workers(workers, int(threads))}: {rate:.0f}")
    progress.say(f"  calibration, images per second of training: {'; '.join(parts)}")


def describe_workers(workers: str, threads: int) -> str:
    """Returns how many workers there are, of how many threads: "2 workers, 1 thread each"."""
    each = " each" if workers != "1" else ""
    return f"{count_of(int(workers), 'worker')}, {count_of(threads, 'thread')}{each}"


def _describe_folds(record: StudyRecord) -> str:
    """Returns on which of the target's folds a trial is trained, with a comma before; nothing where there is one."""
    plan = SearchPlan.of(record)
    if plan.folds == 1:
        return ""
    return f", each trial in {'all' if plan.every_fold else 'one of'} {plan.folds} folds"


def describe_network(record: StudyRecord) -> str:
    """Returns name and number of blocks of a network with a comma behind; nothing of the paper's."""
    architecture = record.architecture
    if architecture.is_paper:
        return ""
    return f"{architecture.name}, {len(architecture.blocks)} blocks, "


def show_study(running: RunningStudy) -> None:
    """Prints what the study works with: network, baseline, budget, places."""
    record = running.record
    options = running.options
    baseline = record.baseline
    say = running.progress.say

    # The network and its baseline.
    parameters = baseline.parameters or 0
    say(
        f"  network: {describe_network(record)}{parameters / 1e6:.2f} M parameters (preset {options.preset}), "
        f"{baseline.device} {baseline.precision}"
    )

    source_accuracy, target_accuracy = (format_percent(value) for value in baseline.accuracies or (None, None))
    source_label, target_label = (dataset_label(record, domain) for domain in DOMAINS)
    seconds = f", trained in {baseline.seconds:.0f} s" if baseline.seconds else ""
    say(
        f"  baseline: validation accuracy {source_accuracy} % on {source_label}, "
        f"{target_accuracy} % on {target_label}{seconds}"
    )

    room = feature_room_of(record) / 2**30
    say(f"  features of frozen blocks: kept for all trials, {room:.3g} GiB at most")

    # The budget and the places.
    folds = _describe_folds(record)
    passes = record.budget_epochs or float("nan")
    budgets = [f"{passes * budget_factor(rung):g}" for rung in range(1, options.rung_count + 1)]
    noun = "pass" if budgets == ["1"] else "passes"
    whose = "of every trial" if len(budgets) == 1 else "by rung"
    say(f"  budget {whose}: {', '.join(budgets)} {noun} over {target_label}'s training images{folds}")

    storage = hide_secrets(options.storage) if options.storage else running.folder / "journal.log"
    workers = describe_workers(options.workers, running.threads)
    say(f"  storage: {storage}; {workers}; study: {record.name}")
