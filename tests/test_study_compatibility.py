"""A study goes on in the space its trials were drawn from, and is refused in any other, whatever had changed."""

from dataclasses import asdict, replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from fer.architecture import VGG13, Depth
from fer.config import AdaptationConfig, to_flat
from fer.errors import InputError
from made_study import made_info
from search_spaces import SPACES, paper, suggest_adaptation
from study.confirmation.plan import readable_configs
from study.options import StudyOptions
from study.pipeline.resume import find_record
from study.record import StudyRecord
from study.storage.backend import open_storage, trials_of
from study.storage.slots import discard_trial, fill_slots
from study.tuning.compatibility import fits
from study.tuning.initial_trials import parse_initial_trial

BASE = AdaptationConfig(epochs=5.0)
CARD = CategoricalDistribution(["FC", "FC+CL", "RE", "FT", "FU"])
RATE = FloatDistribution(1e-4, 1e-1, log=True)
AMOUNT = CategoricalDistribution([0.5, 1.0])


def new_study(storage=None) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=1)
    return optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2, sampler=sampler)


def ended(chosen: dict) -> optuna.trial.FrozenTrial:
    """A finished trial; per hyperparameter its value and what that was chosen from."""
    params = {name: value for name, (value, _) in chosen.items()}
    distributions = {name: distribution for name, (_, distribution) in chosen.items()}
    return create_trial(values=[0.5, 0.5], params=params, distributions=distributions)


@pytest.mark.parametrize("space", SPACES)
def test_whatever_a_space_draws_fits_it_waiting_running_and_ended(space):
    study = new_study()
    fill_slots(study, 60, space, BASE)
    for state in (TrialState.COMPLETE, TrialState.FAIL, None):
        for _ in range(15):
            trial = study.ask()
            suggest_adaptation(space, trial, BASE)
            if state is not None:
                study.tell(trial, [0.5, 0.5] if state == TrialState.COMPLETE else None, state)

    assert all(fits(trial, space, BASE) for trial in trials_of(study))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("asked", range(1, 12))
def test_a_trial_that_died_while_it_was_asked_fits(space, asked):
    study = new_study()
    whole = study.ask()
    suggest_adaptation(space, whole, BASE)
    study.enqueue_trial(whole.params)
    part = study.ask()
    for name in list(whole.params)[:asked]:
        part._suggest(name, whole.distributions[name])

    discard_trial(study, trials_of(study)[part.number], "its worker died", TrialState.RUNNING)

    assert all(fits(trial, space, BASE) for trial in trials_of(study))


@pytest.mark.parametrize(
    ("space", "text"),
    [("card", "fusion_ratio=0.3"), ("card", "lr=0.01"), ("full", "bn=frozen"), ("full", "replay_weight=0.5"),
     ("full", "mixup=0.2"), ("full", "strategy=DER++"), ("full", "strategy=soup"), ("paper", "strategy=FU-baseline"),
     ("card", "strategy=FU-first"), ("full", "strategy=FU-first"), ("paper", "strategy=FU-first")],
)  # fmt: skip
def test_a_guess_that_waits_fits(space, text):
    study = new_study()
    parse_initial_trial(text, space, BASE).enqueue(study, slot=0)
    assert fits(trials_of(study)[0], space, BASE)


@pytest.mark.parametrize(
    ("space", "chosen"),
    [
        ("card", {"strategy": ("FU", CARD), "lr": (0.01, RATE), "fusion_frozen_layers": (0, IntDistribution(0, 12)),
                  "fusion": ("natural", CategoricalDistribution(["natural", "ratio"]))}),
        ("card", {"strategy": ("FU", CARD), "lr": (0.01, RATE), "fusion_frozen_layers": (0, IntDistribution(0, 12)),
                  "fusion_ratio": (0.5, FloatDistribution(0.05, 0.95))}),
        ("card", {"strategy": ("RE", CARD), "lr": (0.01, FloatDistribution(1e-5, 1e-1, log=True))}),
        ("card", {"strategy": ("RE", CARD), "lr": (0.01, FloatDistribution(1e-4, 1e-1))}),
        ("card", {"strategy": ("XX", CategoricalDistribution(["XX"])), "lr": (0.01, RATE)}),
        ("card", {"x": (0.5, FloatDistribution(0, 1))}),
        ("full", {"fusion": (True, CategoricalDistribution([False, True])),
                  "fusion_kind": ("natural", CategoricalDistribution(["natural", "ratio"]))}),
        ("paper", {"strategy": ("FU", CategoricalDistribution(["FC", "FC+CL", "RE", "FU"])), "amount": (0.5, AMOUNT)}),
        ("paper", {"strategy": ("FU", CARD), "lr": (0.01, RATE)}),
    ],
)  # fmt: skip
def test_a_trial_of_another_form_of_the_space_does_not_fit(space, chosen):
    assert not fits(ended(chosen), space, BASE)


