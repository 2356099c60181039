"""What tests put in a function's place to see how it is called."""

from collections.abc import Callable
from functools import partial
from typing import Any


class Recorder:
    """Stands in a function's place, notes how it is called, and answers as the function would.

    Args:
        function: What answers; without one, every call gets None.

    Attributes:
        calls: The positional arguments of each call so far, without `self` where it stands in a method's place.
    """

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self.function = function
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls.append(args)
        return self.function(*args, **options) if self.function else None

    def __get__(self, instance: object, owner: type) -> Any:
        """Binds to the instance whose method is called."""
        return self if instance is None else partial(self._call_bound, instance)

    def _call_bound(self, instance: object, *args: Any, **options: Any) -> Any:
        self.calls.append(args)
        return self.function(instance, *args, **options) if self.function else None

    @property
    def count(self) -> int:
        return len(self.calls)


def raising(error: BaseException) -> Callable[..., Any]:
    """Returns a function that raises an error, whatever it is given."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
