"""What all adaptations of a study share."""

from dataclasses import asdict, dataclass
from pathlib import Path

from fer.config import ViewRecipe
from fer.datasets import Dataset, Split
from fer.features import cache
from fer.features.cache import FeatureCache
from fer.features.sources import FeatureSource, ImageSource, Subset
from fer.model.weights import Baseline
from fer.runtime import Runtime
from fer.seeding import seed_from

DOMAINS = ("target", "source")


@dataclass(frozen=True)
class AdaptationTask:
    """What all adaptations of a study share.

    Attributes:
        baseline: Where every adaptation starts.
        source: The dataset whose memory is at stake.
        target: The dataset to adapt to.
        runtime: Device and precision.
        cache: Folder of the feature banks; None trains and evaluates from the pixels, with the same results.
        rung_images: How many validation images of each dataset are looked at, at most, before the budget is spent; None
            looks at all.
    """

    baseline: Baseline
    source: Dataset
    target: Dataset
    runtime: Runtime
    cache: Path | None = None
    rung_images: int | None = None

    def dataset(self, domain: str) -> Dataset:
        """Returns the dataset of "source" or "target"."""
        return self.source if domain == "source" else self.target


def open_source(
    task: AdaptationTask, domain: str, split: Split, name: str, cut: int, recipe: ViewRecipe, views: int
) -> FeatureSource:
    """Returns where the features at `cut` of a split come from: its pixels, or the bank of this baseline."""
    dataset = task.dataset(domain)
    rows, digest = dataset.rows(name), dataset.division.whole if dataset.division else dataset.digest
    if rows is not None:
        split, name = dataset.pool(), "pool"
    pixels = ImageSource(split, recipe, seed_from(digest, name), task.runtime)
    if cut == 0 or task.cache is None:
        return pixels if rows is None else Subset(pixels, rows)
    drawn = asdict(recipe) if views > 1 else "plain"
    runtime = task.runtime
    key = seed_from(
        cache.VERSION, task.baseline.digest, digest, name, str(drawn), runtime.precision, runtime.device[:4]
    )
    folder = task.cache / "features" / f"{dataset.name}-{name}-views{views}-{key:016x}"
    bank = FeatureCache(folder, task.baseline.network, cut, pixels, views)
    return bank if rows is None else Subset(bank, rows)
