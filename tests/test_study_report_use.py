"""What a reader of the report does next: use the network, go on, look a word up, compare, see that a test was small."""

import copy
import dataclasses
import json
import re
import shlex

import pytest

from fer.expressions import SEVEN
from made_study import made_answered, made_confirmed, made_info, made_trials
from pages import report_of
from study.confirm import build_parser as confirm_parser
from study.fronts import candidate_networks, find_recommended, front_table, hypervolume_over_trials, model_names
from study.predict import build_parser as predict_parser
from study.record import DOMAINS, StudyRecord
from study.report import build_parser as report_parser
from study.reporting import export, figures
from study.reporting.commands import (
    as_snippet,
    confirm_command,
    network_path,
    predict_command,
    python_lines,
    report_command,
    sync_command,
)
from study.reporting.data_tables import build_baseline_table, summarise_data
from study.reporting.dates import format_date
from study.reporting.dead_expressions import describe_dead_expressions
from study.reporting.glossary import GLOSSARY, GlossaryLinks
from study.reporting.markdown_report import list_tables, render_markdown
from study.reporting.network_details import collect_network_details
from study.reporting.recommendation import build_recommendation
from study.reporting.significance import ALIKE, DIFFERENT, build_pairs_table
from study.reporting.tables import build_confirmed_details_table, build_confirmed_table, build_strategies_table
from study.reporting.wording import confirmed_name
from study.sync import build_parser as sync_parser
from study.trials import trials_table
from study.tuning.summary import read_search

PLACES = {
    "out": "my results/here",
    "storage": "sqlite:///a b.db",
    "data": "/data/of me",
    "tracking_uri": "http://localhost:5000",
}


def record_with(**options) -> StudyRecord:
    info = made_info()
    return StudyRecord.from_json(info | {"options": info["options"] | options})


def words_of(command: str) -> list[str]:
    """Returns the words after "python -m study.NAME"."""
    return shlex.split(command)[3:]


# --- commands


@pytest.mark.parametrize("options", [{}, PLACES], ids=["defaults", "places"])
def test_commands_are_read_by_their_own_parsers_with_the_places_of_the_study(options):
    record = record_with(**options)
    wanted = {"out": "runs"} | options

    read = {
        "confirm": confirm_parser().parse_args(words_of(confirm_command(record))),
        "report": report_parser().parse_args(words_of(report_command(record))),
        "sync": sync_parser().parse_args(words_of(sync_command(record))),
    }

    for name, args in read.items():
        assert (args.study, args.out) == (record.name, wanted["out"])
        assert args.storage == wanted.get("storage")
        if name == "confirm":
            assert args.data == wanted.get("data")
        if name == "sync":
            assert args.tracking_uri == wanted.get("tracking_uri")
    predicted = predict_parser().parse_args(
        words_of(predict_command(record, network_path(record, "models/a.safetensors")))
    )
    assert predicted.model == f"{wanted['out']}/{record.name}/models/a.safetensors" and not predicted.equalise


def test_a_study_with_equalised_faces_is_used_with_them():
    record = record_with(equalise=True)
    assert predict_parser().parse_args(words_of(predict_command(record, "m"))).equalise
    assert "equalise=True" in python_lines(record, "m")


def test_no_command_for_mlflow_where_the_study_used_none():
    assert sync_command(record_with(tracking_uri="none")) == ""


def test_the_lines_of_python_are_three_and_are_python():
    record = record_with(out="it's \\ here")
    lines = python_lines(record, network_path(record, "models/a.safetensors"))
    compile(lines, "lines", "exec")
    assert len(lines.splitlines()) == 3 and "it's" in eval(re.search(r"load_network\((.*)\)", lines)[1])


def test_a_password_is_not_shown_and_its_place_is_said():
    command = confirm_command(record_with(storage="postgresql://me:s3cr3t@host/db"))
    assert "s3cr3t" not in command and "password" in as_snippet("", command).note
    assert as_snippet("", "python").note == ""


def test_the_top_of_the_page_has_file_command_python_and_what_comes_next():
    info, trials = made_answered()
    info = info | {"options": info["options"] | PLACES}
    record = StudyRecord.from_json(info)
    table, summary = read_search(record, trials)
    network = find_recommended(front_table(table))

    page = report_of(info, trials)
    markdown = render_markdown(record, table, list_tables(record, table, None, summary), summary)

    assert len([tag for tag, attributes in page.tags if tag == "pre" and attributes.get("class") == "copy"]) == 5
    path = network_path(record, network["model"])
    python = " ".join(python_lines(record, path).split())
    for text in (predict_command(record, path), python, confirm_command(record)):
        assert text in page.text
        assert text in " ".join(markdown.split())


