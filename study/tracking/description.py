"""What MLflow's page of a study says above its figures, in Markdown: what was studied, what to use, how to load it."""

from pathlib import Path

import pandas as pd

from fer.errors import printable
from fer.image_format import RGB
from study.cli import command_line
from study.fronts import find_recommended, front_table
from study.record import DOMAINS, StudyRecord, number
from study.reporting.distinct_networks import choose_rows
from study.reporting.expectations import describe_accuracy, has_expectations
from study.reporting.findings import describe_nothing
from study.reporting.front_file import table_of_front
from study.reporting.tables import Table, to_markdown
from study.reporting.wording import (
    ON_FRONT,
    SYNTHETIC,
    count_of,
    dataset_label,
    describe_drawn_faces,
    describe_total,
    expected_text,
    format_percent,
    format_points,
    points_text,
    row_name,
)
from study.tracking.outcome import share_kept
from study.trials import count_rungs
from study.tuning.summary import SearchSummary

MOST_ROWS = 10
"""Networks of a front that the description shows; front.csv has them all."""


def describe_start(record: StudyRecord) -> str:
    """Returns the description of a study whose search has not ended."""
    return "\n".join([*_head_lines(record), "The search has not ended: its trials appear below as they end.", ""])


def describe_study(
    record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None, folder: Path, model_uri: str | None
) -> str:
    """Returns the description of a study whose search has ended.

    Args:
        record: The study's record.
        table: Its trials, of `study.tuning.expected_table`.
        summary: What the search found; None for a study whose trials stored no answers.
        folder: The study's, which holds models/.
        model_uri: Of the recommended network among MLflow's models; None where it was not logged.
    """
    lines = _head_lines(record, table)
    front = front_table(table)
    if front.empty:
        return "\n".join([*lines, "No trial has finished, so no network is recommended.", ""])

    network = find_recommended(front)
    if network is None:
        lines += [f"**No network is recommended.** {describe_nothing(record, table, summary)}", ""]
    else:
        lines += [_describe_recommended(record, network, summary), ""]
    lines += [to_markdown(_short_front(record, front))]
    if network is not None:
        lines += _loading_lines(folder / network["model"], record, model_uri)
    return "\n".join(lines)


# What was studied.


def _head_lines(record: StudyRecord, table: pd.DataFrame | None = None) -> list[str]:
    """Returns the lines about the study, with its number of trials where its table is given."""
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    lines = []
    if record.is_synthetic:
        lines += [f"**{SYNTHETIC}.** {describe_drawn_faces(record)}", ""]
    question = (
        f"Which adaptation of a network trained on {source} learns {target} best and forgets {source} least? "
        "One child run per trial; the run `baseline` is the network that all of them adapt."
    )
    if table is not None:
        question += f" {describe_total(table)}{_describe_search(record)}."
    lines += [question, ""]
    if record.weights.name:
        lines += [f"The baseline: {record.weights.describe()}", ""]
    return lines


def _describe_search(record: StudyRecord) -> str:
    """Returns of which search space the trials are, and on how many rungs and folds."""
    words = ""
    space = record.options.get("space")
    if isinstance(space, str):
        words += f" of the search space {printable(space)}"
    rungs = count_rungs(record)
    if rungs > 1:
        words += f", on {rungs} rungs"
    folds = record.options.get("folds")
    if isinstance(folds, int) and folds > 1:
        words += f", judged by {count_of(folds, 'fold')} of {dataset_label(record, 'target')}"
    return words


# What to use.


def _describe_recommended(record: StudyRecord, network: pd.Series, summary: SearchSummary | None) -> str:
    """Returns in two sentences which network is recommended with its accuracies, and what it keeps and gains."""
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    point = record.results.find_point(network)
    if point is not None:
        evidence = "on test images (95 % intervals)"
        kept = None
        baseline = record.results.points[0]
        if baseline["source_test"]:
            kept = point["source_test"] / baseline["source_test"]
        gain = _gain_text(
            point.get("target_change"), point.get("target_change_lower"), point.get("target_change_upper")
        )
    else:
        evidence = "as expected with other people (90 % intervals)"
        kept = share_kept(network["source_val"], record)
        gain = _expected_gain_text(record, network, summary)
    if point is None and not has_expectations(network):
        evidence = "on the validation images it was chosen by"

    accuracies = " and ".join(_accuracy_text(record, network, domain) for domain in DOMAINS)
    words = f"**Recommended: {row_name(network)}.** It reaches {accuracies}, {evidence}."
    if kept is not None and gain:
        words += (
            f" That keeps {format_percent(kept)} % of the baseline's accuracy on {source} and gains {gain} points on "
            f"{target}."
        )
    return words


