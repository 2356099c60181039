"""How every command begins and ends: its standard streams, its errors as one line, its exit code.

The package calls `renew_streams` before a command's module is read. `run_command` is what every `main` goes through.
"""

import gc
import io
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TextIO

from fer.errors import InputError, printable, shorten
from study.command_lines import break_command
from study.exit_code import ExitCode
from study.interrupts import Interruptions, ignore_interrupts
from study.machine import is_disk_full
from study.program import DISTRIBUTION, is_console_script
from study.redaction import hide_secrets, one_line

ERROR = "error: "
"""How the line of an error begins."""

LONGEST_ERROR = 2000
"""Characters of an error's line, beyond which its middle is left out."""


Work = Callable[[list[str] | None], int]
"""What a command does with the words of its command line, None for the process's own; returns its exit code."""


class OutputLost(OSError):
    """Standard output cannot be written: its reader has gone (EPIPE), or the disk behind it is full."""


class _Output(io.TextIOWrapper):
    """Standard output, whose errors are `OutputLost`, which those of files and connections are not."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputLost(error.errno, error.strerror) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputLost(error.errno, error.strerror) from None


class _Messages(io.TextIOWrapper):
    """Standard error, whose own errors end nothing: there is nowhere to print them."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            return


# Beginning.


def renew_streams() -> None:
    """Makes this process's standard streams fit for a command, once."""
    _open_missing_streams()
    sys.stdout = _rewrap(sys.stdout, _Output)
    sys.stderr = _rewrap(sys.stderr, _Messages)


def _open_missing_streams() -> None:
    """Opens the null device in the place of closed standard streams, which the next file opened would become."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _rewrap(stream: TextIO, kind: type[io.TextIOWrapper]) -> TextIO:
    """Wraps the bytes of a standard stream in another class, which escapes what the encoding has no character for.

    A stream that is not Python's own is returned as it is, as is None, which stands for a closed one.

    Args:
        stream: The stream, of no use afterwards.
        kind: The class.
    """
    if type(stream) is not io.TextIOWrapper:
        return stream
    # Read before the stream is detached: then it has no settings any more.
    settings: dict[str, Any] = {
        "encoding": stream.encoding,
        "line_buffering": stream.line_buffering,
        "write_through": stream.write_through,
    }
    return kind(stream.detach(), errors="backslashreplace", **settings)


# Working and ending.


def run_command(
    work: Work,
    arguments: list[str] | None,
    resume: str = "",
    interrupted: str = "interrupted",
) -> int:
    """Does a command's work and prints, as one line, what prevented it.

    Args:
        work: The work: parses the arguments, does what they say, returns the exit code.
        arguments: Words of the command line; None are the process's own.
        resume: Module of the command, where the same command resumes what was interrupted or failed; else empty.
        interrupted: Line that is printed after Ctrl-C where nothing resumes.

    Returns:
        The exit code.
    """
    Interruptions.raises = True
    try:
        return _work_guarded(work, arguments, resume, interrupted)
    finally:
        Interruptions.raises = False


def _work_guarded(work: Work, arguments: list[str] | None, resume: str, interrupted: str) -> int:
    """Does a command's work; every error becomes one line and an exit code."""
    try:
        _check_current_folder()
        try:
            return work(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except InputError as error:
        tell_error(str(error))
        return ExitCode.WRONG_USE
    except OutputLost as error:
        return _end_without_output(error)
    except KeyboardInterrupt:
        return _end_interrupted(arguments, resume, interrupted)
    except Exception as error:
        # A library may turn the Ctrl-C that came while it was imported into an error of its own.
        if Interruptions.count:
            return _end_interrupted(arguments, resume, interrupted)
        if sys.flags.dev_mode:  # python -X dev
            raise
        _tell_failure(error, arguments, resume)
        return ExitCode.FAILED


def _check_current_folder() -> None:
    """Raises InputError where the current folder was deleted."""
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            "a command starts in a folder that exists", str(error.strerror), "Change into another folder."
        ) from None


def _end_without_output(error: OutputLost) -> int:
    """Ends quietly where the reader of standard output has gone, as `head` goes; says so where a disk is full."""
    if isinstance(sys.stdout, _Output):
        # What the stream still holds goes nowhere, so that closing it is no error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # OSError's constructor chooses the subclass by the number.
    cause = OSError(error.errno, error.strerror)
    if not isinstance(cause, BrokenPipeError):
        tell_error(f"standard output cannot be written ({error.strerror})")
    return ExitCode.FAILED


def _end_interrupted(arguments: list[str] | None, resume: str, interrupted: str) -> int:
    """Prints that Ctrl-C ended the command and, where there is one, the command that resumes it."""
    if resume:
        tell("\ninterrupted; the same command goes on from here:")
        tell_command(same_command(resume, arguments))
    else:
        tell(interrupted)
    return ExitCode.INTERRUPTED


def _tell_failure(error: Exception, arguments: list[str] | None, resume: str) -> None:
    """Prints what could not be done and, where there is one, the command that resumes it."""
    reason = describe_failure(error)
    if not resume:
        tell_error(reason)
        return
    tell_error(f"{reason}. Mended, it goes on with:")
    tell_command(same_command(resume, arguments))


def describe_failure(error: Exception) -> str:
    """Returns what prevented a command's work, on one line; for an unexpected error also the line that raised it."""
    message = one_line(error)
    if is_disk_full(error):
        return message if "no space left" in message.lower() else f"No space left on device ({message})"
    if isinstance(error, OSError | RuntimeError | MemoryError):
        return message
    return f"unexpected {type(error).__name__}: {message} ({place_of(error)}; all of it with python -X dev)"


def place_of(error: BaseException) -> str:
    """Returns file and line that raised an error."""
    trace = error.__traceback__
    if trace is None:
        return "unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def tell_error(text: str) -> None:
    """Prints an error as one line on standard error, without secrets and without anything that a terminal obeys."""
    tell(ERROR + shorten(printable(hide_secrets(text)), LONGEST_ERROR))


def tell(text: str) -> None:
    """Prints on standard error, if there is one."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def tell_command(line: str) -> None:
    """Prints a command on standard error so that it can be copied; a terminal gets no line that is too long for it."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else sys.maxsize
    for part in break_command(f"  {line}", width):
        tell(part)


def same_command(module: str, arguments: list[str] | None) -> str:
    """Returns the line that calls a command again, without passwords."""
    return command_line(module, sys.argv[1:] if arguments is None else arguments)


def command_line(module: str, words: list[str]) -> str:
    """Returns the line that calls one of the commands from this folder, as the user called one, without passwords."""
    hidden = [printable(word) for word in hide_secrets(words)]
    if is_console_script():
        return shlex.join([DISTRIBUTION, module.removeprefix("study."), *hidden])
    return shlex.join([python(), "-m", module, *hidden])


def python() -> str:
    """Returns how to call this Python from this folder."""
    try:
        return str(Path(sys.executable).relative_to(Path.cwd()))
    except (OSError, ValueError):  # the folder is gone, or Python is elsewhere
        return "python"


def leave(code: int) -> NoReturn:
    """Ends the process without a last garbage collection, which takes up to a second where much was imported.

    The exit code is settled, so Ctrl-C means nothing any more: while Python ends, it would make a killed process of it.
    """
    ignore_interrupts()
    gc.freeze()
    sys.exit(code)
