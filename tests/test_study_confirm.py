"""What a confirmation makes of the kept answers."""

import io
from pathlib import Path

import numpy as np
import optuna
import pytest
from rich.console import Console

from fer.config import AdaptationConfig, to_flat
from fer.expressions import EXPRESSIONS
from made_study import made_trial
from study.confirmation.answers import write_answers
from study.confirmation.jobs import END, Confirmation, ConfirmationJob, InterpolationPoint
from study.confirmation.plan import plan_jobs
from study.confirmation.points import ConfirmedPoint
from study.confirmation.results import collect_results, order_points, trainings_left
from study.confirmation.runner import describe_trainings, tell_test_sets
from study.confirmation.statistics import measures_on_test, predicted_expressions
from study.confirmation.test_sets import GroundTruth
from study.execution.progress import Progress
from study.record import DOMAINS, StudyRecord
from study.reporting.network_details import collect_network_details
from study.reporting.paper_table import TESTED, study_paper_table
from study.reporting.plotly_charts import BASELINE
from study.reporting.tables import build_confirmed_table
from study.reporting.terminal import confirmed_rich_table
from study.reporting.wording import describe_stand_ins
from study.trials import trials_table


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
    validation = dict.fromkeys(DOMAINS, 0.5)
    front = [InterpolationPoint(alpha, 0.0, "m", True, validation) for alpha in (1.0, 0.5)]
    baseline = to_flat(AdaptationConfig(frozen_layers=13))
    adapted = to_flat(AdaptationConfig(frozen_layers=10))
    jobs = (
        ConfirmationJob("BL", "BL", "BL", baseline, (InterpolationPoint(*END),)),
        ConfirmationJob("trial 1", "FC 50 %", "FC", adapted, tuple(front)),
    )
    confirmation = Confirmation(2, jobs, evaluated="2026-01-01T00:00:00")
    labels, subjects = {side: np.zeros(10, int) for side in DOMAINS}, {side: np.arange(10) for side in DOMAINS}
    for seed in range(2):
        for job, places in enumerate(([3], [8, 5])):
            write_answers(tmp_path, confirmation, job, seed, kept(places, validated=2 + 4 * seed))
    found = collect_results(confirmation, tmp_path, GroundTruth(labels, subjects, divisions=2)).to_json()
    assert [(row["name"], row["named"], row["target_test"]) for row in found["points"]] == [
        ("BL", "BL", 0.3), ("trial 1", "", 0.5), ("trial 1", "FC 50 %", 0.8),
    ]  # fmt: skip
    # The mean over seeds of 2 and 6 of ten validation images.
    assert [row["target_val_again"] for row in found["points"]] == pytest.approx([0.4, 0.4, 0.4])

    info = {
        "options": {"space": "paper"},
        "confirmation": confirmation.to_json() | {"results": found, "finished": "now"},
    }
    empty = trials_table([])
    table = study_paper_table(StudyRecord.from_json(info), empty).set_index(["figures", "domain"])
    assert table.loc[(TESTED, "target"), "FC_50"] == pytest.approx(80)


def test_what_no_seed_changes_is_not_validated_beside_means_over_seeds_and_missing_answers_are_named(tmp_path):
    configs = {"BL": AdaptationConfig(frozen_layers=13), "RE": AdaptationConfig()}
    points = (InterpolationPoint(*END),)
    jobs = tuple(ConfirmationJob(name, name, name, to_flat(config), points) for name, config in configs.items())
    confirmation = Confirmation(2, jobs, evaluated="2026-01-01T00:00:00")
    truth = GroundTruth(
        {side: np.zeros(10, int) for side in DOMAINS}, {side: np.arange(10) for side in DOMAINS}, divisions=2
    )
    write_answers(tmp_path, confirmation, 0, 0, kept([3], validated=9))
    write_answers(tmp_path, confirmation, 1, 0, kept([5], validated=2))
    with pytest.raises(RuntimeError, match="of RE with seed 1 are missing"):
        collect_results(confirmation, tmp_path, truth)

    write_answers(tmp_path, confirmation, 1, 1, kept([5], validated=6))
    baseline, adapted = collect_results(confirmation, tmp_path, truth).to_json()["points"]
    assert "target_val_again" not in baseline and adapted["target_val_again"] == pytest.approx(0.4)


