"""What a confirmation makes of the kept answers."""

import numpy as np
import optuna
import pandas as pd
import pytest

from fer.config import AdaptationConfig, flatten
from fer.expressions import EXPRESSIONS
from made_study import made_trial
from study.confirmation.plan import plan_jobs
from study.confirmation.results import collect_results
from study.confirmation.retrain import Truth, keep_answers
from study.confirmation.statistics import predicted_expressions, test_measures
from study.record import DOMAINS
from study.reporting.paper_table import TESTED, study_paper_table


def answers(right: int, count: int) -> np.ndarray:
    """Logits whose first `right` of `count` images are taken for the first expression, the others for the second."""
    logits = np.zeros((count, len(EXPRESSIONS)), np.float32)
    logits[:right, 0] = logits[right:, 1] = 1
    return logits


def kept(places: list[int], validated: int) -> dict[str, np.ndarray]:
    """One training's answers: how many of ten test images each place has right, and of ten validation images."""
    found = {f"{side}-{place}": answers(right, 10) for place, right in enumerate(places) for side in DOMAINS}
    found |= {f"{side}-val-{place}": answers(validated, 10) for place in range(len(places)) for side in DOMAINS}
    return found | {f"{side}-val-labels": np.zeros(10, int) for side in DOMAINS}


def test_a_named_strategy_is_the_network_at_its_end_and_not_one_on_the_way(tmp_path):
    end, half = {"alpha": 1.0, "slope": 0.0}, {"alpha": 0.5, "slope": 0.0}
    point = {"model": "m", "front": True, "source_val": 0.5, "target_val": 0.5}
    jobs = [
        {"name": "BL", "named": "BL", "strategy": "BL", "ways": [end | {"model": "", "front": False}]},
        {"name": "trial 1", "named": "FC 50 %", "strategy": "FC", "ways": [end | point, half | point]},
    ]
    opening = {"opened": "2026-01-01T00:00:00", "seeds": 2, "jobs": jobs}
    labels, subjects = {side: np.zeros(10, int) for side in DOMAINS}, {side: np.arange(10) for side in DOMAINS}
    for seed in range(2):
        for job, places in enumerate(([3], [8, 5])):
            keep_answers(tmp_path, opening, job, seed, kept(places, validated=2 + 4 * seed))
    found = collect_results(opening, tmp_path, Truth(labels, subjects, divisions=2))
    assert [(row["name"], row["named"], row["target_test"]) for row in found["points"]] == [
        ("BL", "BL", 0.3), ("trial 1", "FC 50 %", 0.8), ("trial 1", "", 0.5),
    ]  # fmt: skip
    # The mean over seeds of 2 and 6 of ten validation images.
    assert [row["target_val_again"] for row in found["points"]] == pytest.approx([0.4, 0.4, 0.4])
    info = {"options": {"space": "paper"}, "confirmation": opening | {"results": found, "finished": "now"}}
    empty = pd.DataFrame({name: [] for name in ("number", "state", "strategy", "source_val", "target_val", "amount")})
    table = study_paper_table(info, empty).set_index(["figures", "domain"])
    assert table.loc[(TESTED, "target"), "FC_50"] == pytest.approx(80)


@pytest.mark.parametrize(("passes", "told"), [(None, False), (0.06, False), (1.0, True), (4.0, True)])
def test_intransigence_is_told_where_the_fusion_saw_the_whole_target(passes, told):
    labels = {side: np.zeros(10, int) for side in DOMAINS}

    def point(named: str, right: int) -> dict:
        logits = {side: answers(right, 10)[None] for side in DOMAINS}
        return {
            "named": named,
            "logits": logits,
            "right": {side: predicted_expressions(logits[side]) == 0 for side in DOMAINS},
        }

    points = [point("BL", 3), point("RE", 6), point("FU", 8)]
    if passes is not None:
        points[-1]["target_passes"] = passes
    found = [row.get("intransigence") for row in test_measures(points, labels)]
    assert found == (pytest.approx([0.5, 0.2, 0.0]) if told else [None] * 3)


@pytest.mark.parametrize(("space", "passes"), [("card", [2.0]), ("paper", [1.0, 1.0])])
def test_a_confirmation_knows_how_often_its_fusions_draw_the_target(space, passes):
    study = optuna.create_study(directions=["maximize"] * 2)
    sizes = {
        side: {"name": side, "report": {"sizes": {"train": count}}}
        for side, count in zip(DOMAINS, (900, 100), strict=True)
    }
    options = {"space": space, "lr": 0.01, "amount": 1.0}
    study.set_user_attr("study", {"options": options, "budget_epochs": {"card": 4.0, "paper": 10.0}[space]} | sizes)
    study.add_trial(made_trial(0, config=flatten(AdaptationConfig(frozen_layers=13))))
    fusions = [job for job in plan_jobs(study) if job["named"].startswith("FU")]
    assert [job["target_passes"] for job in fusions] == pytest.approx(passes, abs=0.06)
    natural = [job["config"]["fusion_ratio"] == "natural" for job in fusions]
    assert natural == [space == "paper"] * len(fusions)
