"""The known methods as named settings of hyperparameters."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fer.config import HEAD, AdaptationConfig
from fer.errors import InputError
from fer.layers import LAYERS

HALF = 0.5
"""The source's share of each batch in a fusion. With the natural ratio, a budget of a few passes over a small target
would draw next to nothing of it: 7 images of JAFFE among 1,600."""


# The paper's strategies. Whether its RE and FU start from the baseline or from scratch is not published; here they
# start from the baseline. The paper's own fusion, of both datasets as they are, is in `search_spaces.paper`.
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "BL": {"frozen_layers": len(LAYERS)},
    "FC": {"frozen_layers": 10},
    "FC+CL": {"frozen_layers": 9},
    "RE": {"frozen_layers": 0},
    "FU": {"frozen_layers": 0, "fusion_ratio": HALF},
}


# Single trainings on draws 0, 2 and 5 of MUG's stand-in (docs/experiments.md): of four pairs of rate and decay this one
# was never far behind, and with the first block fixed, which took a fifth to a third less time, accuracies were no
# lower.
LLRD: Mapping[str, Any] = {"frozen_layers": 2, "lr": 0.03, "layer_decay": 0.88}


# Known methods as knobs, each from its paper, in the order in which a study tries them. The weights of the anchors are
# on the scale of `fer.training.penalties`, where a paper's own weight would mean something else; they are first
# guesses, but for
# LF's, the best of 0.003, 0.01, 0.03 and 0.1 over two seeds on the stand-in.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "LLRD": LLRD,
    "FU+LLRD": {"fusion_ratio": HALF, **LLRD},
    "replay+LLRD": {"fusion_ratio": HALF, "replay_size": 700, **LLRD},
    "LP": {"frozen_layers": HEAD},
    "LP-FT": {"head_first": 0.3},
    "surgical": {"frozen_from": 4, "frozen_layers": 9},
    "L2-SP": {"anchor": "weights", "anchor_weight": 0.1},
    "EWC": {"anchor": "fisher", "anchor_weight": 1.0},
    "MAS": {"anchor": "mas", "anchor_weight": 1.0},
    "LwF": {"anchor": "logits", "anchor_weight": 1.0},
    "LF": {"anchor": "features", "anchor_weight": 0.01},
    "replay": {"fusion_ratio": 0.5, "replay_size": 700},
    "DER++": {"fusion_ratio": 0.5, "replay_size": 700, "anchor": "replay", "anchor_weight": 0.5},
    "AdaBN": {"lr": 0.0, "bn": "recompute"},
    "WiSE-FT": {"alpha": 0.5},
    "LiNeS": {"alpha": 0.2, "alpha_slope": 0.8},
    "SFA": {"averaging": 0.25},
    "soup": {"members": 2},
}


REFERENCES: Mapping[str, str] = {
    "BL": "the baseline as it is (Tannugi et al. 2019, arXiv 1905.12082)",
    "FC": "fully connected layers (arXiv 1905.12082)",
    "FC+CL": "and the last convolution (arXiv 1905.12082)",
    "RE": "all layers (arXiv 1905.12082)",
    "FU": "all layers, half of each batch from the source (arXiv 1905.12082; its own mixture is in --space paper)",
    "LLRD": "each layer at 7/8 of the next one's rate, the first block fixed (arXiv 1801.06146)",
    "FU+LLRD": "the same, half of each batch from the source (arXiv 1801.06146, 1905.12082)",
    "replay+LLRD": "LLRD, half of each batch from 700 source images (arXiv 1801.06146, 1902.10486)",
    "LP": "linear probing: the last layer alone (Kumar et al. 2022, arXiv 2202.10054)",
    "LP-FT": "linear probing, then fine-tuning (Kumar et al. 2022, arXiv 2202.10054)",
    "surgical": "the first block alone, for shifts of the input (Lee et al. 2023, arXiv 2210.11466)",
    "L2-SP": "weights held near the start (Li et al. 2018, arXiv 1802.01483)",
    "EWC": "weights held by their Fisher information (Kirkpatrick et al. 2017, arXiv 1612.00796)",
    "MAS": "weights held by their effect on the output (Aljundi et al. 2018, arXiv 1711.09601)",
    "LwF": "the baseline's logits on target images as soft labels (Li and Hoiem 2016, arXiv 1606.09282)",
    "LF": "penultimate features held (Jung et al. 2016, arXiv 1607.00122)",
    "replay": "a few source images in each batch (Chaudhry et al. 2019, arXiv 1902.10486)",
    "DER++": "replay with the baseline's logits (Buzzega et al. 2020, arXiv 2004.07211)",
    "AdaBN": "batch-norm statistics of the target, nothing trained (Li et al. 2016, arXiv 1603.04779)",
    "WiSE-FT": "half-way between the baseline and RE (Wortsman et al. 2022, arXiv 2109.01903)",
    "LiNeS": "shallow layers stay nearer to the baseline (Wang et al. 2024, arXiv 2410.17146)",
    "SFA": "averaged with the start while it trains (Kleiman et al. 2025, arXiv 2501.05559)",
    "soup": "the average of two trainings (Wortsman et al. 2022, arXiv 2203.05482)",
}


PRESETS: Mapping[str, Mapping[str, Any]] = {**STRATEGIES, **METHODS}


def named(strategy: str, base: AdaptationConfig) -> AdaptationConfig:
    """Returns `base` moved to the corner point of a named strategy."""
    if strategy not in PRESETS:
        raise InputError("the strategy is one of " + ", ".join(PRESETS), strategy, "Choose one of them.")
    return replace(base, **PRESETS[strategy])