def test_after_a_confirmation_the_search_is_folded_away_and_mlflow_comes_next():
    info, trials = made_confirmed()
    record = StudyRecord.from_json(info)
    recommendation = build_recommendation(record, trials_table(trials))

    assert recommendation.is_tested and all("on test" in card.title for card in recommendation.cards)
    assert all("test people" in card.detail or "test images" in card.detail for card in recommendation.cards)
    assert recommendation.snippets[-1].text == sync_command(record)
    page = report_of(info, trials)
    assert "What the search reached, on validation images" in page.text
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections.index("confirmed") < sections.index("front-of-search")


def test_where_nothing_beats_the_baseline_its_own_file_is_used():
    info, trials = made_answered(1, True)
    text = report_of(info, trials).text
    assert "Nothing surely beats the baseline. No network that surely" in text
    assert predict_command(StudyRecord.from_json(info), info["baseline"]["file"]) in text


def test_a_study_that_was_moved_is_used_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw_figures", lambda *_: ({}, {"pareto": "not drawn here"}))
    info, trials = made_info(name="moved"), made_trials(3)

    export.export(info, trials, tmp_path / "else where" / "moved")

    text = (tmp_path / "else where" / "moved" / "report.md").read_text()
    assert f"--out '{tmp_path}/else where'" in text and f"'{tmp_path}/else where/moved/models/" in text
    assert "out" not in json.loads((tmp_path / "else where" / "moved" / "study.json").read_text())["options"]


# --- what the search bought, and what died


def test_the_search_is_measured_against_the_papers_five():
    info, trials = copy.deepcopy(made_answered())
    record = StudyRecord.from_json(info)
    assert read_search(record, trials)[1].named_hypervolume is None  # a study that does not begin with the five

    for trial in trials[:5]:
        trial.user_attrs |= {"keep": True}
    table, summary = read_search(record, trials)
    strategies = {trial.user_attrs["strategy"] for trial in trials[:5]}
    assert strategies == {"BL", "FC", "FC+CL", "RE", "FU"}

    of_five = table[table["number"] < 5]
    assert summary.named_hypervolume == pytest.approx(hypervolume_over_trials(of_five, (1 / 7, 1 / 7))[-1])
    assert summary.hypervolume >= summary.named_hypervolume
    cards = {card.title: card for card in build_recommendation(record, table, summary).search_cards}
    card = cards["Bought by the search"]
    assert card.value == f"{summary.named_hypervolume:.4f} to {summary.hypervolume:.4f}"
    assert card.detail.startswith("the hypervolume that the paper's five strategies reach alone")

    # Also where the five reach nearly nothing, of which any share would be enormous.
    nearly_nothing = dataclasses.replace(summary, named_hypervolume=0.0, hypervolume=0.0002)
    cards = {card.title: card for card in build_recommendation(record, table, nearly_nothing).search_cards}
    assert cards["Bought by the search"].value == "0.0000 to 0.0002"

    # Trials that the user asked for are none of the five.
    trials[1].user_attrs["prior"] = "--try"
    assert read_search(record, trials)[1].named_hypervolume is None


def test_every_network_has_its_expressions():
    info, trials = made_answered()
    table, summary = read_search(StudyRecord.from_json(info), trials)
    networks = candidate_networks(table)
    assert set(summary.expressions) >= set(model_names(networks[networks["trainings"] > 0]))


@pytest.mark.parametrize(
    ("before", "after", "images", "died"),
    [(0.8, 0.1, 40, True), (0.8, 0.2, 40, False), (0.15, 0.1, 40, False), (0.5, 0.0, 2, False)],
)
def test_an_expression_that_died_on_test_images_is_named(before, after, images, died):
    info, trials = copy.deepcopy(made_confirmed())
    results = info["confirmation"]["results"]
    model = find_recommended(front_table(trials_table(trials)))["model"]
    index = next(i for i, point in enumerate(results["points"]) if point["model"] == model)
    for recalls, share in ((results["inside"][0], before), (results["inside"][index], after)):
        for domain in DOMAINS:
            recalls["recall"][domain] = dict.fromkeys(recalls["recall"][domain], 0.9)
        recalls["recall"]["target"]["fear"] = share
    results["inside"][0]["confusion"]["target"][2] = [images, 0, 0, 0, 0, 0, 0]

    words = describe_dead_expressions(StudyRecord.from_json(info), model, {})

    assert ("fear has died on TFEID stand-in test images" in words) is died
    recommendation = build_recommendation(StudyRecord.from_json(info), trials_table(trials))
    assert recommendation.warning == words and (words != "") is died
    assert after <= SEVEN.chance or not died


