"""Every space: sound configurations, the named strategies first, the paper's grid exactly."""

from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from fer.adaptation.methods import HALF, METHODS, ON_REQUEST, STRATEGIES, named, strategies_of
from fer.architecture import Depth
from fer.config import NATURAL, AdaptationConfig, canonical, fingerprint, from_flat, to_flat
from fer.errors import InputError
from search_spaces import SPACES, full, named_in, paper, suggest_adaptation
from search_spaces.initial_trials import InitialTrial
from study.tuning.compatibility import fits
from study.tuning.initial_trials import parse_initial_trial

BASE = AdaptationConfig()


def ask(study: optuna.Study, space: str, index: int) -> tuple[str, AdaptationConfig]:
    SPACES[space].initial_trial(BASE, index).enqueue(study, slot=index)
    return suggest_adaptation(space, study.ask(), BASE)


@pytest.mark.parametrize("space", SPACES)
def test_a_space_suggests_valid_configurations_that_records_can_hold(space):
    study = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed=1))
    for index in range(60):
        strategy, config = ask(study, space, index)
        assert strategy
        assert from_flat(to_flat(config)) == config


@pytest.mark.parametrize("space", SPACES)
def test_the_papers_strategies_come_first_and_exactly(space):
    study = optuna.create_study(directions=["maximize"] * 2)
    seen = dict(ask(study, space, index) for index in range({"paper": 9, "card": 5, "full": 5}[space]))
    assert seen == {name: named_in(space, name, BASE) for name in STRATEGIES}


FROM_SCRATCH = {"init": "fused", "fused_share": NATURAL, "fusion_ratio": NATURAL, "lr": 0.0}


@pytest.mark.parametrize(
    ("space", "settings"),
    [("card", {"fusion_ratio": HALF}), ("full", {"fusion_ratio": HALF}), ("paper", FROM_SCRATCH)],
)
def test_fusion_draws_one_half_from_the_source_and_the_papers_own_is_from_scratch_in_its_space_alone(space, settings):
    assert named_in(space, "FU", BASE) == replace(BASE, **settings)
    others = [named_in(space, name, BASE) for name in STRATEGIES if name != "FU"]
    assert others == [named(name, BASE) for name in STRATEGIES if name != "FU"]


@pytest.mark.parametrize("space", ["card", "full"])
def test_samplers_are_shown_the_fusion_ratio_that_fusion_has(space):
    study = optuna.create_study(directions=["maximize"] * 2)
    slots = [SPACES[space].initial_trial(BASE, index) for index in range(5)]
    (fusion,) = [slot for slot in slots if slot.params.get("fusion_ratio") is not None]
    fusion.enqueue(study, slot=0)
    trial = study.ask()

    strategy, config = suggest_adaptation(space, trial, BASE)

    assert strategy == "FU" and config == named("FU", BASE)
    assert trial.params == fusion.params and trial.params["fusion_ratio"] == HALF


@pytest.mark.parametrize("space", ["card", "full"])
def test_the_fusion_ratio_is_searched_on_a_log_scale_from_one_in_a_hundred(space):
    study = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = []
    for _ in range(300):
        trial = study.ask()
        suggest_adaptation(space, trial, BASE)
        drawn.append(trial)
    having = [trial for trial in drawn if "fusion_ratio" in trial.params]
    assert {trial.distributions["fusion_ratio"] for trial in having} == {FloatDistribution(0.01, 0.95, log=True)}

    below_a_tenth = [trial for trial in having if trial.params["fusion_ratio"] < 0.1]
    assert len(below_a_tenth) / len(having) == pytest.approx(np.log(10) / np.log(95), abs=0.12)


@pytest.mark.parametrize("amount", paper.AMOUNTS)
def test_the_papers_space_reaches_fusion_from_the_baseline_with_the_budget_of_all_others(amount):
    study = optuna.create_study(directions=["maximize"] * 2)
    study.enqueue_trial({"strategy": paper.FROM_BASELINE, "amount": amount})

    strategy, config = suggest_adaptation("paper", study.ask(), BASE)

    assert strategy == "FU-baseline"
    assert config == replace(BASE, amount=amount, fusion_ratio=NATURAL)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ON_REQUEST)
def test_a_method_on_request_is_tried_in_every_space_where_it_is_asked_for_and_nowhere_else(space, name):
    enqueued = [SPACES[space].initial_trial(BASE, index) for index in range(300)]
    assert name not in {trial.user_attrs.get("named") for trial in enqueued}
    assert name not in {trial.params.get("strategy") for trial in enqueued}

    study = optuna.create_study(directions=["maximize"] * 2)
    initial = parse_initial_trial(f"strategy={name}", space, BASE)
    initial.enqueue(study, slot=0)

    assert initial.user_attrs["keep"] and initial.params == {}
    assert suggest_adaptation(space, study.ask(), BASE) == (name, named(name, BASE))


def test_fusion_from_the_first_step_draws_a_tenth_of_its_samples_from_the_target_and_adapts_no_further():
    config = named("FU-first", BASE)
    assert (config.init, config.fused_share, config.trains) == ("fused", 0.1, False)


