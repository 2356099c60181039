"""Finds the baseline of a study by its hash, or trains it, in a process of its own that has torch."""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from fer.errors import printable
from study.execution.parent_messages import messages_in, raise_told_error
from study.execution.phase import LEAST_SECONDS, Phase, clock, describe_estimate
from study.execution.progress import Progress
from study.machine import exit_text, worker_environment
from study.record import BaselineRecord, StudyRecord
from study.reporting.wording import count_of, format_percent, format_points

LOOKING = "looking for it, else training it once for all studies"
"""What is shown before a training has begun."""

MOST_GUESSED = 2
"""How many times the accuracy of guessing still looks like guessing."""


def find_or_train_baseline(record: StudyRecord, progress: Progress) -> BaselineRecord:
    """Returns what the study's record keeps of the baseline, found by its hash or trained now.

    Args:
        record: Of the study: its options and datasets.
        progress: Prints the passes of a training.

    Raises:
        InputError: The baseline that the user gave cannot be used, or the data is not the study's.
        RuntimeError: It could not be trained.
    """
    phase = Phase("baseline", counted=LOOKING, after_interrupt="the baseline's training stops and would begin anew")
    minutes = record.options.get("baseline_time")
    limit = float(minutes) if isinstance(minutes, int | float) else math.inf
    with progress.phase(phase), _start_baseline_process(record) as process:
        assert process.stdout is not None
        try:
            images = record.source.count_images("train")
            baseline = _read_baseline(process.stdout, progress, phase, limit, images)
        except BaseException:
            process.terminate()
            raise
    if baseline is None:
        raise RuntimeError(f"the baseline's process {exit_text(process.returncode)}")
    _show_own_weights(record, baseline, progress)
    ending = _describe_ending(baseline.more)
    if ending is not None:
        progress.say(ending)
    return baseline


def _show_own_weights(record: StudyRecord, baseline: BaselineRecord, progress: Progress) -> None:
    """Prints what the user's own network reaches on the source, and warns where it hardly does better than guessing."""
    accuracy = baseline.source_val
    if record.weights.kind != "baseline" or accuracy is None:
        return
    name = printable(record.weights.name)
    measured = f"{format_percent(accuracy)} % of the source's validation images"
    progress.say(f"  baseline: {name} is right on {measured}, measured here")
    if accuracy < MOST_GUESSED * record.expressions.chance:
        progress.warn(
            f"{name} is right on {measured}, hardly more than guessing: was it trained with another "
            "order of expressions (--classes), scaling, size or colour of images?"
        )


def _start_baseline_process(record: StudyRecord) -> "subprocess.Popen[bytes]":
    """Starts the process that imports torch and has the environment for training."""
    with tempfile.TemporaryFile() as file:
        # By a file, because a record may be longer than a command line takes.
        file.write(json.dumps(record.to_json()).encode())
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, "-m", "study.execution.baseline_process"],
            stdin=file,
            stdout=subprocess.PIPE,
            env=worker_environment(),
            start_new_session=True,
        )


def _read_baseline(
    lines: IO[bytes], progress: Progress, phase: Phase, limit: float, images: int
) -> BaselineRecord | None:
    """Shows the passes that the baseline's process reports; returns its baseline, None where it ended without one.

    Args:
        lines: What the process prints.
        progress: Prints a line for each pass where there is no display.
        phase: Of the display.
        limit: Minutes that the training may take; infinite where that is not known.
        images: Of a pass.
    """
    accuracies: list[float] = []
    first: tuple[float, int] | None = None
    evaluated_since: float | None = None
    for message in messages_in(lines):
        raise_told_error(message, "the baseline")
        if "baseline" in message:
            return BaselineRecord.from_json(message["baseline"])
        if "samples" in message:
            done, most = message["samples"]
            first = first or (time.monotonic(), done)
            _show_samples(done, most, first, len(accuracies) + 1, phase)
            spent = time.monotonic() - first[0]
            drawn = done - first[1]
            of_pass = spent * images / drawn if drawn else None
            _limit_time(spent, of_pass, limit, phase)
            if not accuracies:
                phase.facts = _describe_first_pass(spent, of_pass, limit)
            progress.tell_state()
        if "evaluated" in message:
            done, total = message["evaluated"]
            evaluated_since = evaluated_since or time.monotonic()
            _show_evaluated(done, total, evaluated_since, phase)
            progress.tell_state()
        if "pass" in message:
            accuracies.append(message["pass"]["accuracy"])
            _show_pass(message["pass"], accuracies, phase, limit)
            if not progress.is_live:
                progress.say(_describe_pass(message["pass"]))
    return None


