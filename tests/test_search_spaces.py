"""Every space: sound configurations, the named strategies first, the paper's grid exactly."""

import optuna
import pytest

from fer.adaptation import (
    NATURAL,
    PRESETS,
    STRATEGIES,
    AdaptationConfig,
    canonical,
    fingerprint,
    from_knobs,
    knobs,
    named,
)
from fer.errors import InputError
from search_spaces import SPACES, choose, full, paper

BASE = AdaptationConfig()


def ask(study: optuna.Study, space: str, index: int) -> tuple[str, AdaptationConfig]:
    study.enqueue_trial(**SPACES[space].slot(BASE, index))
    return choose(space, study.ask(), BASE)


@pytest.mark.parametrize("space", SPACES)
def test_a_space_suggests_valid_configurations_that_records_can_hold(space):
    study = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed=1))
    for index in range(60):
        strategy, config = ask(study, space, index)
        assert strategy
        assert from_knobs(knobs(config)) == config


@pytest.mark.parametrize("space", SPACES)
def test_the_papers_strategies_come_first_and_exactly(space):
    study = optuna.create_study(directions=["maximize"] * 2)
    seen = dict(ask(study, space, index) for index in range({"paper": 9, "card": 5, "full": 5}[space]))
    assert seen == {name: named(name, BASE) for name in STRATEGIES}


def test_the_full_space_tries_every_named_method_exactly():
    study = optuna.create_study(directions=["maximize"] * 2)
    tried = [index for index in range(100) if full.slot(BASE, index) != {"params": {}}]
    assert dict(ask(study, "full", index) for index in tried) == {name: named(name, BASE) for name in PRESETS}


def test_the_card_reaches_every_strategy():
    study = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed=1))
    seen = [ask(study, "card", index) for index in range(5, 105)]
    assert {strategy for strategy, _ in seen} == {"FC", "FC+CL", "RE", "FT", "FU"}
    fusion = [config.fusion_ratio for strategy, config in seen if strategy == "FU"]
    assert NATURAL in fusion and any(isinstance(ratio, float) for ratio in fusion)
    assert all(config.fusion_ratio == 0.0 for strategy, config in seen if strategy != "FU")


def test_the_papers_grid_is_exact_and_repeats_with_other_seeds():
    study = optuna.create_study(directions=["maximize"] * 2)
    grid = []
    for index in range(18):
        study.enqueue_trial(**paper.slot(BASE, index))
        trial = study.ask()
        strategy, config = choose("paper", trial, BASE)
        grid.append((strategy, config.amount, trial.user_attrs["replicate"]))
    expected = {("BL", 1.0)} | {(s, a) for s in ("FC", "FC+CL", "RE", "FU") for a in (0.5, 1.0)}
    for replicate in (0, 1):
        assert {(s, a) for s, a, r in grid if r == replicate} == expected


def test_the_full_space_tries_every_method_once_of_which_the_paper_s_come_first_and_are_not_stopped():
    slots = [full.slot(BASE, index).get("user_attrs", {}) for index in range(300)]
    tried = [slot["named"] for slot in slots if slot]
    assert tried == list(PRESETS) and tried[: len(STRATEGIES)] == list(STRATEGIES)
    assert [slot["named"] for slot in slots if slot.get("keep")] == list(STRATEGIES)
    assert all(slots[: full.FIRST]) and {"FU+LLRD", "replay+LLRD"} <= set(tried[: full.FIRST])
    gaps = "".join("-x"[bool(slot)] for slot in slots[full.FIRST :]).rstrip("-").split("x")[:-1]
    assert set(gaps) == {"-" * full.FREE} and len(gaps) == len(PRESETS) - full.FIRST


def test_equal_adaptations_have_equal_fingerprints():
    one, other = (named("BL", AdaptationConfig(lr=lr)) for lr in (0.1, 0.2))
    assert fingerprint(one) == fingerprint(other)
    assert canonical(named("RE", BASE)) == named("RE", BASE)
    assert fingerprint(named("FC", BASE)) != fingerprint(named("RE", BASE))


@pytest.mark.parametrize(
    "knob",
    [
        {"init": "pretrained"}, {"frozen_layers": 14}, {"frozen_layers": -1}, {"lr": -1}, {"lr": float("nan")},
        {"fusion_ratio": 1.0}, {"fusion_ratio": "half"}, {"amount": 0}, {"amount": 1.5}, {"weight_decay": -1},
        {"momentum": 1}, {"batch_size": 0}, {"epochs": 0}, {"label_smoothing": 1}, {"source_views": 99},
        {"init": "scratch", "frozen_layers": 3},
    ],
)  # fmt: skip
def test_a_knob_out_of_range_is_named(knob):
    with pytest.raises(InputError, match="|".join(knob) + "|from scratch"):
        AdaptationConfig(**knob)


def test_an_unknown_strategy_is_named():
    with pytest.raises(InputError, match=r"BL, FC, .*; got LWF"):
        named("LWF", BASE)
