"""The known methods as named settings of hyperparameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fer.architecture import Depth
from fer.config import TENTH, AdaptationConfig
from fer.errors import InputError

Setting = float | str | Callable[[Depth], float]
"""The value of a hyperparameter, or what it is for a network of a depth."""


@dataclass(frozen=True)
class Method:
    """A method from the literature, as a setting of hyperparameters.

    Attributes:
        settings: The fields of `AdaptationConfig` that the method sets; all others are left at the base. What counts
            blocks depends on the network's depth.
        description: What the method does, in a few words.
        reference: Authors, year and arXiv number of its paper.
    """

    settings: Mapping[str, Setting]
    description: str
    reference: str

    def __str__(self) -> str:
        return f"{self.description} ({self.reference})"

    def settings_at(self, depth: Depth) -> dict[str, Any]:
        """Returns the fields that the method sets in a network of a depth."""
        return {name: value(depth) if callable(value) else value for name, value in self.settings.items()}


HALF = 0.5
"""The source's share of each batch in a fusion. With the natural ratio, a budget of a few passes over a small target
would draw next to nothing of it: 7 images of JAFFE among 1,600."""


# The paper's strategies. Whether its RE and FU start from the baseline or from scratch is not published; here they
# start from the baseline. The paper's own fusion, of both datasets as they are, is in `search_spaces.paper`.
STRATEGIES: Mapping[str, Method] = {
    "BL": Method(
        {"frozen_layers": lambda depth: depth.blocks}, "the baseline as it is", "Tannugi et al. 2019, arXiv 1905.12082"
    ),
    "FC": Method({"frozen_layers": lambda depth: depth.head}, "the head", "arXiv 1905.12082"),
    "FC+CL": Method(
        {"frozen_layers": lambda depth: depth.head - 1}, "the head and the block before it", "arXiv 1905.12082"
    ),
    "RE": Method({"frozen_layers": 0}, "all blocks", "arXiv 1905.12082"),
    "FU": Method(
        {"frozen_layers": 0, "fusion_ratio": HALF},
        "all blocks, half of each batch from the source",
        "arXiv 1905.12082; its own mixture is in --space paper",
    ),
}


# Single trainings on draws 0, 2 and 5 of the synthetic MUG (docs/experiments.md): of four pairs of rate and decay this
# one was never far behind, and with the first two of thirteen layers fixed, which took a fifth to a third less time,
# accuracies were no lower. A network of another depth has the same share of it fixed, and the first block's rate is the
# same share of the last one's; of two blocks the first is fixed, and the rate of the other is its own.
_DECAY = 0.88
_DECAYED_LAYERS = 12
_STRONGEST_DECAY = 0.3
LLRD: Mapping[str, Setting] = {
    "frozen_layers": lambda depth: depth.blocks_at(2 / 13),
    "lr": 0.03,
    "layer_decay": lambda depth: max(_STRONGEST_DECAY, _DECAY ** (_DECAYED_LAYERS / depth.last)),
}

REPLAY: Mapping[str, Setting] = {"fusion_ratio": HALF, "replay_size": 700}


# Known methods, each from its paper, in the order in which a study tries them. The weights of the anchors are on the
# scale of `fer.training.penalties`, where a paper's own weight would mean something else; they are first guesses, but
# for LF's, the best of 0.003, 0.01, 0.03 and 0.1 over two seeds on the synthetic target.
_LITERATURE: Mapping[str, Method] = {
    "LLRD": Method(LLRD, "rates that decay towards the first blocks, which are fixed", "arXiv 1801.06146"),
    "FU+LLRD": Method(
        {"fusion_ratio": HALF, **LLRD}, "LLRD, half of each batch from the source", "arXiv 1801.06146, 1905.12082"
    ),
    "replay+LLRD": Method(
        {**REPLAY, **LLRD}, "LLRD, half of each batch from 700 source images", "arXiv 1801.06146, 1902.10486"
    ),
    "LP": Method(
        {"frozen_layers": lambda depth: depth.last},
        "linear probing: the last block alone",
        "Kumar et al. 2022, arXiv 2202.10054",
    ),
    "LP-FT": Method({"head_first": 0.3}, "linear probing, then fine-tuning", "Kumar et al. 2022, arXiv 2202.10054"),
    "surgical": Method(
        {
            "frozen_from": lambda depth: depth.blocks_at(4 / 13),
            "frozen_layers": lambda depth: depth.blocks - depth.blocks_at(4 / 13),
        },
        "the first blocks alone, for shifts of the input",
        "Lee et al. 2023, arXiv 2210.11466",
    ),
    "L2-SP": Method(
        {"anchor": "weights", "anchor_weight": 0.1}, "weights held near the start", "Li et al. 2018, arXiv 1802.01483"
    ),
    "EWC": Method(
        {"anchor": "fisher", "anchor_weight": 1.0},
        "weights held by their Fisher information",
        "Kirkpatrick et al. 2017, arXiv 1612.00796",
    ),
    "MAS": Method(
        {"anchor": "mas", "anchor_weight": 1.0},
        "weights held by their effect on the output",
        "Aljundi et al. 2018, arXiv 1711.09601",
    ),
    "LwF": Method(
        {"anchor": "logits", "anchor_weight": 1.0},
        "the baseline's logits on target images as soft labels",
        "Li and Hoiem 2016, arXiv 1606.09282",
    ),
    "LF": Method(
        {"anchor": "features", "anchor_weight": 0.01},
        "penultimate features held",
        "Jung et al. 2016, arXiv 1607.00122",
    ),
    "replay": Method(REPLAY, "a few source images in each batch", "Chaudhry et al. 2019, arXiv 1902.10486"),
    "DER++": Method(
        {**REPLAY, "anchor": "replay", "anchor_weight": 0.5},
        "replay with the baseline's logits",
        "Buzzega et al. 2020, arXiv 2004.07211",
    ),
    "AdaBN": Method(
        {"lr": 0.0, "bn": "recompute"},
        "batch-norm statistics of the target, nothing trained",
        "Li et al. 2016, arXiv 1603.04779",
    ),
    "WiSE-FT": Method({"alpha": 0.5}, "half-way between the baseline and RE", "Wortsman et al. 2022, arXiv 2109.01903"),
    "LiNeS": Method(
        {"alpha": 0.2, "alpha_slope": 0.8},
        "shallow blocks stay nearer to the baseline",
        "Wang et al. 2024, arXiv 2410.17146",
    ),
    "SFA": Method(
        {"averaging": 0.25}, "averaged with the start while it trains", "Kleiman et al. 2025, arXiv 2501.05559"
    ),
    "soup": Method({"members": 2}, "the average of two trainings", "Wortsman et al. 2022, arXiv 2203.05482"),
}


METHODS: Mapping[str, Method] = {**STRATEGIES, **_LITERATURE}
"""The named methods that a study tries: the paper's strategies, then those of the literature."""

ON_REQUEST: Mapping[str, Method] = {
    "FU-first": Method(
        {"init": "fused", "fused_share": TENTH, "fusion_ratio": 1 - TENTH, "lr": 0.0},
        "from scratch on both datasets, a tenth of the samples from the target; as long as a baseline's training",
        "arXiv 1905.12082, whose mixture is not weighted",
    ),
}
"""Named methods that are tried only where a user asks: each of their trials costs what a baseline's training costs."""

LIBRARY: Mapping[str, Method] = {**METHODS, **ON_REQUEST}
"""All named methods."""


def strategies_of(depth: Depth) -> tuple[str, ...]:
    """Returns the paper's strategies that differ in a network.

    FC+CL trains all blocks, as RE does, where a single block stands before the head.
    """
    return tuple(name for name in STRATEGIES if name != "FC+CL" or depth.head > 1)


def named(name: str, base: AdaptationConfig) -> AdaptationConfig:
    """Returns the configuration of a named method, with `base` for all that the method leaves open."""
    if name not in LIBRARY:
        raise InputError("the strategy is one of " + ", ".join(LIBRARY), name, "Choose one of them.")
    return replace(base, **LIBRARY[name].settings_at(base.depth))