# --- words


def test_a_word_is_linked_where_it_first_appears_and_nothing_else_is_changed():
    explain = GlossaryLinks()

    first = explain("The front of <b>FC+CL</b> & FC; no confront, no FC-like, no battlefront.")
    again = explain("front, FC")

    assert first.count("<a ") == 3 and 'href="#term-fccl">FC+CL</a>' in first and 'href="#term-fc">FC</a>;' in first
    assert "&lt;b&gt;" in first and "&amp;" in first and again == "front, FC"
    assert re.sub("<[^>]+>", "", first) == (
        "The front of &lt;b&gt;FC+CL&lt;/b&gt; &amp; FC; no confront, no FC-like, no battlefront."
    )


@pytest.mark.parametrize("made", [made_answered, made_confirmed])
def test_every_link_of_the_page_leads_somewhere_and_every_section_is_in_the_contents(made):
    page = report_of(*made())
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]

    assert links and all(link.removeprefix("#") in anchors for link in links)
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert {"use", "why", "front-of-search", "glossary", "record"} <= set(sections)
    assert links[: len(sections)] == [f"#{section}" for section in sections]
    assert {f"#term-{key}" for key in ("fc", "alpha", "front", "trial", "hypervolume")} <= set(links)
    assert len({term.key for term in GLOSSARY}) == len(GLOSSARY)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-29T19:05:28+00:00", "29 November 2026, 19:05 UTC"),
        ("2026-11-30T00:05:28+02:00", "29 November 2026, 22:05 UTC"),
        ("2026-01-02T03:04:05", "2 January 2026, 03:04"),
        ("", ""),
        ("<yesterday>", "<yesterday>"),
    ],
)
def test_dates_are_readable(text, shown):
    assert format_date(text) == shown


# --- tables


def test_pairs_are_a_matrix_that_says_what_the_record_says():
    info, _ = made_confirmed()
    points = StudyRecord.from_json(info).results.points
    names = {point["model"]: (f"{index + 1}", confirmed_name(point)) for index, point in enumerate(points)}
    alike = info["confirmation"]["results"]["alike"]
    table = build_pairs_table(StudyRecord.from_json(info), trials_table([]))

    assert table.head[2:] == [row[0] for row in table.rows]
    for index, (model, row) in enumerate(zip(alike, table.rows, strict=True)):
        cells = dict(zip(alike, row[2:], strict=True))
        assert tuple(row[:2]) == names[model]
        assert cells[model] == "" and row[2:] == [other[2 + index] for other in table.rows]
        assert {other for other, cell in cells.items() if cell == ALIKE} == set(alike[model])
        assert all(cell in ("", ALIKE, DIFFERENT) for cell in cells.values())


@pytest.mark.parametrize("alike", [{}, {"a": [], "b": []}, {"a": ["b"], "b": ["a"]}])
def test_there_is_no_matrix_where_a_sentence_says_it_all(alike):
    assert (
        build_pairs_table(StudyRecord.from_json({"confirmation": {"results": {"alike": alike}}}), trials_table([]))
        is None
    )


def test_the_confirmed_table_is_narrow_and_nothing_of_it_is_lost():
    info, trials = made_confirmed()
    record = StudyRecord.from_json(info)
    narrow, details = build_confirmed_table(record, trials_table(trials)), build_confirmed_details_table(record)
    assert len(narrow.head) == 9 and len(narrow.rows) == len(details.rows) == len(record.results.points)
    assert {"Retention %", "Flips %", "Target UAR %", "Target ECE %", "Target optimism"} < set(details.head)


