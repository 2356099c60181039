"""What a terminal shows: it fits, its estimates add up, Ctrl-C is answered, commands can be copied."""

import copy
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from terminals import COLUMNS, ROWS, DrawnTerminal, TerminalProcess, lines_of

import made_faces
from commands import QUICK, ROOT, end, start
from conftest import TINY_NETWORK
from fer.baseline import find_or_train
from fer.baseline_job import BaselineConfig
from fer.config import AdaptationConfig, to_flat
from fer.datasets import load
from fer.datasets.synthetic import draw
from fer.runtime import Runtime
from fer.told_progress import current_step, step, tell_progress, watching
from made_study import STOPPED, made_answered, made_trial
from study.command_lines import break_command
from study.confirmation.course import ConfirmationCourse
from study.confirmation.jobs import Confirmation, ConfirmationJob, InterpolationPoint
from study.execution.live_display import LiveDisplay
from study.execution.phase import Phase, counting, describe_estimate, describe_phase, rough_duration
from study.execution.progress import Progress
from study.execution.report_time import USUAL_SECONDS, expected_report_seconds, note_report_seconds
from study.execution.search_state import (
    HAND_OVER,
    RACE,
    SEARCH,
    Baseline,
    count_part,
    describe_best,
    measure_front,
    networks_of,
    part_of,
)
from study.execution.time_left import Course, OpenTrial, recent_speed, work_left
from study.fronts import front_table
from study.options import StudyOptions
from study.pipeline.baseline import LOOKING, _read_baseline, _show_samples
from study.record import StudyRecord
from study.reporting.commands import FACE, list_next_commands
from study.reporting.terminal import front_rich_table
from study.reporting.wording import confirmed_name, network_name, row_name
from study.tuning.plan import SearchPlan
from study.tuning.summary import read_search

SHOWN_PHASE = str(Path(__file__).parent / "shown_phase.py")
ESCAPE = "\x1b"


# --- the time that is left


def of_rung(rung: int, count: int, seconds: float, first: int = 0, **attrs: object) -> list:
    """Ended trials on a rung, each of which took as long."""
    return [made_trial(first + number, rung=rung, seconds=seconds, **attrs) for number in range(count)]


def test_what_a_fold_takes_away_leaves_no_accuracy_above_all():
    trial = made_trial(4, values=(0.6, 0.98), strategy="FU")
    assert [network.target for network in networks_of(trial, {4: -0.05})] == [1.0]
    assert [network.target for network in networks_of(trial, {4: 0.99})] == [0.0]


def test_the_work_that_is_left_counts_promotions_the_race_and_the_hand_over():
    trials = [*of_rung(1, 9, 2.0), *of_rung(2, 3, 8.0, 9), *of_rung(3, 3, 32.0, 12)]
    plan = SearchPlan(rungs=3)
    course = Course(trials, [], 36, plan)

    # Of 36, 12 and 4 on the rungs.
    assert work_left(course) == pytest.approx(27 * 2 + 9 * 8 + 32)

    # A race of half of what the search costs, in budgets of the first rung, each of which takes 2 s.
    raced = replace(course, plan=replace(plan, race_share=0.5))
    assert work_left(raced) == pytest.approx(work_left(course) + 0.5 * (36 + 12 * 4 + 4 * 16) * 2)

    # Nothing but the race once the search is over, of what the search did cost.
    over = replace(raced, search_is_over=True)
    assert work_left(over) == pytest.approx(0.5 * (9 + 3 * 4 + 3 * 16) * 2)
    assert work_left(replace(over, race_is_over=True)) == 0


def test_what_runs_needs_the_rest_of_its_time():
    trials = of_rung(1, 10, 4.0)
    running = [OpenTrial(made_trial(10, STOPPED, rung=1), seconds) for seconds in (1.0, 9.0)]
    assert work_left(Course(trials, running, 12, SearchPlan())) == pytest.approx((4 - 1) + (4 - 4))


def test_networks_that_wait_to_be_handed_over_take_as_long_as_those_that_were():
    handed_over = {"handed_over": [[1.0, 0.0]], "recipe_of": 1, "fold": -1}
    trials = [*of_rung(1, 10, 4.0), *of_rung(1, 2, 7.0, 10, **handed_over)]
    waiting = [OpenTrial(made_trial(number, STOPPED, **handed_over), 0.0) for number in (12, 13, 14)]
    assert work_left(Course(trials, waiting, 10, SearchPlan(race_share=0.3))) == pytest.approx(3 * 7)


