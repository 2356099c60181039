"""What all adaptations of a study share, and where the features of its datasets come from."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from fer.cache_places import BASELINES, BLOCKS, MOST_FEATURES_GIB
from fer.config import AdaptationConfig, ViewRecipe
from fer.datasets import Dataset, Split
from fer.features import cache
from fer.features.cache import FeatureCache
from fer.features.cuts import choose_cuts, count_operations, feature_sizes, paper_cuts
from fer.features.sources import FeatureSource, ImageSource, Subset
from fer.model.chains import build_chain
from fer.model.weights import Baseline
from fer.runtime import Runtime
from fer.seeding import seed_from

DOMAINS = ("target", "source")


@dataclass(frozen=True)
class DomainSplit:
    """One split of one of the two datasets.

    Attributes:
        domain: "source" or "target".
        name: "train", "validation" or "test".
        images: The split itself.
    """

    domain: str
    name: str
    images: Split


@dataclass(frozen=True)
class AdaptationTask:
    """What all adaptations of a study share.

    Attributes:
        baseline: The network that every adaptation starts from.
        source: The dataset that the baseline was trained on, and that an adaptation may forget.
        target: The dataset that the baseline is adapted to.
        runtime: Device and precision.
        cache: The folder of feature caches; None trains and evaluates from the images, with the same results.
        rung_images: How many validation images of each dataset are evaluated at a rung, at most; None: all of them.
        find_fused: Finds or trains the network that an adaptation with `init="fused"` starts from, for this task, the
            adaptation's configuration and its seed; None where no adaptation does.
        feature_room: Bytes that the features of all views may take, see `cuts`.
    """

    baseline: Baseline
    source: Dataset
    target: Dataset
    runtime: Runtime
    cache: Path | None = None
    rung_images: int | None = None
    find_fused: "Callable[[AdaptationTask, AdaptationConfig, int], nn.Sequential] | None" = None
    feature_room: float = MOST_FEATURES_GIB * 2**30

    def dataset(self, domain: str) -> Dataset:
        """Returns the dataset of "source" or "target"."""
        return self.source if domain == "source" else self.target

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """The cuts whose features are kept, ascending, see `fer.features.cuts`."""
        chain = self.baseline.chain
        sizes = feature_sizes(chain.cut_shapes, cache.kept_as(chain, self.runtime))
        if self.baseline.architecture.is_paper:
            return paper_cuts(sizes)
        operations = count_operations(chain.network, chain.cut_shapes[0])
        return choose_cuts(sizes, operations, chain.head, self.feature_room / max(1, self._count_views()))

    def _count_views(self) -> int:
        """Returns how many views of images adaptations draw at most, of training and validation of both domains.

        A dataset that is divided again draws all views of its validation images as well.
        """
        views_per_image = {"target": ViewRecipe().count + 1, "source": AdaptationConfig().source_views + 1}
        views = 0
        for domain, per_image in views_per_image.items():
            sizes = self.dataset(domain).parse_report().sizes
            views += per_image * sum(sizes.get(split, 0) for split in ("train", "validation"))
        return views

    @property
    def blocks_folder(self) -> Path | None:
        """Where it is kept what was found of networks' blocks; None without a cache."""
        return None if self.cache is None else self.cache / BASELINES / BLOCKS

    def build_network(self, seed: int) -> nn.Sequential:
        """Returns the blocks of the baseline's network with new weights, on the CPU.

        Args:
            seed: Of the weights.
        """
        return build_chain(self.baseline.architecture, seed, self.blocks_folder).network

    def open_split(self, domain: str, name: str) -> DomainSplit:
        """Opens the "train" or the "validation" split of a domain.

        Raises:
            InputError: Its files are missing or damaged, see `fer.datasets.dataset.Dataset.open`.
        """
        return DomainSplit(domain, name, self.dataset(domain).open(name))


def open_source(
    task: AdaptationTask, split: DomainSplit, cut: int, recipe: ViewRecipe, views_per_image: int
) -> FeatureSource:
    """Returns where the features of a split come from: the baseline's feature cache, or the images themselves.

    Args:
        task: Baseline, datasets, runtime, cache.
        split: Whose features are asked for.
        cut: Number of leading blocks that the features have passed; 0 gives the images.
        recipe: How views are drawn.
        views_per_image: Number of views; with 1, view 0, which is the image itself.
    """
    dataset = task.dataset(split.domain)
    images = split.images
    name = split.name

    # The folds of a dataset share the features of all its images, of which each fold has its rows.
    rows = dataset.rows(split.name)
    if rows is not None:
        images = dataset.pool()
        name = "pool"

    seed = seed_from(dataset.stored_digest, name)
    image_source = ImageSource(images, recipe, seed, task.runtime, task.baseline.architecture.images)
    source: FeatureSource = image_source
    if cut > 0 and task.cache is not None:
        folder = task.cache / "features" / _cache_name(task, dataset, name, recipe, views_per_image)
        source = FeatureCache(folder, task.baseline.chain, cut, image_source, views_per_image, task.cuts)
    return source if rows is None else Subset(source, rows)


def _cache_name(task: AdaptationTask, dataset: Dataset, name: str, recipe: ViewRecipe, views_per_image: int) -> str:
    """Returns the name of a feature cache, with a hash of all that the features depend on."""
    views = str(asdict(recipe)) if views_per_image > 1 else "plain"
    device_kind = task.runtime.device[:4]  # "cuda" of "cuda:1"
    kept = cache.kept_as(task.baseline.chain, task.runtime).precision
    kept_otherwise = (kept,) if kept != task.runtime.precision else ()
    key = seed_from(
        cache.VERSION,
        task.baseline.digest,
        dataset.stored_digest,
        name,
        views,
        task.runtime.precision,
        device_kind,
        *kept_otherwise,
    )
    return f"{dataset.name}-{name}-views{views_per_image}-{key:016x}"