@pytest.mark.parametrize(
    ("config", "passes"),
    [
        (AdaptationConfig(epochs=4), 4), (AdaptationConfig(epochs=4, amount=0.5), 8),
        (AdaptationConfig(epochs=4, fusion_ratio=0.5), 2), (AdaptationConfig(epochs=4, lr=0.0), 0),
        (AdaptationConfig(epochs=4, frozen_layers=13), 0),
        # The paper's space: one pass over both training sets together, 900 and 100 images, or 50 of these.
        (AdaptationConfig(epochs=10, fusion_ratio=NATURAL), 1),
        (AdaptationConfig(epochs=9.5, fusion_ratio=NATURAL, amount=0.5), 1),
        (AdaptationConfig(epochs=0.1, fusion_ratio=NATURAL), 0.01),
    ],
)  # fmt: skip
def test_how_often_an_adaptation_draws_each_target_image(config, passes):
    assert config.target_passes(900, 100) == pytest.approx(passes)


def test_the_full_space_tries_every_named_method_exactly():
    study = optuna.create_study(directions=["maximize"] * 2)
    tried = [index for index in range(100) if full.initial_trial(BASE, index) != InitialTrial()]
    assert dict(ask(study, "full", index) for index in tried) == {name: named(name, BASE) for name in METHODS}


def test_the_card_reaches_every_strategy():
    study = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed=1))
    seen = [ask(study, "card", index) for index in range(5, 105)]
    assert {strategy for strategy, _ in seen} == {"FC", "FC+CL", "RE", "FT", "FU"}

    fusion = [config.fusion_ratio for strategy, config in seen if strategy == "FU"]
    assert fusion and all(0.01 <= ratio <= 0.95 for ratio in fusion)
    assert all(config.fusion_ratio == 0.0 for strategy, config in seen if strategy != "FU")


def test_the_papers_grid_is_exact_and_repeats_with_other_seeds():
    study = optuna.create_study(directions=["maximize"] * 2)
    grid = []
    for index in range(18):
        paper.initial_trial(BASE, index).enqueue(study, slot=index)
        trial = study.ask()
        strategy, config = suggest_adaptation("paper", trial, BASE)
        grid.append((strategy, config.amount, trial.user_attrs["replicate"]))
    expected = {("BL", 1.0)} | {(s, a) for s in ("FC", "FC+CL", "RE", "FU") for a in (0.5, 1.0)}

    for replicate in (0, 1):
        assert {(s, a) for s, a, r in grid if r == replicate} == expected


@pytest.mark.parametrize("space", ["card", "full"])
@pytest.mark.parametrize("head", [1, 2])
def test_no_two_of_the_papers_strategies_that_come_first_are_the_same_adaptation(space, head):
    base = replace(BASE, depth=Depth(6, head, head))
    study = optuna.create_study(directions=["maximize"] * 2)
    tried = []
    for index in range(5):
        initial = SPACES[space].initial_trial(base, index)
        if initial != InitialTrial():
            initial.enqueue(study, slot=index)
            tried.append(suggest_adaptation(space, study.ask(), base))

    assert [strategy for strategy, _ in tried] == list(strategies_of(base.depth))
    assert ("FC+CL" in dict(tried)) == (head > 1)
    assert len({fingerprint(config) for _, config in tried}) == len(tried) == (4 if head == 1 else 5)


def test_the_full_space_tries_every_method_once_of_which_the_paper_s_come_first_and_are_not_stopped():
    slots = [full.initial_trial(BASE, index).user_attrs for index in range(300)]
    tried = [slot["named"] for slot in slots if slot]
    assert tried == list(METHODS) and tried[: len(STRATEGIES)] == list(STRATEGIES)
    assert [slot["named"] for slot in slots if slot.get("keep")] == list(STRATEGIES)
    assert all(slots[: full.FIRST]) and {"FU+LLRD", "replay+LLRD"} <= set(tried[: full.FIRST])

    gaps = "".join("-x"[bool(slot)] for slot in slots[full.FIRST :]).rstrip("-").split("x")[:-1]
    assert set(gaps) == {"-" * full.FREE} and len(gaps) == len(METHODS) - full.FIRST


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


@pytest.mark.parametrize("space", ["card", "full"])
@pytest.mark.parametrize("blocks", [2, 3, 5, 39])
def test_named_trials_lie_in_the_space_whatever_the_networks_depth(blocks, space):
    base = replace(BASE, depth=Depth(blocks, blocks - 1, 0))
    study = optuna.create_study(directions=["maximize"] * 2)
    for index in range(full.FIRST + (full.FREE + 1) * len(METHODS)):
        SPACES[space].initial_trial(base, index).enqueue(study, slot=index)

    assert [trial.number for trial in study.trials if not fits(trial, space, base)] == []


@pytest.mark.parametrize(
    "depth, left_out",
    [
        (Depth(), []),
        (Depth(blocks=10, head=9, normed=9), ["LP"]),
        (Depth(blocks=14, head=13, normed=0), ["LP", "AdaBN"]),
    ],
)
def test_no_method_is_tried_twice_under_two_names_whatever_the_network(depth, left_out):
    base = replace(BASE, depth=depth)
    trials = [full.initial_trial(base, index) for index in range(full.FIRST + (full.FREE + 1) * len(METHODS))]
    tried = [trial.user_attrs["named"] for trial in trials if "named" in trial.user_attrs]

    assert [name for name in METHODS if name not in tried] == left_out
