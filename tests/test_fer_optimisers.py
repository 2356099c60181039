"""Optimisers are torch's and import no compiler; a GPU's cache of features gives the same training."""

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch

from commands import ROOT
from conftest import TINY
from fer.adaptation.methods import named
from fer.adaptation.procedure import adapt
from fer.config import AdaptationConfig
from fer.features import sources
from fer.features.sources import ImageSource
from fer.model.vgg import build
from fer.runtime import Runtime
from fer.training.optimisers import make_optimiser
from recorder import Recorder

OPTIMISERS = """
import sys, torch
from fer.config import AdaptationConfig
from fer.model.vgg import blueprint, build
from fer.training.optimisers import make_optimiser

blueprint(1 / 16)
for name, plain in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
    network = build(1 / 16)
    optimiser = make_optimiser(network, AdaptationConfig(optimiser=name))
    network(torch.randn(8, 1, 48, 48)).sum().backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    assert isinstance(optimiser, plain) and all(p.requires_grad for p in network.parameters())
print("torch._dynamo" in sys.modules)
"""


def test_neither_a_networks_blueprint_nor_its_optimiser_imports_the_compiler():
    done = subprocess.run([sys.executable, "-c", OPTIMISERS], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("name, plain", [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimisers_are_torchs(name, plain):
    config = AdaptationConfig(optimiser=name, weight_decay=0.01)
    networks = [build(1 / 16, seed=1) for _ in range(2)]
    settings = {"momentum": config.momentum, "nesterov": True} if name == "sgd" else {}
    wanted = plain(networks[1].parameters(), lr=config.lr, weight_decay=0.01, fused=True, **settings)
    found = make_optimiser(networks[0], config)
    for step in range(3):
        for network, optimiser in zip(networks, (found, wanted), strict=True):
            torch.manual_seed(step)
            optimiser.zero_grad(set_to_none=True)
            network(torch.randn(8, 1, 48, 48)).square().sum().backward()
            optimiser.step()

    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["FC", "RE", "FU"])
def test_what_a_gpu_holds_gives_the_same_training(setting, monkeypatch, name):
    config = named(name, TINY)
    wanted = adapt(setting, config, 5)
    monkeypatch.setattr(sources, "_residents", OrderedDict())  # what the CPU drew is not what is tried
    monkeypatch.setattr(Runtime, "on_gpu", True)
    monkeypatch.setenv("FER_CUDA_GRAPHS", "0")
    draw = Recorder(ImageSource._draw)
    with monkeypatch.context() as patch:
        patch.setattr(ImageSource, "_draw", draw)
        found = adapt(setting, config, 5)

    assert [row["loss"] for row in found.curve] == [row["loss"] for row in wanted.curve]
    np.testing.assert_array_equal(found.logits["source"], wanted.logits["source"])
    assert draw.count <= 6  # training of both domains, both validation splits: never once per step
