"""The project's one training loop."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer.config import HEAD, AdaptationConfig
from fer.expressions import EXPRESSIONS
from fer.features.cache import frozen_features
from fer.features.schedule import Schedule, learning_rate
from fer.features.sources import FeatureSource
from fer.layers import CONVOLUTIONS
from fer.model.onednn import all_finite, to_onednn_layout
from fer.model.vgg import channels_last
from fer.runtime import Runtime
from fer.training.checkpoint import Checkpoints
from fer.training.cuda_graphs import StepGraphs
from fer.training.optimisers import make_optimiser


class Diverged(ArithmeticError):
    """The training loss, or what the network answers, stopped being finite numbers."""


_SMALL_IMAGES, _SMALL_BATCH = 4, 32  # from this cut on images are small; fewer of them are few

Penalty = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""From the step, the penultimate features and the logits to what is added to the loss."""


def fit(
    network: nn.Sequential,
    cut: int,
    feeds: Mapping[str, tuple[FeatureSource, np.ndarray]],
    schedule: Schedule,
    config: AdaptationConfig,
    runtime: Runtime,
    on_epoch: Callable[[int, float], bool],
    share: Callable[[list[nn.Parameter]], None] | None = None,
    penalty: Penalty | None = None,
    checkpoints: Checkpoints | None = None,
    graphs: StepGraphs | None = None,
) -> bool:
    """Trains the layers of the network that the configuration leaves free, in place; the only training loop.

    Args:
        network: All thirteen layers, on the runtime's device.
        cut: The cut at which the feeds deliver; frozen layers from there on are computed.
        feeds: For each domain its feed and the labels (n,) of its training split.
        schedule: What to draw.
        config: The knobs.
        runtime: Device and precision.
        on_epoch: Called after each epoch with its number from 1 and its mean loss; True stops.
        share: Called after each backward pass to average gradients with other processes.
        penalty: Adds to the loss of a step.
        checkpoints: Where it goes on from after a crash.
        graphs: What computes forward and backward passes on a GPU, which houses the network; excludes `penalty`,
            which differs from step to step, and sharpness-aware minimisation.

    Returns:
        Whether `on_epoch` stopped it.

    Raises:
        Diverged: The loss of an epoch was not finite, or weights are not.
    """
    steps, first, epoch = schedule.boundaries[-1], 0, 0
    head_steps = round(config.head_first * steps)
    active = config.trained
    _activate(network, active, config)
    optimiser = make_optimiser(network, config)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    start = [p.detach().clone() for p in parameters] if config.averaging else []
    body, head = network[config.leading : HEAD], network[HEAD:]
    in_blocks = runtime.onednn_dtype is not None and _fits_blocks(network, config)
    if in_blocks:
        body = to_onednn_layout(body, runtime.dtype)
    mixing = np.random.default_rng(int(torch.randint(2**31, ()))) if config.mixup else None
    if checkpoints is not None:
        first, epoch = checkpoints.resume(network, optimiser, mixing)
    truth, inputs_of = _labels(feeds, schedule, runtime), _inputs(feeds, schedule)
    total, since = torch.zeros((), device=runtime.device), 0
    for step in range(first, steps):
        if head_steps and step in (first, head_steps):
            active = [HEAD] if step < head_steps else config.trained
            _activate(network, active, config)
        labels = truth[step]
        inputs = frozen_features(network, cut, config.leading, channels_last(inputs_of(step)), runtime)
        inputs, target = _mixed(inputs, labels, config, mixing)

        smoothing = config.label_smoothing
        if graphs is not None and smoothing:  # in the labels, or every strength would need a graph of its own
            target, smoothing = _smoothed(target, smoothing), 0.0

        def backward(
            inputs: torch.Tensor, target: torch.Tensor, step: int = step, smoothing: float = smoothing
        ) -> torch.Tensor:
            with runtime.autocast():
                features = body(inputs)
                logits = head(features)
            logits = logits.float()
            loss = F.cross_entropy(logits, target, label_smoothing=smoothing)
            if penalty is not None:
                loss = loss + penalty(step, features.float(), logits)
            loss.backward()
            return loss.detach()

        optimiser.zero_grad(set_to_none=True)
        if graphs is None:
            total += backward(inputs, target)
        else:
            kernels = (config.leading, *active, config.bn, runtime.precision)
            total += graphs.step(kernels, network, inputs, target, backward)
        if config.sam:
            _sharpen(network, parameters, config.sam, partial(backward, inputs, target))
        if share is not None:
            share(parameters)
        rate = learning_rate(step, steps, config.lr)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        optimiser.step()
        if config.averaging and _tenth(step + 1, steps):
            with torch.no_grad():
                for parameter, origin in zip(parameters, start, strict=True):
                    parameter.lerp_(origin, config.averaging)
        since += 1
        while epoch < len(schedule.boundaries) and schedule.boundaries[epoch] == step + 1:
            epoch += 1
            if since:
                mean = float(total) / since
                total.zero_()
                since = 0
            if not math.isfinite(mean):
                raise Diverged(f"the loss became {mean} in epoch {epoch} at learning rate {config.lr:.2g}")
            if in_blocks and not all_finite(network):  # which the loss does not tell then
                raise Diverged(f"weights became no numbers in epoch {epoch} at learning rate {config.lr:.2g}")
            if on_epoch(epoch, mean):
                return True
            if checkpoints is not None and schedule.boundaries[epoch : epoch + 1] != [step + 1]:
                checkpoints.offer(step + 1, epoch, network, optimiser, mixing)
    return False