@pytest.mark.parametrize(
    "trials", [[], of_rung(1, 9, 2.0), of_rung(1, 30, 2.0), of_rung(1, 30, None)], ids=["none", "few", "one rung", "no"]
)
def test_nothing_is_said_before_trials_of_each_rung_tell(trials):
    assert work_left(Course(trials, [], 200, SearchPlan(rungs=3))) is None


def test_half_of_a_change_of_the_machines_speed_is_taken_for_lasting():
    quiet = of_rung(1, 60, 2.0)
    assert recent_speed(quiet) == 1
    slower = [*quiet, *of_rung(1, 30, 6.0, 60)]
    mean = (60 * 2 + 30 * 6) / 90
    assert recent_speed(slower) == pytest.approx((1 + 6 / mean) / 2)


def course_of(passes: Sequence[int], workers: int, phase: Phase) -> ConfirmationCourse:
    """Returns the course of a confirmation whose jobs take so many passes, each with one seed."""
    point = InterpolationPoint(1.0, 0.0)
    configs = [to_flat(AdaptationConfig(epochs=each)) for each in passes]
    jobs = [ConfirmationJob(f"trial {n}", "", "RE", config, (point,)) for n, config in enumerate(configs)]
    return ConfirmationCourse(phase, Confirmation(1, tuple(jobs)), [(n, 0) for n in range(len(jobs))], workers)


