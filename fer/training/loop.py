"""The project's one training loop."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer.config import AdaptationConfig
from fer.features.cache import frozen_features
from fer.features.schedule import Schedule, learning_rate
from fer.features.sources import FeatureSource
from fer.model.equality import NORMS
from fer.model.layout import channels_last
from fer.model.onednn import all_finite, is_known, to_onednn_layout
from fer.runtime import Runtime
from fer.training.checkpoint import Checkpoints
from fer.training.cuda_graphs import StepGraphs
from fer.training.optimisers import make_optimiser, parameters_of
from fer.training.regularisers import mix, sharpen, smooth


class Diverged(ArithmeticError):
    """The training loss or the network's logits became NaN or infinite."""


_SMALL_IMAGES = 4
"""From this cut on, images are too small for oneDNN's layout to be quicker."""
_SMALL_BATCH = 32
"""With fewer images in a batch, oneDNN's layout is not quicker."""

LabelledSource = tuple[FeatureSource, np.ndarray]
"""Where the samples of a domain's training split come from, and the labels (n,) of the split."""

Penalty = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""From the step, the penultimate features and the logits to what is added to the loss."""


@dataclass(frozen=True)
class TrainingJob:
    """One training: which network learns what, how, and where.

    Attributes:
        network: All blocks, on the runtime's device; trained in place.
        cut: The cut at which the sources deliver; frozen blocks from there on are computed.
        sources: The labelled source of each domain that the schedule draws from.
        schedule: The samples of every step.
        config: Hyperparameters of the training.
        runtime: Device and precision.
        classes: Number of logits.
    """

    network: nn.Sequential
    cut: int
    sources: Mapping[str, LabelledSource]
    schedule: Schedule
    config: AdaptationConfig
    runtime: Runtime
    classes: int


@dataclass(frozen=True)
class TrainingHooks:
    """What a caller adds to a training.

    Attributes:
        on_epoch: Called after each epoch with its number from 1 and its mean loss; True stops the training.
        on_step: Called after each step of the optimiser.
        reduce_gradients: Called after each backward pass to average gradients with other processes.
        penalty: Added to the loss of a step.
        checkpoints: Where the training resumes after a crash.
        graphs: Computes forward and backward passes on a GPU, for a network that it houses. It excludes `penalty`,
            which differs from step to step, and sharpness-aware minimisation.
    """

    on_epoch: Callable[[int, float], bool]
    on_step: Callable[[], None] | None = None
    reduce_gradients: Callable[[list[nn.Parameter]], None] | None = None
    penalty: Penalty | None = None
    checkpoints: Checkpoints | None = None
    graphs: StepGraphs | None = None


def fit(job: TrainingJob, hooks: TrainingHooks) -> bool:
    """Trains the blocks of a network that the configuration does not freeze, in place; the only training loop.

    Args:
        job: Network, samples and hyperparameters.
        hooks: What the caller adds.

    Returns:
        Whether `hooks.on_epoch` stopped the training.

    Raises:
        Diverged: The mean loss of an epoch, or a weight, is NaN or infinite.
    """
    training = _Training(job, hooks)
    for step in range(training.first_step, training.steps):
        training.take_step(step)
        if training.end_epochs(step + 1):
            return True
    return False


class _Training:
    """The state of one training between its steps."""

    def __init__(self, job: TrainingJob, hooks: TrainingHooks) -> None:
        """Prepares network, optimiser, random generators and samples; resumes from a checkpoint if there is one."""
        self.job = job
        self.hooks = hooks
        self.config = job.config
        config = job.config
        self.steps = job.schedule.boundaries[-1]
        self.head_steps = round(config.head_first * self.steps)

        # Blocks and their optimiser.
        self.trained_blocks: Sequence[int] = config.trained
        _train_only(job.network, self.trained_blocks, config)
        self.optimiser = make_optimiser(job.network, config)
        self.parameters = parameters_of(self.optimiser)
        self.start_weights = [p.detach().clone() for p in self.parameters] if config.averaging else []

        # What a step computes above the frozen prefix.
        self.body = job.network[config.leading : config.depth.last]
        self.head = job.network[config.depth.last :]
        self.in_onednn_layout = job.runtime.onednn_dtype is not None and _suits_onednn_layout(job.network, config)
        if self.in_onednn_layout:
            self.body = to_onednn_layout(self.body, job.runtime.dtype)

        # The generator's seed is drawn before a checkpoint restores torch's own generator.
        self.mixup_rng = np.random.default_rng(int(torch.randint(2**31, ()))) if config.mixup else None
        self.first_step = 0
        self.epoch = 0
        if hooks.checkpoints is not None:
            self.first_step, self.epoch = hooks.checkpoints.resume(job.network, self.optimiser, self.mixup_rng)

        # The samples of all steps.
        self.labels = _labels_by_step(job)
        self.inputs_of = _inputs_by_step(job)

        # The losses since the last end of an epoch.
        self.loss_sum = torch.zeros((), device=job.runtime.device)
        self.loss_count = 0
        self.mean_loss = math.nan

    def take_step(self, step: int) -> None:
        """Takes one step of the optimiser."""
        config = self.config

        # With `head_first`, the last block is trained alone until the others join. Which blocks train is set at the
        # first step, wherever a checkpoint resumes the training, and at the step at which the others join.
        if self.head_steps and step in (self.first_step, self.head_steps):
            self.trained_blocks = [config.depth.last] if step < self.head_steps else config.trained
            _train_only(self.job.network, self.trained_blocks, config)

        # The samples of the step, and the gradient of their loss.
        inputs, target = self._samples(step)
        self.loss_sum += self._compute_gradients(step, inputs, target)
        self.loss_count += 1
        if self.hooks.reduce_gradients is not None:
            self.hooks.reduce_gradients(self.parameters)

        # The step along the gradient.
        rate = learning_rate(step, self.steps, config.lr)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.optimiser.step()

        # Averaging with the start (SFA), ten times in a training.
        if config.averaging and _passes_tenth(step + 1, self.steps):
            with torch.no_grad():
                for parameter, origin in zip(self.parameters, self.start_weights, strict=True):
                    parameter.lerp_(origin, config.averaging)

        if self.hooks.on_step is not None:
            self.hooks.on_step()

    def end_epochs(self, steps_taken: int) -> bool:
        """Ends every epoch that ends after this many steps; a short budget may have several ends at one step.

        Returns:
            Whether the caller stops the training.

        Raises:
            Diverged: The mean loss or a weight is NaN or infinite.
        """
        boundaries = self.job.schedule.boundaries
        while self.epoch < len(boundaries) and boundaries[self.epoch] == steps_taken:
            self.epoch += 1
            self._update_mean_loss()
            self._check_finite()
            if self.hooks.on_epoch(self.epoch, self.mean_loss):
                return True

            # A checkpoint is offered once all epochs that end at this step have ended.
            goes_on_here = self.epoch < len(boundaries) and boundaries[self.epoch] == steps_taken
            if self.hooks.checkpoints is not None and not goes_on_here:
                self.hooks.checkpoints.offer(steps_taken, self.epoch, self.job.network, self.optimiser, self.mixup_rng)
        return False

    def _samples(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the inputs of the trained blocks and the targets, labels (n,) or class shares (n, classes)."""
        job = self.job
        inputs = channels_last(self.inputs_of(step))

        # The sources deliver at the cut; the frozen blocks above it are computed now.
        inputs = frozen_features(job.network, job.cut, self.config.leading, inputs, job.runtime)

        if self.mixup_rng is None:
            return inputs, self.labels[step]
        return mix(inputs, self.labels[step], self.job.classes, self.config.mixup, self.mixup_rng)

    def _compute_gradients(self, step: int, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Computes the gradients of all trained parameters and returns the loss."""
        config = self.config
        graphs = self.hooks.graphs

        # How the labels are smoothed.
        smoothing = config.label_smoothing
        if graphs is not None and smoothing:
            # Smoothed in the labels, or every strength would need a graph of its own.
            target = smooth(target, self.job.classes, smoothing)
            smoothing = 0.0
        backward = partial(self._run_forward_and_backward, step, smoothing)

        # One forward and backward pass, which a CUDA graph may replay.
        self.optimiser.zero_grad(set_to_none=True)
        if graphs is None:
            loss = backward(inputs, target)
        else:
            kernels = (config.leading, *self.trained_blocks, config.bn, self.job.runtime.precision)
            loss = graphs.step(kernels, self.job.network, inputs, target, backward)

        # With `sam`, another pass from the worst point near by; its gradients take the place of the first pass's.
        if config.sam:
            sharpen(self.job.network, self.parameters, config.sam, partial(backward, inputs, target))
        return loss

    def _run_forward_and_backward(
        self, step: int, smoothing: float, inputs: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """Runs one forward and backward pass and returns the loss; leaves the gradients at the parameters."""
        with self.job.runtime.autocast():
            features = self.body(inputs)
            logits = self.head(features)
        logits = logits.float()
        loss = F.cross_entropy(logits, target, label_smoothing=smoothing)
        if self.hooks.penalty is not None:
            loss = loss + self.hooks.penalty(step, features.float(), logits)
        loss.backward()
        return loss.detach()

    def _update_mean_loss(self) -> None:
        """Takes the mean over the steps since the last end of an epoch; without any, the mean stays what it was."""
        if not self.loss_count:
            return
        self.mean_loss = float(self.loss_sum) / self.loss_count
        self.loss_sum.zero_()
        self.loss_count = 0

    def _check_finite(self) -> None:
        """Ends a training whose mean loss or weights are not finite.

        Raises:
            Diverged: They are not.
        """
        place = f"in epoch {self.epoch} at learning rate {self.config.lr:.2g}"
        if not math.isfinite(self.mean_loss):
            raise Diverged(f"the loss became {self.mean_loss} {place}")
        # In oneDNN's layout, weights that are not finite may leave the loss finite.
        if self.in_onednn_layout and not all_finite(self.job.network):
            raise Diverged(f"weights became NaN or infinite {place}")


def _train_only(network: nn.Sequential, blocks: Sequence[int], config: AdaptationConfig) -> None:
    """Puts some blocks into training mode and freezes all others."""
    network.eval().requires_grad_(False)
    for block in blocks:
        network[block].train().requires_grad_(True)
        for norm in network[block].modules():
            if config.bn == "frozen" and isinstance(norm, NORMS):
                norm.eval()


def _suits_onednn_layout(network: nn.Sequential, config: AdaptationConfig) -> bool:
    """Returns whether the trained convolutions can be computed in oneDNN's layout, and are quicker in it.

    The layout is quicker for large images in batches of some size, by a tenth for a whole network of the laptop's
    width, if all channels fill blocks of 16. It has no gradient through a batch-norm that takes no batch statistics.
    """
    if not is_known(network):
        return False
    layers = range(config.leading, config.depth.head)
    fills_blocks = all(p.shape[0] % 16 == 0 for layer in layers for p in network[layer].parameters())
    is_large = config.leading < _SMALL_IMAGES and config.batch_size >= _SMALL_BATCH
    has_gradient = config.bn != "frozen" and set(layers) <= set(config.trained)
    return fills_blocks and is_large and has_gradient


def _passes_tenth(step: int, steps: int) -> bool:
    """Returns whether a tenth of all steps, or a multiple of it, ends with this step."""
    return step * 10 // steps > (step - 1) * 10 // steps


def _inputs_by_step(job: TrainingJob) -> Callable[[int], torch.Tensor]:
    """Returns a function from a step to its samples, in the order of `job.sources`."""
    domains = []
    for domain, (source, _) in job.sources.items():
        samples = job.schedule.samples(domain)
        domains.append((samples, source.batches_for(samples)))

    def inputs_of(step: int) -> torch.Tensor:
        batches = []
        for samples, batch_of in domains:
            images, _ = samples[step]
            if len(images):
                batches.append(batch_of(step))
        return torch.cat(batches)

    return inputs_of


def _labels_by_step(job: TrainingJob) -> tuple[torch.Tensor, ...]:
    """Returns the labels (n,) of every step, moved to the device at once."""
    labels_of_steps = []
    for step in range(job.schedule.boundaries[-1]):
        labels_of_domains = []
        for domain, (_, labels) in job.sources.items():
            images, _ = job.schedule.samples(domain)[step]
            labels_of_domains.append(labels[images])
        labels_of_steps.append(np.concatenate(labels_of_domains))
    all_labels = torch.from_numpy(np.concatenate(labels_of_steps)).to(job.runtime.device)
    return all_labels.split([len(labels) for labels in labels_of_steps])