def _activate(network: nn.Sequential, layers: Sequence[int], config: AdaptationConfig) -> None:
    """Puts some layers into training and all others, bit for bit, out of it."""
    network.eval().requires_grad_(False)
    for layer in layers:
        network[layer].train().requires_grad_(True)
        for norm in network[layer].modules():
            if config.bn == "frozen" and isinstance(norm, nn.BatchNorm2d):
                norm.eval()


def _fits_blocks(network: nn.Sequential, config: AdaptationConfig) -> bool:
    """Whether convolutions are trained that are quicker with images as oneDNN wants them, and possible so.

    Large images in batches of some size are, by a tenth for a whole network of the laptop's width, if all channels fill
    blocks of 16. There is no gradient through a batch-norm that does not take batch statistics.
    """
    layers = range(config.leading, CONVOLUTIONS)
    whole = all(p.shape[0] % 16 == 0 for layer in layers for p in network[layer].parameters())
    quicker = whole and config.leading < _SMALL_IMAGES and config.batch_size >= _SMALL_BATCH
    return quicker and config.bn != "frozen" and set(layers) <= set(config.trained)


def _tenth(step: int, steps: int) -> bool:
    return step * 10 // steps > (step - 1) * 10 // steps


def _mixed(
    inputs: torch.Tensor, labels: torch.Tensor, config: AdaptationConfig, rng: np.random.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixes pairs of samples and of their labels (mixup, arXiv 1710.09412; above frozen layers, of their features)."""
    if rng is None:
        return inputs, labels
    share = float(rng.beta(config.mixup, config.mixup))
    order = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
    known = _shares(labels)
    return torch.lerp(inputs[order], inputs, share), torch.lerp(known[order], known, share)


def _smoothed(target: torch.Tensor, strength: float) -> torch.Tensor:
    """Returns the shares of the expressions (n, 7) that cross-entropy's label smoothing means."""
    return torch.lerp(_shares(target), torch.full((), 1 / len(EXPRESSIONS), device=target.device), strength)


def _shares(target: torch.Tensor) -> torch.Tensor:
    return F.one_hot(target, len(EXPRESSIONS)).float() if target.dim() == 1 else target


def _sharpen(
    network: nn.Sequential, parameters: list[nn.Parameter], radius: float, backward: Callable[[], torch.Tensor]
) -> None:
    """Replaces the gradient by that at the worst point near by (SAM); batch-norms count the step's batch once."""
    gradients = {p: p.grad for p in parameters if p.grad is not None}
    length = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().clamp(min=1e-12)
    before = {p: p.detach().clone() for p in gradients}
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for p, gradient in gradients.items():
            p.add_(gradient * (radius / length))
            p.grad = None
    for norm in norms:
        norm.momentum = 0.0
    backward()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    with torch.no_grad():
        for p, value in before.items():
            p.copy_(value)


def _inputs(feeds: Mapping[str, tuple[FeatureSource, np.ndarray]], schedule: Schedule) -> Callable[[int], torch.Tensor]:
    """Returns what gives the samples of each step, the target's first."""
    drawn = []
    for domain, (feed, _) in feeds.items():
        samples = schedule.samples(domain)
        drawn.append((samples, feed.batches_for(samples)))
    return lambda step: torch.cat([take(step) for steps, take in drawn if len(steps[step][0])])


def _labels(
    feeds: Mapping[str, tuple[FeatureSource, np.ndarray]], schedule: Schedule, runtime: Runtime
) -> tuple[torch.Tensor, ...]:
    """Returns the labels of every step, moved to the device at once."""
    steps = range(schedule.boundaries[-1])
    drawn = [
        np.concatenate([known[schedule.samples(domain)[step][0]] for domain, (_, known) in feeds.items()])
        for step in steps
    ]
    together = torch.from_numpy(np.concatenate(drawn)).to(runtime.device)
    return together.split([len(labels) for labels in drawn])
