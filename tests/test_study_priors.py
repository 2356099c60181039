"""Guesses and earlier fronts: checked against the space, tried first, each once."""

from dataclasses import replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fer.adaptation.methods import METHODS, named
from fer.architecture import Depth
from fer.config import AdaptationConfig
from fer.errors import InputError
from made_study import made_info, made_trial
from search_spaces import SPACES, full, suggest_adaptation
from study.execution.claim import claim_trial
from study.storage.backend import trials_of
from study.storage.slots import fill_slots
from study.tuning.initial_trials import front_as_initial_trials, initial_trials, parse_initial_trial

BASE = AdaptationConfig(epochs=5.0)


@pytest.mark.parametrize(
    "space, text, params",
    [
        ("card", "strategy=FU,lr=1e-3", {"strategy": "FU", "lr": 1e-3}),
        ("card", "strategy=FT, frozen_layers=3", {"strategy": "FT", "frozen_layers": 3}),
        ("card", "fusion_ratio=0.3", {"strategy": "FU", "fusion_ratio": 0.3}),
        ("card", "fusion_ratio=0.01", {"strategy": "FU", "fusion_ratio": 0.01}),
        ("full", "fusion_ratio=0.01", {"fusion": True, "fusion_ratio": 0.01}),
        ("paper", "strategy=FU-baseline,amount=1.0", {"strategy": "FU-baseline", "amount": 1.0}),
        ("card", "strategy=FU,frozen_layers=2", {"strategy": "FU", "fusion_frozen_layers": 2}),
        ("full", "lr=1e-3", {"optimiser": "sgd", "sgd_lr": 1e-3}),
        ("full", "optimiser=adamw,lr=1e-3", {"optimiser": "adamw", "adamw_lr": 1e-3}),
        ("full", "logits_weight=2", {"fusion": False, "anchor_without_replay": "logits", "logits_weight": 2.0}),
        ("full", "mixup=0.2", {"fusion": False, "anchor_without_replay": "none", "mixup_on": True, "mixup": 0.2}),
        ("full", "mixup_on=true", {"fusion": False, "anchor_without_replay": "none", "mixup_on": True}),
        ("full", "bn=frozen", {"frozen_layers": 0, "bn": "frozen"}),
        ("full", "anchor_without_replay=logits", {"fusion": False, "anchor_without_replay": "logits"}),
        ("full", "anchor=replay", {"fusion": True, "anchor": "replay"}),
        ("full", "replay_weight=0.5", {"fusion": True, "anchor": "replay", "replay_weight": 0.5}),
        ("paper", "strategy=FU,amount=0.5", {"strategy": "FU", "amount": 0.5}),
    ],
)
def test_a_guess_fixes_what_it_names_and_the_space_takes_it(space, text, params):
    initial = parse_initial_trial(text, space, BASE)
    assert initial.params == params and initial.user_attrs["keep"]
    for seed in range(20):  # whatever the sampler draws for the rest
        study = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed))
        study.enqueue_trial(initial.params, initial.user_attrs)
        trial = study.ask()
        suggest_adaptation(space, trial, BASE)
        assert {name: trial.params[name] for name in params} == params