def _accuracy_text(record: StudyRecord, network: pd.Series, domain: str) -> str:
    """Returns "61.2 [58.0, 64.1] % on TFEID", from the best evidence there is."""
    is_confirmed = record.results.find_point(network) is not None
    if is_confirmed or has_expectations(network):
        return describe_accuracy(record, network, domain)
    return f"{format_percent(network[f'{domain}_val'])} % on {dataset_label(record, domain)}"


def _expected_gain_text(record: StudyRecord, network: pd.Series, summary: SearchSummary | None) -> str:
    """Returns the expected gain on the target in points, with its interval where there is one; "" if unknown."""
    if summary is not None and summary.recommended is not None:
        gain = summary.recommended.gains["target"]
        return _gain_text(gain.mean, gain.lower, gain.upper)
    if record.baseline.accuracies is None:
        return ""
    return _gain_text(network["target_val"] - record.baseline.accuracies[1])


def _gain_text(mean: object, low: object = None, high: object = None) -> str:
    """Returns "+5.0 [+3.0, +7.0]" of shares, without interval where that is not known; "" where nothing is."""
    gain, lower, upper = number(mean), number(low), number(high)
    if gain is None:
        return ""
    if lower is None or upper is None:
        return format_points(gain)
    return points_text(gain, lower, upper)


def _short_front(record: StudyRecord, front: pd.DataFrame) -> Table:
    """Returns the front in short: of many networks some (`distinct_networks.choose_rows`)."""
    networks = table_of_front(front, record)
    recommended = find_recommended(front)
    has_roles = "role" in networks
    shown = choose_rows(front, record, MOST_ROWS)

    rows = []
    for index in shown:
        network = networks.iloc[index]
        is_recommended = recommended is not None and network["model"] == recommended["model"]
        name = f"**{network['network']}**" if is_recommended else network["network"]
        if has_roles:
            accuracies = [expected_text(network, domain) for domain in DOMAINS]
        else:
            accuracies = [format_percent(network[f"{domain}_val"]) for domain in DOMAINS]
        cells = [name, *accuracies, format_percent(network.get("kept"))]
        if has_roles:
            cells.append(format_percent(network["probability"], 0))
        rows.append(cells)

    head = ["Network", *(f"{dataset_label(record, domain)} %" for domain in DOMAINS), "Source kept %"]
    caption = "Accuracy on validation images. Alpha: 0 is the baseline, 1 the adapted network."
    if has_roles:
        head.append("On front %")
        caption = (
            "Expected accuracies with 90 % intervals. Alpha: 0 is the baseline, 1 the adapted network. On front: the "
            f"{ON_FRONT}."
        )
    left_out = len(networks) - len(shown)
    if left_out:
        caption += f" {left_out} more are in front.csv."
    return Table("front", caption, head, rows)


# How to load it.


def _loading_lines(file: Path, record: StudyRecord, model_uri: str | None) -> list[str]:
    """Returns how to use the recommended network: from the shell, and in Python where MLflow has it.

    Args:
        file: Of the network.
        record: The study's record.
        model_uri: Of the network among MLflow's models; None where it was not logged.
    """
    words = [str(file), "FACE.png"]
    if record.options.get("equalise") is True:
        words.append("--equalise")
    lines = ["Use the recommended network:", "", "```", command_line("study.predict", words), "```"]
    if model_uri is None:
        return [*lines, ""]
    return [
        *lines,
        "",
        "```python",
        f'network = mlflow.pyfunc.load_model("{model_uri}")',
        f"probabilities = network.predict(faces)  # {_describe_faces(record)} to (n, {len(record.expressions)})",
        "```",
        "",
    ]


def _describe_faces(record: StudyRecord) -> str:
    """Returns colour, type and shape of the faces that a study's networks are given, in words."""
    shape = ", ".join(["n", *(str(length) for length in record.face_shape)])
    return f"{'red, green and blue' if record.colour == RGB else 'grey'} uint8 ({shape})"
