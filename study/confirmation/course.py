"""How far a confirmation is: trainings done of all, those that run, and the time left by how long others took."""

import time
from collections.abc import Sequence

from study.confirmation.jobs import Confirmation, Training
from study.execution.phase import Phase

LEAST_SHARE = 0.03
"""Of the whole cost that must be done before the time left is said."""
MOST_SHOWN = 4
"""Running trainings that are named; of more, their number."""


def share_out(trainings: Sequence[Training], workers: int) -> list[tuple[Training, ...]]:
    """Returns the trainings of each process, in the order in which it does them."""
    return [tuple(trainings[number::workers]) for number in range(workers)]


class ConfirmationCourse:
    """Counts the trainings of a confirmation into the phase that the user sees.

    A training takes a time of its own and a time for each pass over the target: those of a higher rung take many times
    those of a lower one.

    Args:
        phase: Is changed as trainings begin and end.
        confirmation: Has the jobs.
        trainings: What there is to do.
        workers: In how many processes.
    """

    def __init__(
        self, phase: Phase, confirmation: Confirmation, trainings: Sequence[Training], workers: int = 1
    ) -> None:
        self.phase = phase
        self.confirmation = confirmation
        self.trainings = list(trainings)
        self.parts = share_out(trainings, workers)
        self.began: dict[Training, float] = {}
        self.seconds: dict[Training, float] = {}
        phase.total = len(self.trainings)
        self._show()

    def begin(self, training: Training) -> None:
        """Notes that a training begins.

        Args:
            training: The number of its job, and its seed.
        """
        self.began[training] = time.monotonic()
        self._show()

    def end(self, training: Training, seconds: float) -> None:
        """Counts a training that has ended.

        Args:
            training: The number of its job, and its seed.
            seconds: How long it took, without the time in which its process waited for others.
        """
        self.seconds[training] = seconds
        self._show()

    def cost_of(self, trainings: Sequence[Training]) -> float:
        """Returns what trainings cost, in passes over the target; each has a start that costs as well."""
        return sum(1.0 + self._passes_of(training) for training in trainings)

    def _show(self) -> None:
        """Writes into the phase what is done, what runs, and how long the rest takes."""
        ended = list(self.seconds)
        running = [training for training in self.began if training not in self.seconds]

        self.phase.done = len(ended)
        self.phase.counted = f"{len(ended)}/{len(self.trainings)} trainings"
        self.phase.facts = []
        if ended:
            self.phase.facts.append(("last", self._name(ended[-1])))
        if running:
            self.phase.facts.append(("now", self._name_some(running)))
        self.phase.expect(self._estimate_left())

    def _name_some(self, trainings: Sequence[Training]) -> str:
        """Returns the names of some trainings: of many, the first ones and how many more there are."""
        names = [self._name(training) for training in trainings[:MOST_SHOWN]]
        if len(trainings) > MOST_SHOWN:
            names.append(f"{len(trainings) - MOST_SHOWN} more")
        return "; ".join(names)

    def _name(self, training: Training) -> str:
        index, seed = training
        return f"{self.confirmation.jobs[index].name}, seed {seed + 1}"

    def _passes_of(self, training: Training) -> float:
        return self.confirmation.jobs[training[0]].adaptation.epochs

    def _estimate_left(self) -> float | None:
        """Returns the seconds that the slowest process still takes; None while too little is known."""
        if self.cost_of(list(self.seconds)) <= LEAST_SHARE * self.cost_of(self.trainings):
            return None
        base, of_pass = self._fit()
        left_of_parts = [0.0]
        for part in self.parts:
            left = 0.0
            for training in part:
                if training in self.seconds:
                    continue
                spent = time.monotonic() - self.began[training] if training in self.began else 0.0
                left += max(0.0, base + of_pass * self._passes_of(training) - spent)
            left_of_parts.append(left)
        return max(left_of_parts)

    def _fit(self) -> tuple[float, float]:
        """Returns the seconds that a training takes of its own, and for each pass, as the ended ones show (least
        squares); neither is negative.
        """
        passes = [self._passes_of(training) for training in self.seconds]
        seconds = list(self.seconds.values())
        mean_passes = sum(passes) / len(passes)
        mean_seconds = sum(seconds) / len(seconds)

        # Where all are equally long, a start costs as much as a pass.
        spread = sum((each - mean_passes) ** 2 for each in passes)
        if not spread:
            of_pass = mean_seconds / (1 + mean_passes)
            return of_pass, of_pass

        deviations = zip(passes, seconds, strict=True)
        of_pass = max(0.0, sum((one - mean_passes) * (took - mean_seconds) for one, took in deviations) / spread)
        base = mean_seconds - of_pass * mean_passes
        if base < 0:
            products = zip(passes, seconds, strict=True)
            return 0.0, sum(one * took for one, took in products) / sum(one**2 for one in passes)
        return base, of_pass