@pytest.mark.parametrize(
    "space, text, rule, value",
    [
        ("card", "lr=5", "lr is a number from 0.0001 to 0.1", "5"),
        ("card", "strategy=FT,frozen_layers=2.5", "a whole number from 1 to 12", "2.5"),
        ("card", "strategy=LWF", "strategy is one of FC, FC", "LWF"),
        ("card", "momentum=0.5", "it asks for strategy, lr", "momentum"),
        ("card", "lr=fast", "lr is a number from 0.0001 to 0.1", "fast"),
        ("card", "lr=nan", "lr is a number from 0.0001 to 0.1", "nan"),
        ("card", "strategy=FT,frozen_layers=13", "a whole number from 1 to 12", "13"),
        ("card", "strategy=FU,replay_weight=2", "names hyperparameters of the space card", "replay_weight"),
        ("card", "strategy=FU,fusion=natural", "it asks for strategy, lr", "fusion"),
        ("card", "strategy=FU,fusion_ratio=natural", "a number from 0.01 to 0.95", "natural"),
        ("card", "strategy=FU,fusion_ratio=0.009", "a number from 0.01 to 0.95", "0.009"),
        ("card", "strategy=FU-baseline", "strategy is one of FC, FC", "FU-baseline"),
        ("card", "strategy=FU-first,lr=0.1", "FU-first is no point of the space card", "strategy=FU-first"),
        ("full", "strategy=FU-first,lr=0.1", "FU-first is no point of the space full", "strategy=FU-first"),
        ("paper", "strategy=FU-first,amount=0.5", "FU-first is no point of the space paper", "strategy=FU-first"),
        ("paper", "strategy=FT", "strategy is one of FC, FC", "FT"),
        ("card", "lr", "NAME=VALUE", "lr"),
        ("card", " , ", "NAME=VALUE", ","),
        ("card", "lr=0.1,lr=0.01", "each hyperparameter once", "lr=0.01"),
        ("full", "logits_weight=2,mixup=0.2", "names hyperparameters of the space full", "mixup"),
        ("full", "strategy=soup,lr=0.1", "soup is no point", "strategy=soup"),
        ("full", "strategy=LWF", "strategy is one of BL", "LWF"),
    ],
)
def test_a_wrong_guess_is_told_with_rule_and_value(space, text, rule, value):
    with pytest.raises(InputError) as caught:
        parse_initial_trial(text, space, BASE)
    assert rule in caught.value.rule and value in str(caught.value.value)


@pytest.mark.parametrize(
    "space, text, fix",
    [
        ("card", "learning_rate=0.1", "Did you mean lr?"),
        ("full", "learning-rate=0.1", "Did you mean lr?"),
        ("card", "fusion_ration=0.1", "Did you mean fusion_ratio?"),
        ("card", "strategy=DER++", "--space full has DER++; study.run --list-strategies"),
        ("paper", "strategy=ewc", "--space full has EWC; study.run --list-strategies"),
        ("card", "strategy=FU+", "Did you mean FU? study.run --list-strategies"),
        ("full", "strategy=DER", "Did you mean DER++? study.run --list-strategies"),
    ],
)
def test_what_a_wrong_guess_was_probably_meant_for_is_said(space, text, fix):
    with pytest.raises(InputError) as caught:
        parse_initial_trial(text, space, BASE)
    assert fix in caught.value.fix


@pytest.mark.parametrize("name", METHODS)
def test_a_named_method_is_exactly_its_point_of_the_full_space(name):
    params = full.method_as_parameters(name, BASE)
    if params is None:
        assert name in ("BL", "surgical", "AdaBN", "WiSE-FT", "LiNeS", "soup")
        return

    trial = optuna.trial.FixedTrial(params)

    assert full.suggest(trial, BASE)[1] == named(name, BASE)
    assert trial.params == params


def test_a_named_method_can_be_changed_by_a_guess():
    params = parse_initial_trial("strategy=L2-SP,lr=0.003", "full", BASE).params
    assert params == full.method_as_parameters("L2-SP", BASE) | {"sgd_lr": 0.003}


def study_of(space: str, *trials: optuna.trial.FrozenTrial) -> optuna.Study:
    study = optuna.create_study(study_name="earlier", directions=["maximize"] * 2)
    study.set_user_attr("study", made_info(options={"space": space}))
    study.add_trials(trials)
    return study


def card_trial(number: int, values: tuple[float, float], **attrs: object) -> optuna.trial.FrozenTrial:
    """A finished trial whose choices are drawn from the space `card`."""
    study = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(number))
    drawn = study.ask()
    suggest_adaptation("card", drawn, BASE)
    trial = made_trial(number, values=values, **attrs)
    trial.params, trial.distributions = drawn.params, drawn.distributions
    return trial


def test_an_earlier_front_is_taken_best_source_first_without_what_is_dominated():
    trials = [card_trial(n, v) for n, v in enumerate([(0.3, 0.9), (0.2, 0.2), (0.9, 0.3), (0.6, 0.6)])]
    from_front = front_as_initial_trials(study_of("card", *trials), "card", BASE)

    assert [initial.params for initial in from_front] == [trials[n].params for n in (2, 3, 0)]
    with pytest.raises(InputError, match="same space"):
        front_as_initial_trials(study_of("full", *trials), "card", BASE)
    with pytest.raises(InputError, match="finished trials"):
        front_as_initial_trials(study_of("card"), "card", BASE)