def test_no_two_tables_about_retention_contradict_each_other():
    info, trials = made_answered()
    record = StudyRecord.from_json(info)
    table, summary = read_search(record, trials)

    by_strategy = build_strategies_table(record, table)
    (retention,) = (each for each in list_tables(record, table, None, summary) if each.name == "retention")

    columns = [index for index, title in enumerate(by_strategy.head) if "source kept" in title]
    for column, row in zip(columns, retention.rows, strict=True):
        reached = [float(cells[column]) for cells in by_strategy.rows if cells[column] != "–"]
        assert row[3] == ("–" if not reached else f"{max(reached):.1f}")


def test_counts_of_images_add_up():
    counts = {split: dict.fromkeys(("anger", "fear"), number) for split, number in (("train", 30), ("test", 5))}
    report = {
        "sizes": {"train": 60, "test": 10},
        "subjects": {"train": 4, "test": 1},
        "counts": counts,
        "hazards": {"constant": 3, "duplicate_groups": 0},
        "skipped": {"no face": {"count": 5, "names": ["a", "b", "c", "d"]}},
        "rule": "seeded, by subject",
        "notices": ["no training image of neutral"],
    }
    record = StudyRecord.from_json(made_info(target={"name": "jaffe", "kind": "real", "report": report}))

    shown = summarise_data(record, "target")

    assert shown.title == "Target: JAFFE" and "Notice: no training image of neutral." in shown.sentences
    assert not any("how well that is recognised" in sentence for sentence in shown.sentences)
    assert shown.counts.head == ["Images", "Train", "Test", "All"]
    assert shown.counts.rows[0] == ["anger", "30", "5", "35"] and shown.counts.rows[-2:] == [
        ["all images", "60", "10", "70"],
        ["people", "4", "1", "5"],
    ]
    assert shown.hazards.rows == [["images of one grey alone", "3"]]
    assert shown.skipped.rows == [["5 files", "no face", "a, b, c …"]]


def test_only_the_notice_says_how_portraits_without_a_face_were_cropped():
    notice = "no face detected in 96 of 168 portraits: cropped where the others' faces lie"
    counts = {"train": {"anger": 3, "fear": 2}, "test": {"anger": 1, "fear": 0}}
    report = {"faces": {"detected": 72, "centre_cropped": 96}, "notices": [notice], "counts": counts}
    record = StudyRecord.from_json(made_info(target={"name": "jaffe", "kind": "real", "report": report}))

    words = " ".join(summarise_data(record, "target").sentences)

    assert "Faces were found in 72 of 168 portraits." in words and notice in words and "at the centre" not in words
    assert "Notice: no test image of fear" in words


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"counts": 3, "hazards": [], "skipped": "x", "faces": 1, "notices": {"a": 1}},
        {"sizes": {"train": "many"}, "counts": {"train": 7}, "skipped": {"x": 3}},
    ],
)
def test_odd_reports_of_data_cost_no_page(report):
    record = StudyRecord.from_json(made_info(target={"name": "jaffe", "kind": "real", "report": report}))
    assert summarise_data(record, "target").hazards is None
    assert report_of(made_info(target={"name": "jaffe", "report": report}), made_trials(3)).stack == []


def test_the_baseline_is_shown_in_per_cent():
    table = build_baseline_table(StudyRecord.from_json(made_info()))
    assert table.rows[0] == ["Accuracy %", "61.0", "45.0"] and ["UAR %", "58.0", "–"] in table.rows


# --- comparing two networks


@pytest.mark.parametrize("made", [made_answered, made_confirmed])
def test_any_two_networks_of_the_chart_can_be_compared(made):
    info, trials = made()
    record = StudyRecord.from_json(info)
    table, summary = read_search(record, trials)

    details = collect_network_details(record, table, summary)

    assert set(details["networks"]) == {"baseline", *model_names(candidate_networks(table))}
    recommended = find_recommended(front_table(table))
    assert details["compared"] == ["baseline", recommended["model"]] and details["recommended"] == recommended["model"]
    shown = details["networks"][recommended["model"]]
    assert len(shown["hyperparameters"]) == len(details["hyperparameters"]) and shown["front"]
    assert shown["kept"] == f"{100 * recommended['source_val'] / record.baseline.source_val:.1f} %"
    if summary is not None:
        after = {(each.domain, each.expression): each.after for each in summary.recommended.expressions}
        assert shown["recalls"][1][0] == pytest.approx(after["target", "anger"], abs=1e-4)
    else:
        assert shown["test_recalls"][0][0] == pytest.approx(
            record.results.find_recalls(recommended["model"])[1]["source"]["anger"], abs=1e-4
        )
