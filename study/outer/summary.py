"""What the searches of nested cross-validation say together: accuracies and gains, part by part and over all people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.errors import InputError
from fer.evaluation.intervals import estimate, one_per_image
from study.confirmation.outer_part import PartResult
from study.options import LEVEL
from study.record import DOMAINS


@dataclass(frozen=True)
class Interval:
    """A mean with its interval of confidence.

    Attributes:
        mean: The mean.
        lower: Where the interval begins; None where one person alone was tested, who says nothing about others, and of
            a gain where nothing was recommended: the baseline gains nothing on itself.
        upper: Where it ends; None likewise.
    """

    mean: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class DomainSummary:
    """What the tested networks reached on the test images of one domain; all are shares.

    Attributes:
        images: How many there are.
        people: Whom they show; None where that is not known.
        baseline: The baseline's accuracy.
        accuracy: Of the tested networks.
        gain: By how much they are more accurate than the baseline, image by image.
    """

    images: int
    people: int | None
    baseline: float
    accuracy: Interval
    gain: Interval


@dataclass(frozen=True)
class OuterSummary:
    """What nested cross-validation found.

    Attributes:
        results: Of the searches, by the number of their part.
        parts: For each search by domain what its network reached on its part.
        pooled: By domain what all of them reached: on the target every person was tested once, on the source all
            networks answered on the same images.
        kinds: How often each kind of network was recommended, the commonest first.
        without: How many searches recommended nothing.
        optimism: By how much the accuracy that the searches expected of what they recommended is higher on the target
            than that on the test images; None where nothing was recommended.
    """

    results: tuple[PartResult, ...]
    parts: tuple[dict[str, DomainSummary], ...]
    pooled: dict[str, DomainSummary]
    kinds: tuple[tuple[str, int], ...]
    without: int
    optimism: float | None


def summarise(results: Sequence[PartResult]) -> OuterSummary:
    """Returns what the results of all searches say.

    Args:
        results: Of each part once.

    Raises:
        InputError: The searches were not tested on the same source images, or a person was tested by several.
    """
    in_order = tuple(sorted(results, key=lambda result: result.part.number))
    _check_tests(in_order)
    networks = [result.recommended for result in in_order if result.recommended is not None]
    kinds = Counter(network.kind for network in networks)
    return OuterSummary(
        results=in_order,
        parts=tuple({domain: summarise_domain([result], domain) for domain in DOMAINS} for result in in_order),
        pooled={domain: summarise_domain(in_order, domain) for domain in DOMAINS},
        kinds=tuple(kinds.most_common()),
        without=len(in_order) - len(networks),
        optimism=_optimism(in_order),
    )


def _check_tests(results: Sequence[PartResult]) -> None:
    """Raises InputError where the searches' test images cannot be summed up; with --force data may have changed."""
    tested = {len(result.answers["source"].subjects) for result in results}
    if len(tested) > 1:
        raise InputError(
            "the searches of --outer are tested on the same source images",
            " and ".join(f"{count:,} images" for count in sorted(tested)),
            "Give the new searches a name with --study NAME.",
        )

    # Each person once, as far as people are known.
    times = Counter[int]()
    for result in results:
        times.update(set(result.answers["target"].subjects.tolist()) - {-1})
    repeated = sum(count > 1 for count in times.values())
    if repeated:
        raise InputError(
            "the searches of --outer test each person once",
            f"{repeated} people whom several tested",
            "Give the new searches a name with --study NAME.",
        )


def summarise_domain(results: Sequence[PartResult], domain: str) -> DomainSummary:
    """Returns what the networks of some searches reached on the test images of a domain.

    On the target each search has images of its own, which are put one after the other. On the source all have the same
    images: their networks are to each image what other seeds are, so that the interval is also for other searches.

    Args:
        results: Of the searches.
        domain: "source" or "target".
    """
    answers = [result.answers[domain] for result in results]
    if domain == "target":
        subjects = np.concatenate([each.subjects for each in answers])
        network = np.concatenate([each.network for each in answers])[None]
        baseline = np.concatenate([each.baseline for each in answers])[None]
    else:
        subjects = answers[0].subjects
        network = np.stack([each.network for each in answers])
        baseline = np.stack([each.baseline for each in answers])

    # People, then both figures with their intervals.
    numbers = one_per_image(subjects)
    accuracy = estimate(network, numbers)
    change = estimate(network.astype(float) - baseline, numbers)
    gain = _interval(change.mean, change.interval_of_difference(LEVEL), change.people)
    if all(result.recommended is None for result in results):
        gain = Interval(0.0, None, None)
    is_known = bool((subjects >= 0).all())
    people = len(np.unique(subjects)) if is_known else None
    return DomainSummary(
        images=len(subjects),
        people=people,
        baseline=float(baseline.mean()),
        accuracy=_interval(accuracy.mean, accuracy.interval_of_share(LEVEL), accuracy.people),
        gain=gain,
    )


def _interval(mean: float, bounds: tuple[float, float], people: int) -> Interval:
    """Returns a mean with its bounds, without them where there is one person."""
    if people == 1:
        return Interval(mean, None, None)
    return Interval(mean, *bounds)


def _optimism(results: Sequence[PartResult]) -> float | None:
    """Returns by how much expected accuracies on the target are higher than tested ones, image by image."""
    surplus = 0.0
    images = 0
    for result in results:
        if result.recommended is not None:
            right = result.answers["target"].network
            surplus += float((result.recommended.expected["target"] - right).sum())
            images += len(right)
    return surplus / images if images else None
