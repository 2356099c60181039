import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fer.datasets import synthetic, synthetic_domains
from fer.datasets.arrays import SPLITS
from fer.expressions import EXPRESSIONS, SEVEN

PAPER = {"jaffe": (131, 15, 67, 10), "tfeid": (405, 47, 58, 40), "mug": (5877, 741, 734, 52)}
NAMES = [*synthetic_domains.DOMAINS, "someone-elses-faces"]


@pytest.fixture(scope="module")
def source():
    return synthetic.draw("fer2013", scale=0.3)


@pytest.fixture(scope="module")
def target():
    return synthetic.draw("tfeid")


def _linear(split):
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(_pixels(split), split.labels)


def _pixels(split):
    """Every second pixel, each face brought to its own mean and contrast."""
    pixels = split.images[:, ::2, ::2].reshape(len(split), -1).astype(np.float32)
    pixels -= pixels.mean(1, keepdims=True)
    return pixels / (pixels.std(1, keepdims=True) + 1)


def _accuracy(model, *splits):
    return np.mean(np.concatenate([model.predict(_pixels(split)) == split.labels for split in splits]))


def test_the_same_seed_draws_the_same_pixels_and_another_seed_does_not():
    first, again, other = (synthetic.draw("jaffe", seed=seed, scale=0.2) for seed in (3, 3, 4))
    for split in SPLITS:
        assert np.array_equal(first[split].images, again[split].images)
        assert np.array_equal(first[split].labels, again[split].labels)
        assert np.array_equal(first[split].subjects, again[split].subjects)
        assert not np.array_equal(first[split].images, other[split].images)


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_as_the_rest_of_the_code_expects_them(name):
    splits = synthetic.draw(name, scale=0.01)
    assert tuple(splits) == SPLITS

    people = [set(split.subjects.tolist()) for split in splits.values()]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    for split in splits.values():
        assert split.images.dtype == np.uint8 and split.images.shape == (len(split), 48, 48)
        assert split.labels.dtype == split.subjects.dtype == np.int64
        assert len(split) >= 7 and set(split.labels.tolist()) == set(range(len(EXPRESSIONS)))
        assert split.images.std((1, 2)).min() > 5, "a face is nearly blank"


@pytest.mark.parametrize("name", PAPER)
def test_targets_have_the_papers_sizes_and_people(name):
    *sizes, people = PAPER[name]
    domain = synthetic_domains.DOMAINS[name]

    assert list(domain.sizes) == sizes
    assert sum(synthetic._people_per_split(sizes, domain.subjects)) == people


def test_a_whole_target_has_every_expression_and_all_its_people(target):
    assert [len(split) for split in target.values()] == list(PAPER["tfeid"][:3])
    assert len(np.unique(np.concatenate([split.subjects for split in target.values()]))) == 40
    for split in target.values():
        assert np.bincount(split.labels, minlength=7).min() >= 4


def test_the_source_is_uneven_like_the_web(source):
    counts = dict(zip(EXPRESSIONS, np.bincount(source["train"].labels), strict=True))
    assert max(counts, key=counts.get) == "happiness" and min(counts, key=counts.get) == "disgust"


def test_every_style_names_known_units_and_every_domain_known_parameters():
    for name in EXPRESSIONS:
        for style in synthetic_domains.PROTOTYPES[name]:
            assert set(style) <= set(synthetic_domains.UNITS)
    for domain in synthetic_domains.DOMAINS.values():
        assert set(domain.gains) | set(domain.resting) <= set(synthetic_domains.UNITS)
        assert set(domain.person) <= set(synthetic_domains.PERSON)
        assert sum(domain.styles) == pytest.approx(1)


def test_expressions_can_be_learned_and_the_source_transfers_in_part(source, target):
    on_source, on_target = _linear(source["train"]), _linear(target["train"])
    at_home = _accuracy(on_source, source["validation"], source["test"])
    abroad = _accuracy(on_source, target["validation"], target["test"])
    own = _accuracy(on_target, target["validation"], target["test"])

    assert at_home > 2 * SEVEN.chance
    assert own > 3 * SEVEN.chance
    assert abroad < at_home and abroad < own
