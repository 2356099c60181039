"""The bookkeeping of CUDA graphs, with a substitute that computes again into the same memory, as a graph does."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TINY
from fer.adaptation import member
from fer.adaptation.methods import named
from fer.adaptation.procedure import adapt
from fer.model.vgg import build
from fer.runtime import Runtime
from fer.training import cuda_graphs
from fer.training.cuda_graphs import StepGraphs


class ReplayedOnCpu:
    """Captures as CUDA does, seen from outside: it computes with the memory it was captured with, whoever has it now.

    Args:
        wrong: What every replay adds to the loss.
    """

    def __init__(self, wrong=0.0):
        self.captures = 0
        self.replays = 0
        self.wrong = wrong
        self.network = None

    def __call__(self, run):
        self.captures += 1
        run()  # warms up, and leaves traces that the caller has to remove
        outputs, network = run(), self.network
        memory = [t.data for t in tensors(network)]
        trained = [p.requires_grad for p in network.parameters()]
        training = [module.training for module in network.modules()]

        def replay():
            self.replays += 1

            # The network becomes what it was when it was captured: its memory, and what of it trains.
            current = [t.data for t in tensors(network)]
            for tensor, there in zip(tensors(network), memory, strict=True):
                tensor.data = there
            for parameter, flag in zip(network.parameters(), trained, strict=True):
                parameter.requires_grad_(flag)
            for module, flag in zip(network.modules(), training, strict=True):
                module.training = flag

            for output, value in zip(outputs, run(), strict=True):
                if output is not None:
                    output.copy_(value)
            outputs[0].add_(self.wrong)

            for tensor, there in zip(tensors(network), current, strict=True):
                tensor.data = there

        return replay, outputs


def tensors(network):
    return [*network.parameters(), *network.buffers()]


def use(monkeypatch, capture):
    """Lets the engine train through graphs; returns them."""
    graphs = StepGraphs("cpu", capture)

    @contextmanager
    def graphed(runtime, network, wanted):
        if not wanted:
            yield None
            return
        with graphs.housing(network):
            capture.network = network
            yield graphs

    monkeypatch.setattr(member, "capturing_graphs", graphed)
    return graphs


def trained(setting, name="RE", seed=5, **changes):
    """Returns the losses and the weights of an adaptation."""
    config = replace(named(name, replace(TINY, epochs=4.0)), **changes)
    adapted = adapt(setting, config, seed)
    return [row["loss"] for row in adapted.curve], adapted.network.state_dict()


def check_same(results, wanted, tolerance=0.0):
    losses, weights = results
    wanted_losses, wanted_weights = wanted
    np.testing.assert_allclose(losses, wanted_losses, rtol=10 * tolerance)
    for name, tensor in wanted_weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=10 * tolerance)


CASES = {
    "FC": {}, "FC+CL": {}, "RE": {}, "FU": {}, "AdamW": {"optimiser": "adamw", "lr": 0.001}, "mixup": {"mixup": 0.2},
    "head first": {"head_first": 0.5}, "norms frozen": {"bn": "frozen"}, "averaging": {"averaging": 0.2},
    "layers' rates": {"layer_decay": 0.7}, "smoothing": {"label_smoothing": 0.1, "lr": 1e-4},
    "surgical": {"frozen_from": 4, "frozen_layers": 9},
    "sharpness": {"sam": 0.05}, "anchor": {"anchor": "logits", "anchor_weight": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_graphs_change_no_bit_of_a_training(setting, monkeypatch, case):
    name = case if case in ("FC", "FC+CL", "RE", "FU") else "RE"
    wanted = trained(setting, name, **CASES[case])
    capture = ReplayedOnCpu()
    use(monkeypatch, capture)

    results = trained(setting, name, **CASES[case])

    check_same(results, wanted, 1e-6 if case == "smoothing" else 0)
    assert (capture.replays > 2) == (case not in ("sharpness", "anchor"))  # these two go on without


def test_later_trials_use_the_graphs_of_earlier_ones(setting, monkeypatch):
    alone = {name: trained(setting, name, seed) for seed, name in enumerate(("RE", "FC", "RE"))}
    capture = ReplayedOnCpu()
    graphs = use(monkeypatch, capture)

    losses, weights = trained(setting, "RE", 0)
    weights_then = {name: tensor.clone() for name, tensor in weights.items()}
    trained(setting, "FC", 1)
    check_same(trained(setting, "RE", 2), alone["RE"])

    assert capture.captures == len(graphs.graphs) == 2
    check_same((losses, weights), (losses, weights_then))  # a network that left its home is not trained on


def test_layers_of_one_shape_have_graphs_of_their_own_while_the_head_trains_first(setting, monkeypatch):
    wanted = [trained(setting, "RE", head_first=0.5, frozen_layers=frozen) for frozen in (8, 9)]
    use(monkeypatch, ReplayedOnCpu())
    for frozen, alone in zip((8, 9), wanted, strict=True):
        check_same(trained(setting, "RE", head_first=0.5, frozen_layers=frozen), alone)


def test_strengths_of_smoothing_share_a_graph_and_old_graphs_go(setting, monkeypatch):
    capture = ReplayedOnCpu()
    graphs = use(monkeypatch, capture)

    for strength in (0.05, 0.1):
        trained(setting, label_smoothing=strength)
    assert capture.captures == 1

    for frozen in range(1, 9):
        trained(setting, frozen_layers=frozen)
    assert len(graphs.graphs) == cuda_graphs._MOST


def test_a_replay_that_differs_is_not_used(setting, monkeypatch):
    wanted = trained(setting)
    capture = ReplayedOnCpu(wrong=1.0)
    use(monkeypatch, capture)
    with pytest.warns(match="goes on without a CUDA graph, which differs by"):
        check_same(trained(setting), wanted)

    assert capture.replays == 1


@pytest.mark.parametrize("error", [RuntimeError("not permitted when stream is capturing"), torch.OutOfMemoryError("")])
def test_where_capturing_fails_training_goes_on(setting, monkeypatch, error):
    wanted = trained(setting)

    class Failing:
        def __call__(self, run):
            run()
            raise error

    graphs = use(monkeypatch, Failing())

    with pytest.warns(match="goes on without CUDA graphs"):
        check_same(trained(setting), wanted)
    assert graphs.broken
    check_same(trained(setting), wanted)


@pytest.mark.parametrize("draws", [False, True])
def test_a_step_that_draws_random_numbers_on_the_cpu_goes_on_without_a_graph(recwarn, draws):
    capture = ReplayedOnCpu()
    graphs = StepGraphs("cpu", capture)
    graphs.has_own_generator = True  # as on a GPU, whose graphs draw anew there alone
    network = capture.network = torch.nn.Sequential(torch.nn.Linear(3, 2))

    def backward(inputs, labels):
        scale = torch.rand(()) if draws else torch.tensor(0.5)
        loss = (network(inputs).square().sum(1) * scale).mean()
        loss.backward()
        return loss

    losses = []
    with graphs.housing(network):
        for _ in range(6):
            network.zero_grad()
            losses.append(float(graphs.step("kind", network, torch.ones(4, 3), torch.zeros(4), backward)))

    assert len(set(losses)) == (6 if draws else 1)
    assert capture.captures == (0 if draws else 1)
    assert [str(warning.message) for warning in recwarn if "CUDA graph" in str(warning.message)] == (
        ["a training step goes on without a CUDA graph: it draws on the CPU"] if draws else []
    )


def test_a_network_of_another_width_gets_graphs_of_its_own(setting, monkeypatch):
    graphs = StepGraphs("cpu", ReplayedOnCpu())
    for width in (1 / 16, 1 / 8):
        graphs.graphs["earlier"] = None
        network = build(width)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

        with graphs.housing(network):
            assert not graphs.graphs
            check_same(([], network.state_dict()), ([], before))
        check_same(([], network.state_dict()), ([], before))


def test_a_cpu_has_no_graphs_and_a_gpu_none_when_told_so(monkeypatch):
    assert cuda_graphs.graphs_of(Runtime("cpu")) is None
    assert cuda_graphs.graphs_of(Runtime("cuda")) is cuda_graphs.graphs_of(Runtime("cuda"))

    monkeypatch.setenv("FER_CUDA_GRAPHS", "0")
    assert cuda_graphs.graphs_of(Runtime("cuda")) is None
