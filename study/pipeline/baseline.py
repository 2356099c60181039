"""Finds the baseline of a study by its hash, or trains it, in a process of its own that has torch."""

import json
import subprocess
import sys
import tempfile
import time
from typing import IO

from fer.errors import InputError
from study.execution.progress import Progress
from study.machine import exit_text, worker_environment
from study.record import BaselineRecord, StudyRecord


def find_or_train_baseline(record: StudyRecord, progress: Progress) -> BaselineRecord:
    """Returns what the study's record keeps of the baseline, found by its hash or trained now.

    Args:
        record: Of the study: its options and datasets.
        progress: Prints the epochs of a training.

    Raises:
        InputError: The baseline that the user gave cannot be used, or the data is not the study's.
        RuntimeError: It could not be trained.
    """
    progress.say("baseline: looking for it by its hash, else training it once for all studies")
    with _start_baseline_process(record) as process:
        assert process.stdout is not None
        try:
            baseline = _read_baseline(process.stdout, progress)
        except BaseException:
            process.terminate()
            raise
    if baseline is None:
        raise RuntimeError(f"the baseline's process {exit_text(process.returncode)}")
    return baseline


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


def _read_baseline(lines: IO[bytes], progress: Progress) -> BaselineRecord | None:
    """Shows the epochs that the baseline's process reports; returns its baseline, None where it ended without one."""
    started = time.monotonic()
    for line in lines:
        if not line.startswith(b"{"):  # of a library
            continue
        message = json.loads(line)
        if "baseline" in message:
            return BaselineRecord.from_json(message["baseline"])
        if "error" in message:
            raise InputError(*message["error"])
        if "stuck" in message:
            raise RuntimeError(f"the baseline cannot be had: {message['stuck']}")
        if "epoch" in message:
            seconds = time.monotonic() - started
            progress.say(
                f"  baseline epoch {message['epoch']}/{message['of']}: loss {message['loss']:.3f}, {seconds:.0f} s"
            )
    return None
