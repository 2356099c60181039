"""Training steps as CUDA graphs: captured once per shape, replayed by every step of every trial of that shape.

A step of a small network is hundreds of short kernels, and a GPU waits for Python between them. A graph launches them
all at once, but computes with fixed memory. So the tensors of the network in training move to a home that all graphs of
a process share, inputs are copied into place, and gradients are handed out where the graph left them; the optimiser
works on as ever. A step is captured when its shape comes for the third time. Each capture is compared with the same
step without it; where they differ, steps of that shape go on without a graph. After a capture that failed, all do.
"""

import os
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from fer.runtime import Runtime

Backward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From inputs and labels to the loss, whose gradients it leaves at the parameters."""

Outputs = list[torch.Tensor | None]
Run = Callable[[], Outputs]

TOLERANCE = 0.05
"""Largest relative difference of loss and gradients between a replay and the step itself; kernels add in any order."""
_WARM_UP, _OCCURRENCES, _MOST = 3, 3, 6  # graphs kept: each has activations and gradients of its own


@dataclass(frozen=True)
class Captured:
    """A captured step and the memory it computes in.

    Attributes:
        replay: Computes it again.
        inputs: Where its inputs go, and its labels.
        loss: Where it leaves the loss.
        gradients: Where it leaves the gradient of each parameter; None for those that have none.
    """

    replay: Callable[[], None]
    inputs: tuple[torch.Tensor, torch.Tensor]
    loss: torch.Tensor
    gradients: Outputs


class StepGraphs:
    """The graphs of one process on one device.

    Args:
        device: Where they compute.
        capture: From a computation to what computes it again, and the outputs that it leaves in the same memory.
    """

    def __init__(self, device: str, capture: Callable[[Run], tuple[Callable[[], None], Outputs]]) -> None:
        self.device, self.capture = torch.device(device), capture
        self.home: list[torch.Tensor] = []
        self.seen: Counter[Hashable] = Counter()
        self.graphs: OrderedDict[Hashable, Captured | None] = OrderedDict()
        self.broken = False

    @contextmanager
    def housing(self, network: nn.Sequential) -> Iterator[None]:
        """Lets a network's tensors live where the graphs expect them; afterwards they are its own again."""
        tensors = _tensors(network)
        if [t.shape for t in tensors] != [t.shape for t in self.home]:  # another width: other graphs
            self.home = [t.data.clone() for t in tensors]
            self.graphs.clear()
            self.seen.clear()
        for tensor, home in zip(tensors, self.home, strict=True):
            home.copy_(tensor.data)
            tensor.data = home
        try:
            yield
        finally:
            for tensor in tensors:
                tensor.data = tensor.data.clone()

    def step(
        self, key: Hashable, network: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor, backward: Backward
    ) -> torch.Tensor:
        """Computes loss and gradients of a step of a network that is housed.

        Args:
            key: What decides which kernels run, besides shapes: which layers are computed, which train, and how.
            network: Its parameters' gradients are None.
            inputs: (n, *shape).
            labels: (n,) or, mixed, (n, 7).
            backward: The step itself.

        Returns:
            The loss.
        """
        key = (key, inputs.shape, inputs.dtype, labels.shape, labels.dtype)
        if key not in self.graphs:
            self.seen[key] += 1
            if self.broken or self.seen[key] < _OCCURRENCES:
                return backward(inputs, labels)
            self.graphs[key] = self._try(network, inputs, labels, backward)
            if len(self.graphs) > _MOST:
                self.graphs.popitem(last=False)
        self.graphs.move_to_end(key)
        captured = self.graphs[key]
        if captured is None:
            return backward(inputs, labels)
        return _replayed(captured, network, inputs, labels)

    def _try(
        self, network: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor, backward: Backward
    ) -> Captured | None:
        """Captures a step and compares it with itself; None, with a warning, where one of the two fails."""
        try:
            with self._unchanged(network):
                captured = self._capture(network, inputs, labels, backward)
            with self._unchanged(network):
                wanted = [backward(inputs, labels), *(gradient.clone() for gradient in _gradients(network))]
            for output in (captured.loss, *filter(torch.is_tensor, captured.gradients)):
                output.fill_(float("nan"))  # what a replay does not write must not pass
            with self._unchanged(network):
                found = [_replayed(captured, network, inputs, labels), *_gradients(network)]
            apart = max(_difference(*pair) for pair in zip(found, wanted, strict=True))
        except (RuntimeError, ValueError) as error:
            # CUDA promises little after a capture that broke off, so there is no second one.
            self.broken = True
            self.graphs.clear()
            warnings.warn(f"training goes on without CUDA graphs: {error}", stacklevel=2)
            return None
        if not apart <= TOLERANCE:
            warnings.warn(f"a training step goes on without a CUDA graph, which differs by {apart:.2g}", stacklevel=2)
            return None
        return captured

    def _capture(
        self, network: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor, backward: Backward
    ) -> Captured:
        own, truth = inputs.clone(), labels.clone()

        def run() -> Outputs:
            _forget_gradients(network)
            loss = backward(own, truth)
            return [loss, *(p.grad for p in network.parameters())]

        replay, (loss, *gradients) = self.capture(run)
        assert loss is not None
        return Captured(replay, (own, truth), loss, gradients)

    @contextmanager
    def _unchanged(self, network: nn.Sequential) -> Iterator[None]:
        """Puts batch-norm statistics, gradients and the random generators back as they were."""
        before, on_host = [buffer.clone() for buffer in network.buffers()], torch.get_rng_state()
        on_gpu = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        try:
            yield
        finally:
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)
            torch.set_rng_state(on_host)
            if on_gpu is not None:
                torch.cuda.set_rng_state(on_gpu, self.device)
            _forget_gradients(network)