def test_a_confirmation_says_what_runs_and_how_long_its_slowest_process_takes(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    phase = Phase("confirmation")
    course = course_of([2, 10, 2, 40, 10, 10], 2, phase)
    assert phase.left is None and phase.counted == "0/6 trainings"

    # A training takes 5 s and 2 s for each pass; two run at a time, and a start of half a minute is in none of them.
    clock[0] += 30
    course.begin((0, 0))
    course.begin((1, 0))
    assert dict(phase.facts) == {"now": "trial 0, seed 1; trial 1, seed 1"}
    clock[0] += 9
    course.end((0, 0), 9.0)
    course.begin((2, 0))
    clock[0] += 9
    course.end((2, 0), 9.0)
    course.begin((4, 0))
    clock[0] += 7
    course.end((1, 0), 25.0)
    course.begin((3, 0))

    # The second process has 85 and 25 s to do, the first 18.
    assert phase.left == pytest.approx(110) and phase.counted == "3/6 trainings"
    assert dict(phase.facts) == {"last": "trial 1, seed 1", "now": "trial 4, seed 1; trial 3, seed 1"}


def test_a_confirmation_whose_trainings_are_alike_takes_as_long_for_each(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    phase = Phase("confirmation")
    course = course_of([3, 3, 3], 1, phase)
    for number in range(3):
        course.begin((number, 0))
        clock[0] += 8
        course.end((number, 0), 8.0)
        assert phase.left == pytest.approx(8 * (2 - number))


def test_an_estimate_is_about_or_at_most_unless_it_is_short():
    assert [describe_estimate(4), describe_estimate(100), describe_estimate(100, is_most=True)] == [
        "less than 10 s", "about 2 min", "at most 2 min",
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0, 9.99, 10, 94, 95, 3569, 3571, 7200, 172_800, 1e7])
def test_a_rough_duration_is_short_and_never_exact(seconds):
    text = rough_duration(seconds)
    assert len(text) <= len("less than 10 s") and ":" not in text and "60 min" not in text


# --- what the search has come to


def test_the_best_network_keeps_enough_and_says_what_it_gains():
    baseline = Baseline((0.6, 0.4), ("FER2013", "TFEID"))
    points = {"source_val/0.50": 0.58, "target_val/0.50": 0.55, "source_val": 0.3, "target_val": 0.8}
    trials = [made_trial(3, values=(0.3, 0.8), measures=points, strategy="RE"), made_trial(4, values=(0.59, 0.5))]
    front = measure_front(trials, SearchPlan(keep=0.95), baseline, None)

    said = describe_best(front.best, baseline)
    assert said == "55.0 % on TFEID (+15.0 points), 97 % of FER2013 kept: trial 3 (RE) at alpha 0.5"
    assert front.size == 3 and front.recipes == 2 and front.since == 0

    # A third training that adds nothing.
    later = measure_front([*trials, made_trial(5, values=(0.2, 0.2))], SearchPlan(), baseline, None)
    assert later.since == 1 and later.hypervolume == front.hypervolume
    assert describe_best(None, baseline).startswith("none that keeps")
    assert describe_best(replace(front.best, target=0.4), baseline).startswith("none better than the baseline")


def test_a_study_is_at_the_part_of_its_course_that_is_not_done():
    plan = SearchPlan(rungs=2, race_share=0.5)
    search = [*of_rung(1, 9, 1.0), *of_rung(2, 3, 4.0, 9)]
    race = made_trial(12, rung=2, seconds=4.0, race={"value": 1.0})
    handed_over = made_trial(13, STOPPED, rung=2, handed_over=[[1.0, 0.0]], fold=-1)

    parts = {
        SEARCH: Course(search[:-1], [], 9, plan),
        RACE: Course([*search, race], [], 9, plan),
        HAND_OVER: Course([*search, race], [OpenTrial(handed_over, 0.0)], 9, plan),
    }

    assert {part: part_of(course) for part, course in parts.items()} == {part: part for part in parts}
    assert count_part(parts[SEARCH], SEARCH) == (11, 12, "11/12 trainings")
    share, whole, said = count_part(parts[RACE], RACE)
    assert share / whole == pytest.approx(4 / (0.5 * 21)) and said.startswith("1 training, ")
    assert count_part(parts[HAND_OVER], HAND_OVER) == (0, 1, "0/1 trainings")


# --- the display


def made_phase(**changes: object) -> Phase:
    """A phase with all that a search shows, and the longest that it may be."""
    phase = Phase("part 3 of 5, search", done=108, total=288, counted="108/288 trainings")
    phase.expect(1440)
    phase.facts = [
        ("baseline", "65.7 % on FER2013 stand-in, 67.3 % on a-folder-with-a-name stand-in"),
        ("best so far", "87.2 % on CK+ (+19.9 points), 97 % of FER2013 kept: trial 283 (FU) at alpha 0 to 1"),
        ("hypervolume", "0.4275, grew 1,234 trainings ago; 18 networks on the front"),
        ("rungs", "1: 84 of 200, 2: 27 of 66, 3: 8 of 22, 4: 1 of 7"),
        ("trainings", "59 finished, 60 stopped early, 0 failed"),
    ]
    phase.workers = [f"trial {number}   FC+CL   rung 1, race   0:{number}" for number in range(10, 14)]
    return replace(phase, **changes)


PHASES = {
    "search": {},
    "many workers": {"workers": [f"trial {number} RE" for number in range(64)]},
    "baseline": {
        "title": "baseline", "total": 28, "done": 3, "counted": "3/28 passes at most", "workers": [],
        "facts": [("ends", "when validation accuracy grows no more, after at most 15 min (--baseline-time)")],
    },
    "export": {
        "title": "export", "total": None, "facts": [], "workers": [], "ends": None,
        "counted": "writing tables, figures and the report; logging the front's networks in MLflow",
    },
    "confirmation": {
        "title": "confirmation", "counted": "12/45 trainings", "facts": [("last", "FC+CL, seed 5")], "workers": [],
    },
}  # fmt: skip
"""What differs in each phase from `made_phase`."""


def shown_words(lines: list[str]) -> list[str]:
    return " ".join(lines).split()


@pytest.mark.parametrize("name", PHASES)
def test_a_terminal_of_80_by_24_shows_every_word_of_a_phase(name):
    phase = made_phase(**PHASES[name])
    terminal = DrawnTerminal()
    display = LiveDisplay(terminal.console(), phase)
    display.start(refresh=True)
    lines = lines_of(terminal.screen)
    display.stop()

    assert len(lines) < ROWS and all(len(line) < COLUMNS for line in lines)
    words = shown_words(lines)
    said = [phase.title, phase.counted, *(f"{word} {text}" for word, text in phase.facts)]
    assert set(" ".join(said).split()) <= set(words)
    assert "about 24 min left," in lines[0] or phase.left is None

    # Workers as far as there is room; of more, how many.
    hidden = int(words[words.index("and") + 1]) if lines[-1].strip().startswith("and ") else 0
    assert words.count("trial") >= len(phase.workers) - hidden
    assert hidden == (0 if len(phase.workers) < ROWS - 9 else len(phase.workers) - words.count("trial") + 1)


@pytest.mark.parametrize("columns", [1, 5, 20, 39, 40, 79, 80, 200])
@pytest.mark.parametrize("rows", [1, 2, 5, 24])
def test_a_display_fits_a_terminal_of_any_size_and_leaves_nothing(columns, rows):
    terminal = DrawnTerminal(columns, rows)
    console = terminal.console()
    display = LiveDisplay(console, made_phase())
    display.start(refresh=True)
    assert all(width < columns or columns == 1 for width in display.view.widths)
    assert len(display.view.widths) <= max(1, rows - 1)
    display.refresh()
    display.stop()
    assert lines_of(terminal.screen) == [] and not terminal.screen.cursor.hidden


def test_what_is_printed_stands_above_the_display():
    terminal = DrawnTerminal()
    console = terminal.console()
    display = LiveDisplay(console, made_phase())
    display.start(refresh=True)
    console.print("one message")
    lines = lines_of(terminal.screen)
    display.stop()
    assert lines[0] == "one message" and lines[1].startswith("part 3 of 5, search")
    assert lines_of(terminal.screen) == ["one message"]


@pytest.mark.parametrize("columns", [79, 41, 20])
def test_a_terminal_that_became_narrower_is_cleared_of_the_lines_that_it_broke(columns):
    terminal = DrawnTerminal()
    console = terminal.console()
    display = LiveDisplay(console, made_phase())
    display.start(refresh=True)
    broken = sum(math.ceil(width / columns) for width in display.view.widths)
    before = len(terminal.written)

    console.width = columns
    display.refresh()

    moved_up = terminal.written[before:].count(f"{ESCAPE}[1A")
    display.stop()
    assert moved_up == broken - 1


def test_no_escape_of_a_name_reaches_the_terminal():
    terminal = DrawnTerminal()
    phase = made_phase(facts=[("best so far", "a\x1b]0;title\x07b")])
    display = LiveDisplay(terminal.console(), phase)
    display.start(refresh=True)
    display.stop()
    assert "\x1b]" not in terminal.written and "\x07" not in terminal.written


def test_a_plain_line_has_all_that_a_display_has():
    phase = made_phase()
    line = describe_phase(phase)
    assert "\n" not in line and "about 24 min left" in line
    assert all(text in line for _, text in phase.facts) and phase.counted in line


# --- terminals and what is none, each a process


def test_a_display_is_drawn_in_place_and_taken_away(tmp_path):
    shown = TerminalProcess([SHOWN_PHASE, "1"], {}, tmp_path)
    shown.wait_for(lambda lines: any("3/10 trainings" in line for line in lines))
    during = lines_of(shown.screen)
    assert shown.end() == 0

    # Messages are broken between words.
    message = ["a message that is a good deal longer than a terminal of eighty columns is wide,", "in plain words"]
    assert during[:2] == message and during[2].startswith("search · ")
    assert shown.all_lines() == [*message, "warning: it has ended"]


@pytest.mark.parametrize(("environment", "codes"), [({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, True)])
def test_a_terminal_gets_no_more_than_it_can_show(environment, codes, tmp_path):
    shown = TerminalProcess([SHOWN_PHASE, "0.3"], environment, tmp_path)
    assert shown.end() == 0
    written = shown.written.decode()
    colours = [part for part in written.split(f"{ESCAPE}[")[1:] if part.split("m")[0].startswith(("3", "9"))]
    assert (ESCAPE in written) == codes and not colours
    assert shown.all_lines()[-1] == "warning: it has ended"


def test_a_pipe_gets_plain_lines_without_any_escape():
    environment = {"TERM": "xterm-256color", "COLUMNS": "20"}
    answer = subprocess.run(
        [sys.executable, SHOWN_PHASE, "0.1"], capture_output=True, text=True,
        env={"PATH": "/usr/bin", "PYTHONPATH": f"{ROOT}"} | environment,
    )  # fmt: skip
    assert answer.returncode == 0 and ESCAPE not in answer.stdout + answer.stderr
    first, begun, last = answer.stdout.splitlines()
    assert first.startswith("a message") and first.endswith("in plain words") and last == "warning: it has ended"
    assert begun == "search: 3/10 trainings"


def test_the_time_left_of_a_search_contains_the_report():
    phase = made_phase(included="the report")
    assert "about 24 min left with the report, 0:00 so far" in describe_phase(phase)
    phase.expect(4)
    assert "less than 10 s left with the report, 0:00 so far" in describe_phase(phase)
    assert "about 24 min left, then tfeid; 0:00 so far" in describe_phase(made_phase(then="tfeid"))


def test_the_seconds_of_the_report_are_part_of_the_time_left():
    lasted = []
    for afterwards in (0.0, 100.0):
        progress = Progress()
        progress.begin(20, set(), SearchPlan(), afterwards=afterwards)
        progress.work_began = time.monotonic() - 20
        lasted.append(progress._estimate_left(Course(of_rung(1, 10, 2.0), [], 20, SearchPlan())))
    assert lasted == pytest.approx([20, 120], abs=1)


def test_what_is_counted_tells_how_long_the_rest_takes(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("study.execution.phase.time.monotonic", lambda: clock[0])
    phase = Phase("data")
    with counting(phase, "images of CK+48"):
        clock[0] = 101.0
        tell_progress(500, 1000)
        assert phase.left is None  # too early
        clock[0] = 104.0
        tell_progress(800, 1000)
        assert phase.counted == "800/1,000 images of CK+48" and phase.left == pytest.approx(1.0)

        # The step that follows is counted from 0 on, and its own time tells what is left of it.
        with step("compared"):
            clock[0] = 105.0
            tell_progress(0, 900)
            assert phase.counted == "0/900 images of CK+48 compared" and phase.left is None
            clock[0] = 108.0
            tell_progress(300, 900)
            assert phase.left == pytest.approx(6.0)
        tell_progress(800, 1000)
    tell_progress(900, 1000)
    assert phase.done == 800  # nobody watches any more


@pytest.mark.parametrize("stored", [None, b"", b"nan\n", b"-3", b"1e9", b"\xff", b"9" * 1000])
def test_a_report_is_expected_to_take_as_long_as_the_last_one_did(stored, tmp_path):
    if stored is not None:
        (tmp_path / ".cache").mkdir()
        (tmp_path / ".cache/report-seconds").write_bytes(stored)
    assert expected_report_seconds(tmp_path) == USUAL_SECONDS
    note_report_seconds(tmp_path, 34.56)
    assert expected_report_seconds(tmp_path) == (USUAL_SECONDS if stored is None else 34.6)


def test_reading_drawing_and_training_tell_how_far_they_are(tmp_path, source):
    told: list[tuple[int, int]] = []
    steps: dict[str, list[tuple[int, int]]] = {}

    def note(done: int, total: int) -> None:
        told.append((done, total))
        steps.setdefault(current_step(), []).append((done, total))

    with watching(note):
        made_faces.jaffe(tmp_path / "data/jaffe")
        load("jaffe", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
        read, compared, written = steps[""].copy(), steps["compared"].copy(), steps["written"].copy()
        told.clear()

        drawn = draw("jaffe", scale=0.5)
        faces = sum(map(len, drawn.values()))
        pictures = told.copy()
        told.clear()

        config = BaselineConfig(network=TINY_NETWORK, epochs=2, processes=1, batch_size=32)
        find_or_train(source, config, Runtime(), tmp_path / "baselines")

    assert read == [(number, len(read)) for number in range(1, len(read) + 1)] and len(read) > 50
    assert compared[0] == (0, len(read)) and compared[-1] == (len(read), len(read))
    assert len(written) == 3 and written == sorted(written) and written[0] == (0, len(read))
    assert pictures[-1] == (faces, faces) and pictures == sorted(set(pictures))
    most = 2 * len(source.open("train"))
    assert told == [(done, most) for done in (*range(32, most, 32), most)]


def test_the_parent_shows_the_baseline_between_the_ends_of_its_passes(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    phase = Phase("baseline", counted=LOOKING)
    for done in (64, 3264):
        first = 100.0, 64
        _show_samples(done, 28709, first, 1, phase)
        clock[0] += 10.0
    clock[0] -= 10.0
    assert phase.counted == "pass 1, 3,264 of at most 28,709 images" and phase.is_most
    assert phase.left == pytest.approx((28709 - 3264) / 320)


class TickingLines(list):
    """Lines of a process that sends one every ten seconds of a test's clock."""

    def __init__(self, messages: list[dict], clock: list[float], shown: list[str], phase: Phase) -> None:
        super().__init__(json.dumps(message).encode() + b"\n" for message in messages)
        self.clock, self.shown, self.phase = clock, shown, phase

    def __iter__(self):
        for line in super().__iter__():
            yield line
            self.shown.append(describe_phase(self.phase))
            self.clock[0] += 10.0


def test_the_first_pass_says_how_long_a_pass_takes_and_that_its_limit_ends_none_midway(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    phase = Phase("baseline")
    shown: list[str] = []
    messages = [{"samples": [0, 60_000]}, {"samples": [1000, 60_000]}, {"baseline": {}}]

    _read_baseline(TickingLines(messages, clock, shown, phase), Progress(), phase, 1.0, 12_000)

    # A thousand images in ten seconds.
    # Which is longer than the limit, so the first pass is the last.
    assert "at most 2 min left" in shown[1]
    assert "a pass takes about 2 min" in shown[1] and "ends after at most 1 min (--baseline-time" in shown[0]


def test_the_evaluation_of_a_baseline_is_counted_with_the_time_that_is_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    phase = Phase("baseline", counted=LOOKING)
    shown: list[str] = []
    messages = [{"evaluated": [0, 4000]}, {"evaluated": [1000, 4000]}, {"baseline": {"file": "b"}}]

    found = _read_baseline(TickingLines(messages, clock, shown, phase), Progress(), phase, math.inf, 1)

    assert found.file == "b" and phase.left is not None
    assert "evaluating it, 1,000/4,000 answers · about 30 s left" in shown[1]


def test_a_study_of_few_configurations_says_its_time_left_once_half_have_ended():
    course = Course(of_rung(1, 2, 2.0), [], 6, SearchPlan())
    assert work_left(course) is None
    assert work_left(replace(course, ended=of_rung(1, 3, 2.0))) == pytest.approx(3 * 2)


def test_without_a_terminal_a_search_says_at_once_that_it_begins(capsys):
    progress = Progress()
    progress.begin(12, set())
    with progress:
        assert capsys.readouterr().out == "search: 12 configurations to try\n"


# --- Ctrl-C


def test_ctrl_c_is_answered_at_once_and_leaves_no_display(tmp_path):
    shown = TerminalProcess([SHOWN_PHASE, "60"], {}, tmp_path)
    shown.wait_for(lambda lines: any("3/10 trainings" in line for line in lines))
    shown.type(b"\x03")
    assert shown.wait_for(lambda lines: any("interrupted: workers stop" in line for line in lines)) < 1
    assert shown.end() == 130

    said = " ".join(shown.all_lines())
    for words in (
        "the same command goes on",
        "Ctrl-C again ends at once",
        "python -m study.report NAME --out elsewhere",
    ):
        assert words in said
    assert "3/10" not in said and "━" not in said and not shown.screen.cursor.hidden


def test_ctrl_c_at_the_first_moment_of_a_display_leaves_nothing_of_it(tmp_path):
    shown = TerminalProcess([SHOWN_PHASE, "60"], {}, tmp_path)
    shown.wait_for(lambda lines: any("search ·" in line for line in lines))
    shown.type(b"\x03")
    assert shown.end() == 130
    assert not any("search ·" in line or "3/10" in line for line in shown.all_lines())


def test_a_second_ctrl_c_ends_at_once_and_gives_the_cursor_back(tmp_path):
    shown = TerminalProcess([SHOWN_PHASE, "60", "stuck"], {}, tmp_path)
    shown.wait_for(lambda lines: any("0:01 so far" in line for line in lines))
    shown.type(b"\x03")
    shown.wait_for(lambda lines: any("interrupted: workers stop" in line for line in lines))
    time.sleep(0.4)

    shown.type(b"\x03")
    began = time.monotonic()
    assert shown.end() == 130 and time.monotonic() - began < 2
    assert "ended at once" in " ".join(shown.all_lines()) and not shown.screen.cursor.hidden


# --- names and tables


@pytest.mark.parametrize(
    ("alpha", "slope", "long", "short"),
    [
        (1.0, 0.0, "trial 12 (FU)", "FU 12"),
        (0.5, 0.0, "trial 12 (FU) at alpha 0.5", "FU 12 at 0.5"),
        (0.0, 1.0, "trial 12 (FU) at alpha 0 to 1", "FU 12 at 0 to 1"),
        (0.0, 0.0, "trial 12 (FU) at alpha 0", "FU 12 at 0"),
    ],
)
def test_a_network_has_one_name(alpha, slope, long, short):
    assert network_name(12, "FU", alpha, slope) == long
    assert network_name(12, "FU", alpha, slope, short=True) == short
    row = {"trial": 12, "strategy": "FU", "alpha": alpha, "alpha_slope": slope}
    assert row_name(row) == long and row_name(row, short=True) == short
    place = short.removeprefix("FU 12").removeprefix(" at ") or "1"
    assert confirmed_name({"name": "trial 12", "strategy": "FU", "alpha": place}) == short


def test_a_front_on_80_columns_has_a_line_for_each_network_however_long_the_names_are():
    info, trials = copy.deepcopy(made_answered())
    info["target"] |= {"name": "a-folder-of-faces-with-a-very-long-name", "kind": "real"}
    for trial in trials:
        trial.user_attrs["strategy"] = trial.user_attrs["strategy"] + "+" + "LLRD" * 9
    record = StudyRecord.from_json(info)
    table, _ = read_search(record, trials)
    console = Console(width=COLUMNS)
    with console.capture() as captured:
        console.print(front_rich_table(record, table, most=99))

    lines = [line.rstrip() for line in captured.get().splitlines()]
    networks = [line for line in lines if " % " in line and "[" in line]
    assert all(len(line) <= COLUMNS for line in lines)
    assert len(networks) == len(front_table(table)) and not any("…" in line for line in lines)
    assert all(f" {network['trial']}" in captured.get() for network in front_table(table).to_dict("records"))


# --- the next commands


OPTIONS = StudyOptions(
    target="tfeid", out="/data/my runs", data="/data/faces", storage="postgresql://me:s3cr3t@host/db",
    tracking_uri="sqlite:////data/my runs/m.db",
)  # fmt: skip


def test_the_next_commands_are_complete_and_hide_passwords():
    commands = dict(list_next_commands("NAME", OPTIONS, "models/x.safetensors", False))
    by_module = {shlex.split(line)[2]: shlex.split(line) for line in commands.values()}

    assert set(by_module) == {"study.predict", "study.confirm", "study.report"}
    assert by_module["study.predict"][3] == "/data/my runs/NAME/models/x.safetensors"
    assert by_module["study.confirm"][3:8] == [
        "NAME",
        "--out",
        "/data/my runs",
        "--storage",
        "postgresql://***@host/db",
    ]
    assert by_module["study.confirm"][8:] == ["--data", "/data/faces"]
    assert by_module["study.report"][3:] == by_module["study.confirm"][3:8]
    assert "s3cr3t" not in str(commands)


def test_defaults_need_no_words_and_what_was_done_is_not_proposed():
    commands = dict(list_next_commands("NAME", StudyOptions(target="tfeid"), "models/x.safetensors", True))
    lines = [shlex.split(line)[1:] for line in commands.values()]
    assert lines == [
        ["-m", "study.predict", "runs/NAME/models/x.safetensors", FACE],
        ["-m", "study.report", "NAME"],
    ]


def test_where_nothing_is_recommended_the_baseline_is_used_or_a_network_chosen_from_the_front():
    commands = list_next_commands("NAME", OPTIONS, None, False, "/data/my runs/.cache/baselines/b.safetensors")
    purposes, lines = zip(*commands, strict=True)

    assert shlex.split(lines[0])[2:] == ["study.predict", "/data/my runs/.cache/baselines/b.safetensors", FACE]
    assert "baseline" in purposes[0]
    assert "front" in purposes[1] and lines[1] == "/data/my runs/NAME/front.csv"
    assert "study.confirm" in lines[2]


@pytest.mark.parametrize("width", [20, 40, 80, 200, 10_000])
@pytest.mark.parametrize("indent", ["", "    "])
def test_a_command_that_is_broken_for_a_terminal_is_read_by_a_shell_as_it_was(width, indent):
    words = ["python", "-m", "study.confirm", "NAME", "--out", "/data/my runs", "--keep", "0.9", "--again"]
    lines = break_command(indent + shlex.join(words), width)
    read = subprocess.run(["sh", "-c", "printf '%s\\n' " + "\n".join(lines)], capture_output=True, text=True)
    assert read.stdout.splitlines() == words
    assert all(len(line) < width or len(line.split()) <= 4 for line in lines)


def test_progress_prints_a_command_whole_where_there_is_no_terminal(capsys):
    command = "python -m study.report " + "x" * 200
    Progress().show_command(command)
    assert capsys.readouterr().out == command + "\n"


# --- a whole study


@pytest.mark.slow
def test_a_whole_study_shows_each_phase_and_its_next_commands_run_as_they_are_printed(tmp_path):
    words = ["-m", "study.run", "--target", "tfeid", *QUICK, "--tracking-uri", "none", "--trials", "9"]
    course = ["--rungs", "2", "--folds", "2", "--race", "0.5", "--confirm", "1", "--out", "my runs"]
    shown = TerminalProcess([*words, *course, "--study", "shown"], {}, tmp_path)
    assert shown.end(300) == 0

    # Each phase was seen, none is left, and all lines fit.
    seen = {line.split(" · ")[0] for lines in shown.shots for line in lines if " so far" in line}
    assert {"baseline", "search", "confirmation", "export"} <= seen
    lines = shown.all_lines()
    assert not any(" so far" in line for line in lines)
    assert not any("…" in line for shot in shown.shots for line in shot)

    # Commands are copied with their continuation lines.
    printed = "\n".join(lines[lines.index("next:") + 1 :])
    commands = [part for part in printed.replace("\\\n", "").splitlines() if " -m study." in part]
    assert any("study.report" in command for command in commands)
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)
    for command in commands:
        if FACE not in command:
            subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path, env=environment)


RUN = ("--target", "tfeid", *QUICK, "--tracking-uri", "none", "--trials", "60")
ANSWERS = {
    "looking for it": "interrupted: the baseline's training stops",
    "thread each": "interrupted: workers stop",
}
"""What Ctrl-C is answered, by what is said before a phase begins."""


@pytest.fixture
def folder_of_run(started: str, request: pytest.FixtureRequest) -> Path:
    """An empty folder, where a baseline is trained; for what comes after it, one that has the baseline."""
    return request.getfixturevalue("tmp_path" if "looking" in started else "prepared_folder")


@pytest.mark.slow
@pytest.mark.parametrize("started", ANSWERS)
def test_ctrl_c_is_answered_within_a_second_in_a_studys_terminal(started, folder_of_run):
    shown = TerminalProcess(["-m", "study.run", *RUN], {}, folder_of_run)
    shown.wait_for(lambda lines: started in " ".join(lines), 120)
    time.sleep(2)
    shown.type(b"\x03")
    assert shown.wait_for(lambda lines: ANSWERS[started] in " ".join(lines)) < 1
    assert shown.end() == 130 and "-m study.run" in " ".join(shown.all_lines())


@pytest.mark.slow
@pytest.mark.parametrize("started", ANSWERS)
def test_ctrl_c_is_answered_within_a_second_without_a_terminal(started, folder_of_run):
    process = start("run", *RUN, folder=folder_of_run)
    assert process.stdout is not None and process.stderr is not None
    while started not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline().startswith(ANSWERS[started]) and time.monotonic() - began < 1

    code, out, err = end(process)
    assert code == 130 and "-m study.run" in err and ESCAPE not in out + err


def test_ctrl_c_while_text_is_evaluated_leaves_the_exit_code_as_it_is(tmp_path):
    work = "def work(_): exec('raise KeyboardInterrupt')\n"
    (tmp_path / "odd.py").write_text(f"from study.cli import leave, run_command\n{work}leave(run_command(work, []))")
    answer = subprocess.run(
        [sys.executable, "-m", "odd"], capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    assert answer.returncode == 130 and answer.stderr == "interrupted\n"