def test_the_confirmed_table_is_read_whole_on_a_terminal_of_80_columns():
    point = {f"{side}_{name}": 0.5 for side in DOMAINS for name in ("test", "lower", "upper", "p")}
    point |= {"name": "trial 17", "strategy": "FU+LLRD", "alpha": "0 to 1", "target_val_again": 0.5}
    datasets = {side: {"name": "fer2013", "kind": "real"} for side in DOMAINS}
    record = StudyRecord.from_json(datasets | {"confirmation": {"seeds": 2, "results": {"points": [point]}}})
    console = Console(width=80, file=io.StringIO())
    console.print(confirmed_rich_table(record))

    text = console.file.getvalue()

    assert "…" not in text and all(word in text for word in ("network", "FU+LLRD 17 at 0 to 1", "Holm"))
    assert "again" not in text  # no file was tested


def test_on_a_terminal_the_network_that_is_handed_over_stands_above_what_another_training_gives():
    point = {f"{side}_{name}": 0.5 for side in DOMAINS for name in ("test", "lower", "upper", "p")}
    names = ("handed_over", "handed_over_lower", "handed_over_upper")
    point |= {f"{side}_{name}": 0.6 for side in DOMAINS for name in names}
    baseline = {name: value for name, value in point.items() if "handed_over" not in name}
    points = [
        baseline | {"name": "BL", "strategy": "BL", "alpha": "1"},
        point | {"name": "trial 17", "strategy": "FU+LLRD", "alpha": "0 to 1"},
    ]
    record = StudyRecord.from_json({"confirmation": {"seeds": 2, "results": {"points": points}}})
    console = Console(width=80, file=io.StringIO())
    console.print(confirmed_rich_table(record))

    lines = console.file.getvalue().splitlines()

    of_file = next(index for index, line in enumerate(lines) if "FU+LLRD 17 at 0 to 1" in line)
    assert lines[of_file].count("60.0 [60.0, 60.0]") == 2 and "0.5" not in lines[of_file]
    assert "trained again" in lines[of_file + 1] and lines[of_file + 1].count("50.0 [50.0, 50.0]") == 2
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)


def test_the_recommended_network_is_marked_and_a_trial_that_stands_for_a_named_strategy_is_explained():
    figures = {f"{side}_{name}": 0.5 for side in DOMAINS for name in ("test", "lower", "upper", "p")}
    points = [
        figures | {"name": "BL", "named": "BL", "strategy": "BL", "alpha": "1", "model": "", "front": False},
        figures | {"name": "trial 7", "named": "", "strategy": "FU", "alpha": "0.5", "model": "m7", "front": True},
        figures | {"name": "trial 2", "named": "FC+CL", "strategy": "FC+CL", "alpha": "1", "model": "", "front": False},
    ]
    record = StudyRecord.from_json({"confirmation": {"seeds": 2, "results": {"points": points}}})
    console = Console(width=80, file=io.StringIO())

    console.print(confirmed_rich_table(record, "m7"))

    text = " ".join(console.file.getvalue().split())
    assert "→ FU 7 at 0.5" in text and "FC+CL 2 is the paper's FC+CL" in text and "BL 50.0 [50.0, 50.0] 50.0" in text
    assert "50.0 [50.0, 50.0] – →" in text and "→" not in describe_stand_ins(record)


def test_confirmed_networks_are_in_the_order_of_the_front_between_the_baseline_and_the_named_strategies():
    rights = {"BL": 5, "trial 1": 8, "FC": 1, "trial 2": 3}
    points = []
    for name, right in rights.items():
        is_right = {side: (np.arange(10) < right)[None] for side in DOMAINS}
        points.append(ConfirmedPoint(name, name, is_right, front=name.startswith("trial")))

    assert [points[index].name for index in order_points(points)] == ["BL", "trial 2", "trial 1", "FC"]