_OF_DEVICE: dict[str, StepGraphs] = {}


def graphs_of(runtime: Runtime) -> StepGraphs | None:
    """Returns this process's graphs on a GPU; None on a CPU, and where FER_CUDA_GRAPHS is 0."""
    if not runtime.on_gpu or os.environ.get("FER_CUDA_GRAPHS") == "0":
        return None
    if runtime.device not in _OF_DEVICE:
        _OF_DEVICE[runtime.device] = StepGraphs(runtime.device, Recorder(runtime.device))
    return _OF_DEVICE[runtime.device]


@contextmanager
def capturing_graphs(runtime: Runtime, network: nn.Sequential, wanted: bool) -> Iterator[StepGraphs | None]:
    """Houses a network while it trains and gives the graphs; None where they are not wanted or not to be had."""
    graphs = graphs_of(runtime) if wanted else None
    if graphs is None:
        yield None
        return
    with graphs.housing(network):
        yield graphs


class Recorder:
    """Captures with CUDA on one device."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.aside: torch.cuda.Stream | None = None

    def __call__(self, run: Run) -> tuple[Callable[[], None], Outputs]:
        """Runs it a few times on a stream of its own, as capturing demands, and captures it."""
        with torch.cuda.device(self.device):
            self.aside = self.aside or torch.cuda.Stream()
            current = torch.cuda.current_stream()
            self.aside.wait_stream(current)
            try:
                with torch.cuda.stream(self.aside):
                    for _ in range(_WARM_UP):
                        run()
                current.wait_stream(self.aside)
                graph = torch.cuda.CUDAGraph()
                # Other threads of a worker tell that it lives; they may go on while this one captures.
                with torch.cuda.graph(graph, stream=self.aside, capture_error_mode="thread_local"):
                    outputs = run()
            finally:
                torch.cuda.set_stream(current)
                current.wait_stream(self.aside)
        return graph.replay, outputs


def _replayed(captured: Captured, network: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    for own, given in zip(captured.inputs, (inputs, labels), strict=True):
        own.copy_(given)
    captured.replay()
    for parameter, gradient in zip(network.parameters(), captured.gradients, strict=True):
        parameter.grad = gradient
    return captured.loss


def _tensors(network: nn.Sequential) -> list[torch.Tensor]:
    return [*network.parameters(), *network.buffers()]


def _gradients(network: nn.Sequential) -> list[torch.Tensor]:
    return [p.grad for p in network.parameters() if p.grad is not None]


def _forget_gradients(network: nn.Sequential) -> None:
    for parameter in network.parameters():
        parameter.grad = None


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Returns the distance of two tensors relative to the wanted one's length; infinite where one is not finite."""
    apart = float((found.float() - wanted.float()).norm() / wanted.float().norm().clamp(min=1e-12))
    return apart if apart == apart else float("inf")
