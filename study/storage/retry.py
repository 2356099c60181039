"""Waiting for a storage whose server is away: by repeating each call, for a bounded time."""

import functools
import random
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from study.redaction import one_line

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

SECONDS_TO_RETRY = 120.0
"""Seconds for which a call is repeated."""

# Errors by name, since the drivers that raise them may not be installed.

PASSING = frozenset({"OperationalError", "InterfaceError", "_InactiveRpcError", "AioRpcError"})
"""Errors that may pass: of SQLAlchemy, where a server is away, restarts or has no connection to spare, where there is a
deadlock or a locked file; of gRPC."""
PASSING_CODES = frozenset(
    {"UNAVAILABLE", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}
)
"""The codes of gRPC for a server that is away or cannot answer now; the other codes are answers."""
REFUSALS = frozenset({"ProgrammingError", "NotSupportedError", "DataError", "DatabaseError", "InternalError"})
"""Answers of databases that are no fault of the call: the user may only read, a table differs from how it was made, a
value is too long for its column."""


class StorageLost(ConnectionError):
    """The storage has not answered for SECONDS_TO_RETRY, or its file is gone."""


class StorageRefused(OSError):
    """The storage answers that it does not do this: its user may only read, or its tables are others."""


class RetryingStorage:
    """A storage whose calls are repeated, with growing pauses, while its server is away.

    A call may have been done although its answer was lost, and is then done twice. That is harmless here: a second
    enqueued trial of a slot yields to the first, a claim that was not heard of runs out like any lease, and an end
    that is told twice raises UpdateFinishedTrialError, as one that came too late does.

    Args:
        storage: The storage.
        url: How errors name it, without secrets.
        patience: Seconds for which a call is repeated.
    """

    def __init__(self, storage: object, url: str, patience: float = SECONDS_TO_RETRY) -> None:
        self._storage = storage
        self._url = url
        self._patience = patience
        self._away_since: float | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  as the storage's own members are
        member = getattr(self._storage, name)
        return functools.partial(self._repeat, member) if callable(member) else member

    def _repeat(self, call: Callable[Arguments, Answer], *args: Arguments.args, **options: Arguments.kwargs) -> Answer:
        """Calls the storage, again and again while its server is away, and returns the answer.

        Raises:
            StorageRefused: The storage answers that it does not do what the call asks.
            StorageLost: The server has been away for too long.
            Exception: Any other error of the call.
        """
        pause = 0.25  # seconds
        while True:
            try:
                answer = call(*args, **options)
                self._away_since = None
                return answer
            except Exception as error:
                # An error that a later call would get as well.
                may_pass = _may_pass(error)
                if not may_pass and _is_refusal(error):
                    raise StorageRefused(f"{self._url} refuses this ({first_line(error)})") from None
                if not may_pass:
                    raise

                # The server is away.
                self._check_patience(error)

            # Twice as long each time, and at random, so that workers do not all come back at once.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, 10.0)

    def _check_patience(self, error: Exception) -> None:
        """Notes that the server is away; raises StorageLost where it has been so for too long.

        Args:
            error: What the last call raised.
        """
        now = time.monotonic()
        self._away_since = self._away_since or now
        seconds = now - self._away_since
        if seconds >= self._patience:
            raise StorageLost(f"{self._url} has not answered for {seconds:.0f} s ({first_line(error)})") from None


def _may_pass(error: BaseException | None) -> bool:
    """Returns whether an error, or one that led to it, is of the kind that ends when a server is back."""
    while error is not None:
        if isinstance(error, ConnectionError):
            return True
        if type(error).__name__ in PASSING:
            code = getattr(error, "code", None)
            return not callable(code) or code().name in PASSING_CODES
        error = error.__cause__ or error.__context__
    return False


def _is_refusal(error: BaseException | None) -> bool:
    """Returns whether an error is a database's own, which its driver or SQLAlchemy raised, however it is wrapped."""
    while error is not None:
        if type(error).__name__ in REFUSALS:
            return True
        error = error.__cause__ or error.__context__
    return False


def first_line(error: BaseException) -> str:
    """Returns what an error says, of its first cause, on one line and without secrets."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error, 200)
