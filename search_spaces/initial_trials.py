"""A trial that a study enqueues before it runs, with the parameters that are fixed in it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study


@dataclass(frozen=True)
class InitialTrial:
    """A trial as a study enqueues it; without parameters and attributes, a trial that is left to the sampler.

    Attributes:
        params: The parameters that the sampler has no say in, by their names in the search space.
        user_attrs: What a slot gives to its trials, see `study.trial_attributes.SLOT_ATTRIBUTES`.
    """

    params: dict[str, Any] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def prior(self) -> str:
        """Where the user's own initial trial comes from; empty for one of the search space."""
        return self.user_attrs.get("prior") or ""

    def enqueue(self, study: "Study", slot: int, fold: int = 0) -> None:
        """Enqueues the trial for a slot, to be validated on a fold; a trial that says none is on the first."""
        place = {"slot": slot, "fold": fold} if fold else {"slot": slot}
        study.enqueue_trial(self.params, user_attrs=self.user_attrs | place)
