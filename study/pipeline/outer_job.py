"""Nested cross-validation (`--outer`): a search for each part of the target's people, tested on that part."""

import dataclasses
from pathlib import Path

import optuna

from fer.errors import InputError
from fer.expressions import read_expressions
from study.arguments import check_study_name
from study.confirmation.outer_evaluation import evaluate_part, is_opened
from study.confirmation.outer_part import PartResult, read_part
from study.execution.phase import Phase
from study.execution.progress import Progress
from study.exit_code import ExitCode
from study.inputs import OuterPart, prepare_dataset
from study.options import StudyOptions, study_name
from study.outer.export import export_outer
from study.outer.summary import summarise, summarise_domain
from study.outer.tables import describe_findings, outer_rich_table
from study.pipeline.main_job import following, free_room, run_study
from study.pipeline.network import StudyNetwork
from study.pipeline.prepare import (
    any_synthetic,
    check_before_reading,
    check_folds,
    make_record,
    read_data,
    resolve_auto,
)
from study.pipeline.resume import find_record
from study.record import StudyRecord
from study.reporting.wording import format_percent, format_points, name_as_printed
from study.storage.backend import load_study, open_storage
from study.storage.journal import JOURNAL

FIXED_AFTER_TEST = ("trials", "keep", "rungs", "race", "patience", "tries")
"""Resumable options that decide what a search recommends: a search that was tested does not go on with others."""


def run_outer_job(options: StudyOptions) -> int:
    """Searches once for each part of the target's people, tests what is recommended on the part, and exports it all.

    Each search is a study of its own. The same command goes on where it was: a search that was tested stays as it is.

    Args:
        options: What the user asked for, with the number of parts.

    Returns:
        The exit code.
    """
    options = resolve_auto(options)
    network = check_before_reading(options)
    progress = Progress()
    count = options.outer
    assert count is not None, "only called where there are parts"
    progress.say(
        f"{options.source} → {options.target}: {count} searches of {options.wanted} configurations each, space "
        f"{options.space}, every one tested on people whom it never saw"
    )
    for note in network.notes:
        progress.say(f"  {note}")
    free_room(options, progress)
    parts = [OuterPart(number, count) for number in range(1, count + 1)]
    check_parts(parts, options)

    # The searches, each with its test.
    name = ""
    results = []
    for part in parts:
        progress.say(f"part {part.number} of {count}")
        progress.part = f"part {part.number} of {count}"
        name, result = _search_and_test(part, options, progress, network)
        results.append(result)

    # What they say together.
    summary = summarise(results)
    record = _record_of(results[0].study, options)
    folder = Path(options.out) / name
    export_outer(name, summary, record, folder)
    progress.show(outer_rich_table(summary, record))
    for finding in describe_findings(summary, record):
        progress.say(finding)
    progress.say(f"report: {folder / 'outer.html'}")
    return ExitCode.DONE


def check_parts(parts: list[OuterPart], options: StudyOptions) -> None:
    """Prepares the target with each part as its test set, so that one that cannot be is refused before any search.

    Raises:
        InputError: The target cannot be divided so, or a search could not be trained without one of the parts.
    """
    asked = dataclasses.asdict(options)
    expressions = read_expressions(options.expressions)
    for part in parts:
        target = prepare_dataset(options.target, asked, options.data_kind, part, expressions)
        if options.folds is not None:
            check_folds(target, options.folds, options.seed)


def outer_name(prefix: str) -> str:
    """Returns the name of a nested cross-validation, which its folder has, from the name that one study would have."""
    return f"{prefix}-outer"


def search_name(prefix: str, part: OuterPart) -> str:
    """Returns the name of the search that is tested on a part."""
    return f"{outer_name(prefix)}-{part.number}"


def _search_and_test(
    part: OuterPart, options: StudyOptions, progress: Progress, network: StudyNetwork
) -> tuple[str, PartResult]:
    """Runs the search of one part as far as it has not run before, and tests it unless it was.

    Returns:
        The name of the nested cross-validation, and the search's result.
    """
    with following(options) as follower:
        # Data, and the names that follow from it.
        source, target = read_data(options, progress, part)
        prefix = study_name(options, source.name, target.name, any_synthetic(source, target))
        name = search_name(prefix, part)
        check_study_name(name)
        _check_folder(Path(options.out) / outer_name(prefix))

        # The search, unless it has ended and its test images were opened.
        record = make_record(name, options, source, target, network)
        study = _find_opened(record, options)
        if study is None:
            study = run_study(record, options, progress, follower).study

    is_tested = read_part(study) is not None
    with progress.phase(Phase("test", counted=f"testing what is recommended on part {part.number}")):
        result = evaluate_part(study, options)
    reached = summarise_domain([result], "target")
    label = name_as_printed(target.name, target.report, options.target)
    accuracy = f"{format_percent(reached.accuracy.mean)} % on {label}"
    progress.say(
        f"part {part.number} of {part.count} {'was' if is_tested else 'is'} tested: {accuracy}, "
        f"{format_points(reached.gain.mean)} points from the baseline"
    )
    return outer_name(prefix), result


def _find_opened(new: StudyRecord, options: StudyOptions) -> optuna.Study | None:
    """Returns the study of a search whose test images were opened, None where it has not come so far.

    Args:
        new: The record that the study would have if it began now.
        options: What the user asked for.

    Raises:
        InputError: It has, with other options, data or versions.
    """
    earlier = find_record(new, options, open_storage(options.storage, Path(options.out) / new.name))
    if earlier is None:
        return None
    study = load_study(new.name, Path(options.out), options.storage)
    if not is_opened(study):
        return None

    changes = []
    for option in FIXED_AFTER_TEST:
        before, now = earlier.options.get(option), new.options[option]
        is_asked = option == "trials" or getattr(options, option) is not None
        if is_asked and _as_stored(before) != _as_stored(now):
            changes.append(f"{option} {before} → {now}")
    if changes:
        raise InputError(
            "a search that was tested has ended",
            f"{new.name}, which was: {'; '.join(changes)}",
            "Use the same options, or give the new searches a name with --study NAME.",
        )
    return study


def _as_stored(value: object) -> object:
    """Returns an option's value as a storage returns it."""
    return list(value) if isinstance(value, tuple) else value


def _check_folder(folder: Path) -> None:
    """Raises InputError where a study has the folder of a nested cross-validation."""
    if (folder / JOURNAL).exists() or (folder / "study.json").exists():
        raise InputError(
            "the results of --outer have a folder of their own",
            f"{folder}, which is a study's",
            "Give another name with --study NAME.",
        )


def _record_of(name: str, options: StudyOptions) -> StudyRecord:
    """Returns the record of a search."""
    study = load_study(name, Path(options.out), options.storage)
    return StudyRecord.from_json(study.user_attrs["study"])
