"""Training steps as CUDA graphs: captured once per shape, replayed by every step of every trial of that shape.

A step of a small network is hundreds of short kernels, and a GPU waits for Python between them. A graph launches them
all at once, but computes with fixed memory. Therefore, while a network trains,

- its parameters and buffers lie in memory that all graphs of a process share (`StepGraphs.housing`),
- each step's inputs and labels are copied to where the graph reads them,
- the parameters' gradients are the tensors that the graph writes; the optimiser works as without graphs.

A step is captured when its shape comes for the third time. Each captured step is compared with the same step without a
graph; where they differ, steps of that shape go on without one. So do steps that draw random numbers on the CPU, which
a graph would repeat. After a capture that failed, all steps do.
"""

import math
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

_WARM_UP = 3  # runs of a step before it is captured
_OCCURRENCES = 3  # of a shape, until it is captured
_MOST = 6  # graphs of a process; each has memory for its activations and gradients


@dataclass(frozen=True)
class Captured:
    """A captured step and the memory it computes in.

    Attributes:
        replay: Computes it again.
        inputs: Where it reads its inputs.
        labels: Where it reads its labels.
        loss: Where it writes the loss.
        gradients: Where it writes the gradient of each parameter; None for parameters without gradient.
    """

    replay: Callable[[], None]
    inputs: torch.Tensor
    labels: torch.Tensor
    loss: torch.Tensor
    gradients: Outputs


class StepGraphs:
    """The graphs of one process on one device.

    Args:
        device: Where they compute.
        capture: From a computation to a function that computes it again, and the outputs, which that function writes
            to the same memory.

    Attributes:
        home: The memory of the parameters and buffers of the network that trains.
        seen: How often each kind of step came.
        graphs: By kind of step, the last used last; None for kinds that go on without a graph.
        broken: Whether a capture failed.
        has_own_generator: Whether graphs draw new random numbers from a generator of the device, and the CPU's are
            fixed in them.
        drawing: The kinds of steps that drew random numbers on the CPU.
    """

    def __init__(self, device: str, capture: Callable[[Run], tuple[Callable[[], None], Outputs]]) -> None:
        self.device = torch.device(device)
        self.capture = capture
        self.home: list[torch.Tensor] = []
        self.seen: Counter[Hashable] = Counter()
        self.graphs: OrderedDict[Hashable, Captured | None] = OrderedDict()
        self.broken = False
        self.has_own_generator = self.device.type != "cpu"
        self.drawing: set[Hashable] = set()

    @contextmanager
    def housing(self, network: nn.Sequential) -> Iterator[None]:
        """Moves a network's tensors to where the graphs expect them; afterwards the network has memory of its own."""
        tensors = _parameters_and_buffers(network)

        # A network of another width needs other memory, and so other graphs.
        if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in self.home]:
            self.home = [tensor.data.clone() for tensor in tensors]
            self.graphs.clear()
            self.seen.clear()
            self.drawing.clear()

        for tensor, home in zip(tensors, self.home, strict=True):
            home.copy_(tensor.data)
            tensor.data = home
        try:
            yield
        finally:
            for tensor in tensors:
                tensor.data = tensor.data.clone()

    def step(
        self, kind: Hashable, network: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor, backward: Backward
    ) -> torch.Tensor:
        """Computes loss and gradients of a step of a network in `housing`.

        Args:
            kind: What decides, besides shapes, which kernels run: which blocks are computed, which train, and how.
            network: Its parameters' gradients are None.
            inputs: (n, *shape).
            labels: (n,) or, mixed, (n, classes).
            backward: The step itself.

        Returns:
            The loss.
        """
        key = (kind, inputs.shape, inputs.dtype, labels.shape, labels.dtype)

        # A kind of step without a graph is captured when it has come often enough; until then it runs as usual.
        if key not in self.graphs:
            self.seen[key] += 1
            if self.broken or self.seen[key] < _OCCURRENCES:
                return self._watch(key, inputs, labels, backward)
            if key in self.drawing:
                warnings.warn("a training step goes on without a CUDA graph: it draws on the CPU", stacklevel=2)
                self.graphs[key] = None
            else:
                self.graphs[key] = self._capture_and_compare(network, inputs, labels, backward)
            if len(self.graphs) > _MOST:
                self.graphs.popitem(last=False)

        # A kind whose capture failed or gave other numbers has None, and always runs as usual.
        self.graphs.move_to_end(key)
        captured = self.graphs[key]
        if captured is None:
            return backward(inputs, labels)
        return _replay(captured, network, inputs, labels)

    def _watch(self, key: Hashable, inputs: torch.Tensor, labels: torch.Tensor, backward: Backward) -> torch.Tensor:
        """Computes a step without a graph, and notes whether it draws random numbers on the CPU."""
        state_before = torch.get_rng_state()
        loss = backward(inputs, labels)
        if self.has_own_generator and not torch.equal(state_before, torch.get_rng_state()):
            self.drawing.add(key)
        return loss

    def _capture_and_compare(
        self, network: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor, backward: Backward
    ) -> Captured | None:
        """Captures a step and compares it with the step itself; returns None, with a warning, if either fails."""
        try:
            with self._unchanged(network):
                captured = self._capture(network, inputs, labels, backward)
            with self._unchanged(network):
                loss = backward(inputs, labels)
                wanted = [loss, *(gradient.clone() for gradient in _gradients(network))]

            # An output that the replay does not write must not pass for one that it does.
            for output in (captured.loss, *captured.gradients):
                if output is not None:
                    output.fill_(math.nan)
            with self._unchanged(network):
                replayed_loss = _replay(captured, network, inputs, labels)
                replayed = [replayed_loss, *_gradients(network)]
            difference = max(_relative_difference(*pair) for pair in zip(replayed, wanted, strict=True))
        except (RuntimeError, ValueError) as error:
            # CUDA promises little after a capture that broke off, so there is no second one.
            self.broken = True
            self.graphs.clear()
            warnings.warn(f"training goes on without CUDA graphs: {error}", stacklevel=2)
            return None
        if difference > TOLERANCE:
            message = f"a training step goes on without a CUDA graph, which differs by {difference:.2g}"
            warnings.warn(message, stacklevel=2)
            return None
        return captured

    def _capture(
        self, network: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor, backward: Backward
    ) -> Captured:
        """Captures a step, which computes with copies of these inputs and labels."""
        graph_inputs = inputs.clone()
        graph_labels = labels.clone()

        def run() -> Outputs:
            _forget_gradients(network)
            loss = backward(graph_inputs, graph_labels)
            return [loss, *(parameter.grad for parameter in network.parameters())]

        replay, (loss, *gradients) = self.capture(run)
        assert loss is not None
        return Captured(replay, graph_inputs, graph_labels, loss, gradients)

    @contextmanager
    def _unchanged(self, network: nn.Sequential) -> Iterator[None]:
        """Restores batch-norm statistics and random generators after the block, and removes gradients."""
        buffers = [buffer.clone() for buffer in network.buffers()]
        cpu_state = torch.get_rng_state()
        gpu_state = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        try:
            yield
        finally:
            for buffer, value in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(value)
            torch.set_rng_state(cpu_state)
            if gpu_state is not None:
                torch.cuda.set_rng_state(gpu_state, self.device)
            _forget_gradients(network)


