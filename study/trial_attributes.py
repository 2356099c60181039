"""What this program writes into a trial beside its parameters and objectives: each user attribute, and what it means.

A storage holds these attributes under the names below, so a name never changes. `study.reading` says which values of an
attribute can be relied on.
"""

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar, overload

Value = TypeVar("Value")


class _HasAttributes(Protocol):
    """A trial as it was read, or one that runs."""

    @property
    def user_attrs(self) -> dict[str, Any]: ...


class _TakesAttributes(Protocol):
    """A trial that runs."""

    def set_user_attr(self, key: str, value: object) -> None: ...


class _Attribute(Generic[Value]):
    """An attribute under its own name; None where a trial does not have it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, attributes: None, owner: type) -> "_Attribute[Value]": ...

    @overload
    def __get__(self, attributes: "TrialAttributes", owner: type) -> Value | None: ...

    def __get__(self, attributes: "TrialAttributes | None", owner: type) -> "_Attribute[Value] | Value | None":
        if attributes is None:
            return self
        return attributes.stored.get(self.name)


class TrialAttributes:
    """The user attributes of a trial, which are read from the trial only when they are asked for.

    Each attribute is None where the trial does not have it. Two more attributes, whose names end with a share of the
    budget, hold what a trial reached at a rung (`study.tuning.early_stopping`).

    Args:
        stored: The attributes by their stored names.
    """

    # What a slot gives to each of its trials.

    slot = _Attribute[int]()
    """The number of the trial's slot (`study.storage.slots`)."""

    named = _Attribute[str]()
    """The named method that the trial is; the sampler has no say in it."""

    keep = _Attribute[bool]()
    """Whether the trial goes on to its end, whatever it reaches at a rung."""

    replicate = _Attribute[int]()
    """How many trials of the same configuration came before; each trains with another seed."""

    rung = _Attribute[int]()
    """The rung whose budget the trial has, from 1 (`study.tuning.promotion`); trials of older studies have none."""

    promoted_from = _Attribute[int]()
    """The number of the trial with the same configuration on the rung below."""

    fold = _Attribute[int]()
    """The fold of the target that the trial validates on, from 0; -1 where none is held out, -2 where the trial is
    trained on each of them. Older trials have none."""

    repeat = _Attribute[int]()
    """How many trainings of its configuration came before on the same rung and fold; each trains with another seed."""

    race = _Attribute[dict[str, Any]]()
    """Of a trial that the race asked for: what was known when it was asked for (`study.tuning.race_course`)."""

    handed_over = _Attribute[list[list[float]]]()
    """Of a trial that makes networks to hand over: alpha and slope of each."""

    recipe_of = _Attribute[int]()
    """Of such a trial: the number of the trial by which its recipe is called."""

    parts = _Attribute[list[int]]()
    """Of such a trial: the numbers of the trials whose networks it averages."""

    prior = _Attribute[str]()
    """Where an initial trial of the user comes from: its --try, or a trial of an earlier study."""

    # What becomes of the trial before it ends.

    worker = _Attribute[dict[str, Any]]()
    """The process that claimed the trial (`study.storage.leases.identity_of_process`)."""

    beat = _Attribute[int]()
    """A number that the trial's worker raises as long as it lives."""

    lost = _Attribute[str]()
    """Why the trial counts for nothing: it was replaced by a copy, or withdrawn."""

    copy_of = _Attribute[int]()
    """The number of the lost trial that this one replaces."""

    # What the trial trains.

    strategy = _Attribute[str]()
    """The name of its strategy or method."""

    config = _Attribute[dict[str, Any]]()
    """Its hyperparameters, flat (`fer.config.to_flat`)."""

    seed = _Attribute[int]()
    """The seed of its training."""

    key = _Attribute[str]()
    """Seed and fingerprint of its hyperparameters: trials of one key have one result."""

    # What came of it.

    curve = _Attribute[list[dict[str, float]]]()
    """A row per epoch with its loss, and at rungs both objectives."""

    measures = _Attribute[dict[str, float]]()
    """Its metrics on the validation images, those of its interpolated networks under "source_val/0.50"."""

    confusion = _Attribute[dict[str, list[list[int]]]]()
    """The confusion matrix of each domain."""

    answers = _Attribute[dict[str, dict[str, str]]]()
    """By interpolation point and domain, the images on which its network is right (`study.tuning.stored_answers`)."""

    seconds = _Attribute[float]()
    """How long it took."""

    reason = _Attribute[str]()
    """Why it failed or stopped."""

    twin_of = _Attribute[int]()
    """The number of the trial of the same key that its result was copied from."""

    def __init__(self, stored: Mapping[str, Any]) -> None:
        self.stored = stored

    @classmethod
    def of(cls, trial: _HasAttributes) -> "TrialAttributes":
        """Returns the attributes of a trial."""
        return cls(trial.user_attrs)

    def subset(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns those of some attributes that the trial has, by their stored names."""
        return {name: self.stored[name] for name in names if name in self.stored}


NAMES = frozenset(name for name, value in vars(TrialAttributes).items() if isinstance(value, _Attribute))
"""The stored names of all attributes."""

SLOT_ATTRIBUTES = (
    "slot", "named", "keep", "replicate", "rung", "promoted_from", "fold", "repeat", "race", "handed_over", "recipe_of",
    "parts", "prior",
)  # fmt: skip
"""What a slot gives to each of its trials; all else is what became of one of them."""


def write_attributes(trial: _TakesAttributes, **values: object) -> None:
    """Writes attributes of a running trial, each by a call of its own; what is None is left out.

    Raises:
        AttributeError: A name is none of `TrialAttributes`.
    """
    unknown = values.keys() - NAMES
    if unknown:
        raise AttributeError(f"no attributes of a trial: {', '.join(sorted(unknown))}")
    for name, value in values.items():
        if value is not None:
            trial.set_user_attr(name, value)