@pytest.mark.parametrize(("people", "warns"), [(0, False), (1, True), (2, True), (3, False)])
def test_the_sizes_of_the_test_sets_are_told_before_these_are_opened(people, warns):
    report = {"sizes": {"test": 14}, "subjects": {"test": people}}
    record = StudyRecord.from_json({side: {"name": "jaffe", "kind": "real", "report": report} for side in DOMAINS})
    said: list[str] = []
    progress = Progress()
    progress.say = progress.warn = said.append

    tell_test_sets(record, progress)

    whom = {0: "unknown people", 1: "1 person"}.get(people, f"{people} people")
    assert f"JAFFE: 14 images of {whom}" in said[0]
    assert len(said) == 1 + warns and ("--outer" in said[-1]) == warns


def test_how_many_networks_a_confirmation_trains_is_counted_out():
    configs = {"BL": AdaptationConfig(lr=0.0), "FC": AdaptationConfig(), "RE": AdaptationConfig()}
    jobs = tuple(ConfirmationJob(name, name, name, to_flat(config), (END,)) for name, config in configs.items())
    confirmation = Confirmation(seeds=3, jobs=jobs)
    trainings = trainings_left(confirmation, Path("/nowhere"))

    said = describe_trainings(confirmation, trainings, 2)
    resumed = describe_trainings(confirmation, trainings[3:], 1)

    assert said == (
        "2 configurations with 3 seeds each and 1 that no seed changes, as the baseline, so 7 networks; 2 processes"
    )
    assert "so 7 networks, 3 of which are done; 1 process" in resumed


@pytest.mark.parametrize("order", [["FU 50 %", "FU 100 %"], ["FU 100 %", "FU 50 %"]])
def test_intransigence_is_against_the_fusion_of_the_whole_target_wherever_that_stands(order):
    labels = {side: np.zeros(10, int) for side in DOMAINS}
    points = []
    for name in ("BL", *order):
        logits = {side: answers({"BL": 3, "FU 50 %": 5, "FU 100 %": 8}[name], 10)[None] for side in DOMAINS}
        right = {side: predicted_expressions(logits[side]) == 0 for side in DOMAINS}
        points.append(ConfirmedPoint(name, name, right, logits, named=name, target_passes=1.0))

    assert measures_on_test(points, labels, EXPRESSIONS)[0]["intransigence"] == pytest.approx(0.5)


@pytest.mark.parametrize(("passes", "told"), [(None, False), (0.06, False), (1.0, True), (4.0, True)])
def test_intransigence_is_told_where_the_fusion_saw_the_whole_target(passes, told):
    labels = {side: np.zeros(10, int) for side in DOMAINS}

    def point(named: str, right: int, **more: float) -> ConfirmedPoint:
        logits = {side: answers(right, 10)[None] for side in DOMAINS}
        is_right = {side: predicted_expressions(logits[side]) == 0 for side in DOMAINS}
        return ConfirmedPoint(named, named, is_right, logits, named=named, **more)

    drawn = {} if passes is None else {"target_passes": passes}
    points = [point("BL", 3), point("RE", 6), point("FU", 8, **drawn)]
    found = [row.get("intransigence") for row in measures_on_test(points, labels, EXPRESSIONS)]

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
    study.add_trial(made_trial(0, config=to_flat(AdaptationConfig(frozen_layers=13))))
    fusions = [job for job in plan_jobs(study) if job.named.startswith("FU")]
    assert [job.target_passes for job in fusions] == pytest.approx(passes, abs=0.06)

    natural = [job.config["fusion_ratio"] == "natural" for job in fusions]
    assert natural == [space == "paper"] * len(fusions)


LATER = {"opened": "2026-01-01", "test_sets": {"target": {"images": 3}}, "finished": "2026-01-02", "results": {"a": 1}}


