"""What an adaptation's anchor adds to the loss, with the baseline's outputs and importances that it needs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from fer.adaptation.draws import Draws
from fer.adaptation.task import AdaptationTask
from fer.config import WEIGHT_ANCHORS, AdaptationConfig, ViewRecipe
from fer.datasets import Split
from fer.features.cache import best_cut, frozen_features
from fer.features.schedule import Schedule
from fer.features.sources import ImageSource
from fer.model.layout import channels_last
from fer.seeding import generator
from fer.told_progress import Announcement
from fer.training import penalties
from fer.training.loop import Penalty


def make_penalty(draws: Draws, network: nn.Sequential, schedule: Schedule) -> Penalty | None:
    """Returns what the configuration's anchor adds to the loss of a step, or None without an anchor.

    Args:
        draws: The adaptation's samples.
        network: The network to be trained, as it starts.
        schedule: The samples that the network is trained on.
    """
    config = draws.config
    if config.anchor == "none" or config.anchor_weight == 0:
        return None
    if config.anchor in WEIGHT_ANCHORS:
        return _weight_penalty(draws, network)
    return _output_penalty(draws, schedule)


def _weight_penalty(draws: Draws, network: nn.Sequential) -> Penalty:
    """Returns the penalty on the trained weights' distance from where they start."""
    config = draws.config
    names = [name for name, _ in network.named_children()]
    trained_blocks = {names[block] for block in config.trained}
    parameters = {}
    for name, parameter in network.named_parameters():
        block, _, _ = name.partition(".")
        if block in trained_blocks:
            parameters[name] = parameter
    start = {name: p.detach().clone() for name, p in parameters.items()}
    importance = None
    if config.anchor != "weights":
        importance = baseline_importance(draws.task, draws.splits["source"], config.anchor)

    def penalty(step: int, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return config.anchor_weight * penalties.weight_penalty(parameters, start, importance)

    return penalty


def _output_penalty(draws: Draws, schedule: Schedule) -> Penalty:
    """Returns the penalty on the distance of features or logits from the baseline's, for the samples of one domain."""
    config = draws.config
    domain = "source" if config.anchor == "replay" else "target"
    cut = config.depth.last if config.anchor == "features" else config.depth.blocks
    baseline_outputs = open_baseline_outputs(draws, domain, schedule, cut)

    def penalty(step: int, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        # The domain's rows of the batch, which holds target samples first and source samples after them.
        target_images, _ = schedule.target[step]
        targets = len(target_images)
        rows = slice(0, targets) if domain == "target" else slice(targets, None)
        features = features[rows]
        logits = logits[rows]
        if not len(logits):
            return logits.new_zeros(())

        distance = _output_distance(config, features, logits, baseline_outputs(step))
        return config.anchor_weight * distance

    return penalty


def _output_distance(
    config: AdaptationConfig, features: torch.Tensor, logits: torch.Tensor, reference: torch.Tensor
) -> torch.Tensor:
    """Returns how far a network's outputs are from the baseline's, as the anchor measures it."""
    if config.anchor == "features":
        return penalties.feature_distance(features, reference)
    if config.anchor == "logits":
        return penalties.logit_distance(logits, reference, config.temperature)
    return penalties.replay_distance(logits, reference)


def open_baseline_outputs(draws: Draws, domain: str, schedule: Schedule, cut: int) -> Callable[[int], torch.Tensor]:
    """Opens the baseline's outputs for the samples of a domain.

    The feature cache keeps logits, and features at the cuts that a study has room for; others are computed step by step
    from the deepest of these.

    Args:
        draws: The adaptation's samples.
        domain: "source" or "target".
        schedule: The samples that the network is trained on.
        cut: The cut of the outputs.

    Returns:
        A function from a step to the outputs (n, *shape) for the step's n samples of the domain.
    """
    task = draws.task
    gives_logits = cut == draws.config.depth.blocks
    kept_cut = cut if gives_logits else best_cut(task.cuts, cut)
    sources = draws.open_sources(schedule, kept_cut)
    if domain not in sources:  # nothing is drawn of the domain, so no step asks for outputs
        return lambda step: torch.empty(0)
    source, _ = sources[domain]
    inputs_of = source.batches_for(schedule.samples(domain))

    def outputs_of(step: int) -> torch.Tensor:
        inputs = channels_last(inputs_of(step))
        return frozen_features(task.baseline.network, source.cut, cut, inputs, task.runtime).float()

    return outputs_of


def baseline_importance(task: AdaptationTask, split: Split, kind: str) -> dict[str, torch.Tensor]:
    """Returns each parameter's importance to the baseline, computed once per baseline when there is a cache.

    Args:
        task: Baseline, datasets, runtime, cache.
        split: The source's training split.
        kind: "fisher" or "mas", see `fer.training.penalties.importance`.
    """
    labels = np.asarray(split.labels)
    rng = generator(task.source.digest, "importance")
    chosen = penalties.choose_balanced(labels, penalties.IMPORTANCE_SAMPLES, rng)

    def compute() -> dict[str, torch.Tensor]:
        # The chosen images themselves, which are their first views.
        source = ImageSource(split, ViewRecipe(), 0, task.runtime, task.baseline.architecture.images)
        first_views = np.zeros(len(chosen), int)
        inputs = source.batch(chosen, first_views)

        chosen_labels = torch.from_numpy(labels[chosen]).to(task.runtime.device)
        what = {"fisher": "Fisher information", "mas": "sensitivity of outputs"}[kind]
        announcement = Announcement(f"the {what} of {len(chosen)} source images, which trials share,")
        return penalties.importance(task.baseline.network, kind, inputs, chosen_labels, announcement)

    if task.cache is None:
        return compute()
    key = f"{task.baseline.digest}-{task.source.digest}-{penalties.IMPORTANCE_SAMPLES}"
    name = f"{key}-{penalties.LARGEST_IMPORTANCE:g}-{kind}.safetensors"
    importance = penalties.cached_importance(task.cache / "importance" / name, compute)
    return {name: tensor.to(task.runtime.device) for name, tensor in importance.items()}