_OF_DEVICE: dict[str, StepGraphs] = {}


def graphs_of(runtime: Runtime) -> StepGraphs | None:
    """Returns this process's graphs on a GPU; None on a CPU, and where the environment has FER_CUDA_GRAPHS=0."""
    if not runtime.on_gpu or os.environ.get("FER_CUDA_GRAPHS") == "0":
        return None
    if runtime.device not in _OF_DEVICE:
        _OF_DEVICE[runtime.device] = StepGraphs(runtime.device, CudaCapture(runtime.device))
    return _OF_DEVICE[runtime.device]


@contextmanager
def capturing_graphs(runtime: Runtime, network: nn.Sequential, wanted: bool) -> Iterator[StepGraphs | None]:
    """Gives the graphs through which a network trains in the block, or None.

    Args:
        runtime: Its device must be a GPU, see `graphs_of`.
        network: It is in the graphs' `housing` during the block.
        wanted: Whether the training's steps can be captured.
    """
    graphs = graphs_of(runtime) if wanted else None
    if graphs is None:
        yield None
        return
    with graphs.housing(network):
        yield graphs


class CudaCapture:
    """Captures computations on one device as CUDA graphs; the `capture` of `StepGraphs`."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.side_stream: torch.cuda.Stream | None = None

    def __call__(self, run: Run) -> tuple[Callable[[], None], Outputs]:
        """Captures a computation after a few runs, on a stream of its own, as CUDA demands.

        Returns:
            A function that computes it again, and the outputs that this function writes.
        """
        with torch.cuda.device(self.device):
            if self.side_stream is None:
                self.side_stream = torch.cuda.Stream()
            current = torch.cuda.current_stream()
            self.side_stream.wait_stream(current)
            try:
                with torch.cuda.stream(self.side_stream):
                    for _ in range(_WARM_UP):
                        run()
                current.wait_stream(self.side_stream)
                graph = torch.cuda.CUDAGraph()
                # Only this thread is checked while capturing: the worker's heartbeat goes on in another one.
                with torch.cuda.graph(graph, stream=self.side_stream, capture_error_mode="thread_local"):
                    outputs = run()
            finally:
                torch.cuda.set_stream(current)
                current.wait_stream(self.side_stream)
        return graph.replay, outputs


def _replay(captured: Captured, network: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Computes a captured step for these inputs and labels; leaves its gradients, and returns its loss."""
    captured.inputs.copy_(inputs)
    captured.labels.copy_(labels)
    captured.replay()
    for parameter, gradient in zip(network.parameters(), captured.gradients, strict=True):
        parameter.grad = gradient
    return captured.loss


def _parameters_and_buffers(network: nn.Sequential) -> list[torch.Tensor]:
    """Returns the tensors of a network."""
    return [*network.parameters(), *network.buffers()]


def _gradients(network: nn.Sequential) -> list[torch.Tensor]:
    """Returns the gradients of the parameters that have one."""
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def _forget_gradients(network: nn.Sequential) -> None:
    """Leaves all parameters without gradient."""
    for parameter in network.parameters():
        parameter.grad = None


def _relative_difference(replayed: torch.Tensor, wanted: torch.Tensor) -> float:
    """Returns the distance of two tensors, relative to the length of the wanted one; infinite if one is not finite."""
    distance = (replayed.float() - wanted.float()).norm()
    length = wanted.float().norm().clamp(min=1e-12)
    difference = float(distance / length)
    return math.inf if math.isnan(difference) else difference