def test_an_earlier_front_of_a_network_of_another_depth_is_refused():
    shallow = replace(BASE, depth=Depth(blocks=5, head=4, normed=4))
    with pytest.raises(InputError, match="as many blocks; got earlier, of vgg13"):
        front_as_initial_trials(study_of("card", card_trial(0, (0.9, 0.3))), "card", shallow)


def test_an_earlier_front_of_the_space_as_it_was_is_refused():
    older = card_trial(0, (0.9, 0.3))
    older.params = {"strategy": "FU", "lr": 0.01, "fusion_frozen_layers": 0, "fusion": "natural"}
    older.distributions = {
        "strategy": CategoricalDistribution(["FC", "FC+CL", "RE", "FT", "FU"]),
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
        "fusion_frozen_layers": IntDistribution(0, 12),
        "fusion": CategoricalDistribution(["natural", "ratio"]),
    }

    with pytest.raises(InputError, match="same space; got earlier, trial 0, from before the space card changed"):
        front_as_initial_trials(study_of("card", older), "card", BASE)


def test_priors_come_first_and_once_and_the_total_holds():
    study = optuna.create_study(directions=["maximize"] * 2)
    priors = [parse_initial_trial("strategy=RE", "card", BASE), parse_initial_trial("lr=0.1", "card", BASE)]
    for _ in range(2):
        assert fill_slots(study, 8, "card", BASE, priors) == 8

    fixed = [trial.system_attrs["fixed_params"] for trial in trials_of(study)]
    expected = [SPACES["card"].initial_trial(BASE, index).params for index in range(6)]
    assert fixed == [{"strategy": "RE"}, {"lr": 0.1}, *expected]

    fill_slots(study, 11, "card", BASE, [*priors, parse_initial_trial("strategy=FU", "card", BASE)])
    assert [t.system_attrs["fixed_params"] for t in trials_of(study)][8:] == [{"strategy": "FU"}, {}, {}]


def test_priors_of_a_study_that_goes_on_take_the_place_of_free_trials_and_are_claimed_first():
    study = optuna.create_study(study_name="s", directions=["maximize"] * 2)
    fill_slots(study, 8, "card", BASE)
    for _ in range(6):  # the paper's five and a free one
        trial = claim_trial(study, "random", 0)
        suggest_adaptation("card", trial, BASE)
        trial.study.tell(trial, [0.5, 0.5])
    priors = [parse_initial_trial(f"strategy=RE,lr={lr}", "card", BASE) for lr in (0.01, 0.02, 0.03)]
    for _ in range(2):
        assert fill_slots(study, 8, "card", BASE, priors) == 2

    tried = []
    while (trial := claim_trial(study, "random", 0)) is not None:
        suggest_adaptation("card", trial, BASE)
        tried.append(trial.user_attrs.get("prior"))
        trial.study.tell(trial, [0.5, 0.5])
    assert tried == ["--try strategy=RE,lr=0.01", "--try strategy=RE,lr=0.02"]  # for the third there is no room
    assert fill_slots(study, 9, "card", BASE, priors) == 1
    assert claim_trial(study, "random", 0).user_attrs["prior"] == "--try strategy=RE,lr=0.03"


def test_a_named_method_of_an_earlier_front_keeps_its_name_and_its_right_to_end():
    trials = [card_trial(0, (0.9, 0.3), named="RE", keep=True), card_trial(1, (0.3, 0.9))]
    first, second = front_as_initial_trials(study_of("card", *trials), "card", BASE)

    assert first.user_attrs["named"] == "RE" and first.user_attrs["keep"]
    assert set(second.user_attrs) == {"prior"}


def test_options_become_initial_trials():
    assert initial_trials({"space": "card"}, BASE) == []
    (initial,) = initial_trials({"space": "card", "tries": ["strategy=FC"]}, BASE)
    assert initial.params == {"strategy": "FC"}