@pytest.mark.parametrize("steps", range(len(LATER) + 1))
@pytest.mark.parametrize("passes", [{}, {"target_passes": 2.0}], ids=["earlier version", "this version"])
def test_a_confirmation_is_stored_as_it_was_read_at_every_step(steps, passes):
    front = {"alpha": 0.5, "slope": 0.25, "model": "m", "front": True, "source_val": 0.6, "target_val": 0.7}
    end = {"alpha": 1.0, "slope": 0.0, "model": "", "front": False}
    job = {"name": "FC", "named": "FC", "strategy": "FC", "config": to_flat(AdaptationConfig()), "ways": [end, front]}
    stored = {"seeds": 2, "jobs": [job | passes], "earlier": ["2025-12-31"]} | dict(list(LATER.items())[:steps])

    confirmation = Confirmation.from_json(stored)

    assert confirmation.to_json() == stored
    assert [point.is_end for point in confirmation.jobs[0].interpolation_points] == [True, False]


DAMAGES = {"alpha": [True, "1", None, float("nan")], "front": [1, None], "model": [None, 3]}


@pytest.mark.parametrize(("name", "odd"), [(name, odd) for name, values in DAMAGES.items() for odd in values], ids=str)
def test_a_damaged_network_of_a_confirmation_is_refused(name, odd):
    stored = InterpolationPoint(0.5, 0.0, "m", True, dict.fromkeys(DOMAINS, 0.5)).to_json()

    with pytest.raises(TypeError):
        InterpolationPoint.from_json(stored | {name: odd})


def test_the_baseline_has_one_test_accuracy_whose_row_is_not_called_trained_again():
    figures = {"test": 0.451, "lower": 0.4, "upper": 0.5, "p": 1.0}
    figures |= {"handed_over": 0.45, "handed_over_lower": 0.4, "handed_over_upper": 0.5}
    point = {f"{side}_{name}": value for side in DOMAINS for name, value in figures.items()}
    baseline = point | {"name": "BL", "strategy": "BL", "alpha": "1", "model": "m0"}
    trained = point | {"name": "trial 17", "strategy": "FU", "alpha": "1", "model": "m1"}
    datasets = {side: {"name": "fer2013", "kind": "real"} for side in DOMAINS}
    results = {"points": [baseline, trained]}
    record = StudyRecord.from_json(datasets | {"confirmation": {"seeds": 2, "results": results}})
    console = Console(width=80, file=io.StringIO())

    console.print(confirmed_rich_table(record))
    table = build_confirmed_table(record, trials_table([]))
    details = collect_network_details(record, trials_table([]))

    file_figure, again = "45.0 [40.0, 50.0]", "45.1 [40.0, 50.0]"
    text = console.file.getvalue()
    assert text.count("trained again") == 1 and text.count(again) == 2
    assert table.rows[0][1:5] == [file_figure, file_figure, "–", "–"]
    assert table.rows[1][1:5] == [file_figure, file_figure, again, again]
    assert details["networks"][BASELINE]["tested"] == [f"{file_figure} %"] * 2


def test_a_network_that_no_seed_changes_has_the_accuracy_of_its_file(tmp_path):
    baseline = to_flat(AdaptationConfig(frozen_layers=13))
    point = InterpolationPoint(1.0, 0.0, "m", True, dict.fromkeys(DOMAINS, 0.5))
    confirmation = Confirmation(2, (ConfirmationJob("trial 0", "BL", "BL", baseline, (point,)),), evaluated="now")
    labels, subjects = {side: np.zeros(10, int) for side in DOMAINS}, {side: np.arange(10) for side in DOMAINS}
    of_file = {f"{side}-file-0": answers(4, 10) for side in DOMAINS}  # of a version that computed it otherwise
    write_answers(tmp_path, confirmation, 0, 0, kept([3], validated=5) | of_file)

    (row,) = collect_results(confirmation, tmp_path, GroundTruth(labels, subjects, divisions=2)).points

    assert row.figures["target"].test == row.figures["target"].handed_over == 0.3
