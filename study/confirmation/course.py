"""How far a confirmation is: trainings done of all, and the time left by what they cost."""

from collections.abc import Sequence

from study.confirmation.jobs import Confirmation, Training
from study.execution.phase import Phase

LEAST_SHARE = 0.03
"""Of the whole cost that must be done before the time left is said."""


class ConfirmationCourse:
    """Counts the trainings of a confirmation into the phase that the user sees.

    Trainings cost as much as the samples that they draw: those of a higher rung take many times those of a lower one.

    Args:
        phase: Is changed as trainings end.
        confirmation: Has the jobs.
        trainings: What there is to do.
    """

    def __init__(self, phase: Phase, confirmation: Confirmation, trainings: Sequence[Training]) -> None:
        self.phase = phase
        self.confirmation = confirmation
        self.trainings = list(trainings)
        self.ended: list[Training] = []
        phase.total = len(self.trainings)
        self._show()

    def note(self, training: Training) -> None:
        """Counts a training that has ended.

        Args:
            training: The number of its job, and its seed.
        """
        self.ended.append(training)
        self._show()

    def cost_of(self, trainings: Sequence[Training]) -> float:
        """Returns what trainings cost, in passes over the target; each has a start that costs as well."""
        jobs = self.confirmation.jobs
        return sum(1.0 + jobs[index].adaptation.epochs for index, _ in trainings)

    def _show(self) -> None:
        """Writes into the phase what is done and how long the rest takes."""
        phase = self.phase
        phase.done = len(self.ended)
        phase.counted = f"{len(self.ended)}/{len(self.trainings)} trainings"
        if self.ended:
            index, seed = self.ended[-1]
            phase.facts = [("last", f"{self.confirmation.jobs[index].name}, seed {seed + 1}")]

        whole = self.cost_of(self.trainings)
        done = self.cost_of(self.ended)
        is_enough = bool(whole) and done > LEAST_SHARE * whole
        phase.expect(phase.elapsed * (whole - done) / done if is_enough else None)