@pytest.mark.parametrize(
    ("space", "params"),
    [("card", {"strategy": "FU", "lr": 0.01, "fusion_frozen_layers": 0, "fusion": "natural"}),
     ("card", {"strategy": "FU", "lr": 0.01, "fusion_ratio": 0.99}), ("card", {"strategy": "LWF"}),
     ("card", {"strategy": "RE", "lr": "fast"}), ("card", {"strategy": "RE", "fusion_ratio": 0.5}),
     ("full", {"fusion": True, "fusion_kind": "natural"}), ("paper", {"strategy": "RE", "amount": 0.25})],
)  # fmt: skip
def test_what_waits_with_choices_that_the_space_does_not_have_does_not_fit(space, params):
    study = new_study()
    study.enqueue_trial(params)
    assert not fits(trials_of(study)[0], space, BASE)


@pytest.mark.parametrize("force", [False, True])
def test_a_study_whose_networks_code_changed_is_refused_before_a_worker_starts(tmp_path, monkeypatch, force):
    storage = open_storage(None, tmp_path)
    options = StudyOptions("jaffe", space="paper", force=force)
    network = replace(VGG13, name="net:make", structure="as it was")
    record = made_info(name="s", options=asdict(options), versions={}, network=network.to_json())
    record["baseline"]["answers"] = {"target": {}, "source": {}}
    new_study(storage).set_user_attr("study", record)
    monkeypatch.setattr("study.pipeline.resume.identity_options", lambda options: {"folds": 1})
    assert find_record(StudyRecord.from_json(record), options, storage).name == "s"

    now = StudyRecord.from_json(record | {"network": replace(network, structure="changed").to_json()})
    with pytest.raises(InputError, match="net:make, whose code gives another network now") as caught:
        find_record(now, options, storage)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_study_of_an_older_space_is_refused_with_one_line_even_by_force(tmp_path, monkeypatch, kind, force):
    url = {"journal": None, "sqlite": f"sqlite:///{tmp_path}/study.db"}[kind]
    storage = open_storage(url, tmp_path)
    study = new_study(storage)
    options = StudyOptions("jaffe", space="paper", force=force)
    record = made_info(name="s", options=asdict(options), versions={})
    record["baseline"]["answers"] = {"target": {}, "source": {}}
    study.set_user_attr("study", record)
    new = StudyRecord.from_json(record)
    monkeypatch.setattr("study.pipeline.resume.identity_options", lambda options: {"folds": 1})
    fill_slots(study, 3, "paper", BASE)
    assert find_record(new, options, storage).name == "s"

    older = CategoricalDistribution(["FC", "FC+CL", "RE", "FU"])
    study.add_trial(ended({"strategy": ("FU", older), "amount": (1.0, AMOUNT)}))
    with pytest.raises(InputError) as caught:
        find_record(new, options, storage)

    said = str(caught.value)
    assert "search space paper has changed since study s began" in said and "--study NAME" in said
    assert "\n" not in said and paper.FROM_BASELINE not in said


@pytest.mark.parametrize(("space", "name"), [("card", "frozen_layers"), ("full", "frozen_layers")])
def test_a_trial_that_freezes_more_layers_than_the_network_has_does_not_fit(space, name):
    shallow = AdaptationConfig(epochs=5.0, depth=Depth(blocks=5, head=4, normed=4))
    for frozen, is_within in ((4, True), (5, False), (12, False)):
        study = new_study()
        study.enqueue_trial({"strategy": "FT", name: frozen} if space == "card" else {name: frozen})
        assert fits(trials_of(study)[0], space, shallow) == is_within
        assert fits(trials_of(study)[0], space, BASE)

    # Of an ended trial, the range counts as well.
    chosen = {"strategy": ("FT", CARD), "lr": (0.01, RATE), "frozen_layers": (3, IntDistribution(1, 12))}
    assert fits(ended(chosen), "card", BASE)
    assert not fits(ended(chosen), "card", shallow)


@pytest.mark.parametrize(
    "changes", [{"frozen_layers": 12}, {"depth_blocks": "5"}, {"depth_blocks": 2, "depth_head": 1}]
)
def test_a_stored_configuration_beyond_the_networks_depth_is_left_out(changes):
    shallow = AdaptationConfig(epochs=5.0, depth=Depth(blocks=5, head=4, normed=4), frozen_layers=4)
    sound, odd = (
        create_trial(values=[0.5, 0.5], user_attrs={"config": config, "strategy": "FT"})
        for config in (to_flat(shallow), to_flat(shallow) | changes)
    )
    study = new_study()
    for trial in (sound, odd):
        study.add_trial(trial)

    assert readable_configs(trials_of(study)) == {0: shallow}
