"""Agreement with Avalanche 0.6, where it is installed (`pip install --no-deps avalanche-lib==0.6.0`)."""

from types import SimpleNamespace

import pytest
import torch

from fer.training import penalties

regularization = pytest.importorskip("avalanche.training.regularization", exc_type=ImportError)
ewc = pytest.importorskip("avalanche.training.plugins.ewc", exc_type=ImportError)


def test_the_logit_distance_is_lwfs_times_the_temperature_squared():
    logits, reference = torch.randn(2, 9, 7, generator=torch.Generator().manual_seed(1))
    theirs = regularization.LearningWithoutForgetting(alpha=1.0, temperature=2.0)

    found = theirs._distillation_loss(logits, reference, set(range(7)))

    assert float(penalties.logit_distance(logits, reference, 2.0)) == pytest.approx(4 * float(found), rel=1e-5)


@pytest.mark.parametrize("uniform", [False, True])
def test_the_weight_penalty_is_half_of_ewcs(uniform):
    network = torch.nn.Linear(5, 3)
    start = {name: p.detach() + 0.1 for name, p in network.named_parameters()}
    omega = {name: torch.ones_like(p) if uniform else torch.rand_like(p) for name, p in network.named_parameters()}
    plugin = ewc.EWCPlugin(ewc_lambda=1.0)
    data = ewc.ParamData
    plugin.saved_params = {0: {n: data(n, t.shape, init_tensor=t) for n, t in start.items()}}
    plugin.importances = {0: {n: data(n, t.shape, init_tensor=t) for n, t in omega.items()}}
    strategy = SimpleNamespace(
        clock=SimpleNamespace(train_exp_counter=1), device="cpu", model=network, loss=torch.zeros(())
    )
    plugin.before_backward(strategy)

    ours = penalties.weight_penalty(dict(network.named_parameters()), start, None if uniform else omega)

    assert float(ours.detach()) == pytest.approx(0.5 * float(strategy.loss.detach()), rel=1e-6)