def _show_samples(done: int, most: int, first: tuple[float, int], number: int, phase: Phase) -> None:
    """Shows how far the training is between the ends of its passes.

    Args:
        done: Samples that were drawn.
        most: How many are drawn at most.
        first: When the first message came, on the monotonic clock, and how many were drawn then.
        number: Of the pass, from 1.
        phase: Of the training.
    """
    began, drawn_before = first
    phase.counted = f"pass {number}, {done:,} of at most {most:,} images"
    phase.done = done
    phase.total = most
    phase.expect_by_share(done - drawn_before, most - drawn_before, began, is_most=True)


def _limit_time(spent: float, of_pass: float | None, limit: float, phase: Phase) -> None:
    """Lets the time that is said to be left end with the limit: after it no pass begins, but for the first.

    Args:
        spent: Seconds of the training so far.
        of_pass: Seconds that a pass takes; None while no image was drawn.
        limit: Minutes that the training may take.
        phase: Of the training.
    """
    if phase.left is None or of_pass is None:
        return
    phase.expect(min(phase.left, max(0.0, max(60 * limit, of_pass) - spent)), is_most=True)


def _describe_limit(limit: float) -> str:
    """Returns the most time that a training may take, given its minutes; empty where it may take any."""
    return f"at most {limit:g} min (--baseline-time, which ends no pass midway)" if math.isfinite(limit) else ""


def _describe_first_pass(spent: float, of_pass: float | None, limit: float) -> list[tuple[str, str]]:
    """Returns how long the first pass takes, and what ends the training.

    Args:
        spent: Seconds of the training so far.
        of_pass: Seconds that a pass takes; None while no image was drawn.
        limit: Minutes that the training may take.
    """
    facts = []
    if of_pass is not None and spent >= LEAST_SECONDS:
        facts.append(("a pass", f"takes {describe_estimate(of_pass)}"))
    if math.isfinite(limit):
        facts.append(("ends", f"after {_describe_limit(limit)}"))
    return facts


def _show_evaluated(done: int, total: int, since: float, phase: Phase) -> None:
    """Shows on how many images the baseline was evaluated.

    Args:
        done: Images that were answered; an image counts for each network that answers.
        total: All of them.
        since: When the evaluation began, on the monotonic clock.
        phase: Of the baseline.
    """
    phase.counted = f"evaluating it, {done:,}/{total:,} answers"
    phase.done = done
    phase.total = total
    phase.expect(None)
    phase.expect_by_share(done, total, since)


def _show_pass(report: Mapping[str, Any], accuracies: Sequence[float], phase: Phase, limit: float) -> None:
    """Shows a pass of the training in its phase.

    Args:
        report: The entries of `fer.baseline_training.PassReport`.
        accuracies: On validation images after each pass so far.
        phase: Of the training.
        limit: Minutes that it may take.
    """
    phase.counted = f"{report['number']}/{count_of(report['most'], 'pass', 'passes')} at most"
    phase.done = report["number"]
    phase.total = report["most"]
    phase.expect(report["seconds_left"], is_most=True)

    accuracy = f"{format_percent(accuracies[-1])} %"
    if len(accuracies) > 1:
        accuracy += f", {format_points(accuracies[-1] - accuracies[-2])} points by the last pass"
    ends = "when validation accuracy grows no more"
    phase.facts = [
        ("validation", accuracy),
        ("loss", f"{report['loss']:.3f}"),
        ("ends", f"{ends}, after {_describe_limit(limit)}" if math.isfinite(limit) else ends),
    ]


def _describe_pass(report: Mapping[str, Any]) -> str:
    """Returns the line about a pass of the training, given the entries of `fer.baseline_training.PassReport`."""
    accuracy = format_percent(report["accuracy"])
    line = (
        f"  baseline pass {report['number']} of at most {report['most']}: validation {accuracy} %, "
        f"loss {report['loss']:.3f} · {clock(report['seconds'])} so far"
    )
    if report["seconds_left"]:
        line += f", {clock(report['seconds_left'])} left at most"
    return line


def _describe_ending(training: Mapping[str, Any]) -> str | None:
    """Returns the line about why a baseline's training ended; None for a network that was trained elsewhere.

    Args:
        training: What `study.execution.study_baseline` says of it.
    """
    ended_by = training.get("ended_by")
    if ended_by is None:
        return None
    passes = count_of(training["epochs"], "pass", "passes")
    gain = training["last_gain"]
    reason = {
        "plateau": "its accuracy on validation images grew no more",
        "passes": "these are the most, see --baseline-epochs",
        "time": "its time was used; the result depends on the machine, and --baseline-time MINUTES gives it more",
    }[ended_by]
    last = "" if gain is None else f", the last of which gained {format_points(gain)} points"
    return f"  baseline: {passes}{last}; ended because {reason}"
