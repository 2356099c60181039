"""The report in a real browser: no console error, no request, hovering and clicking work, nothing is cut off."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import MARKS, launched

from made_study import made_answered, made_confirmed
from study.fronts import front_table
from study.record import StudyRecord
from study.reporting import export, figures
from study.reporting.html_report import render_html
from study.reporting.trial_details import collect_trial_details
from study.trials import trials_table

pytestmark = MARKS


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    info, trials = made_confirmed()
    table = trials_table(trials)
    files, notes = figures.draw_figures(StudyRecord.from_json(info), table, trials)
    vectors = {name.removesuffix(".svg"): files[name].decode() for name in files if name.endswith(".svg")}
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(
        render_html(
            StudyRecord.from_json(info),
            table,
            vectors,
            notes,
            None,
            collect_trial_details(StudyRecord.from_json(info), table, trials),
        )
    )
    return path


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """The page of a study whose search recommends a network by expected accuracies."""
    info, trials = made_answered()
    return export.export(info, trials, tmp_path_factory.mktemp("searched"))[0].parent / "report.html"


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(params=[(390, "light"), (1280, "light"), (390, "dark"), (1280, "dark")], ids=str)
def opened(request, browser, report):
    yield from open_page(browser, report, *request.param)


@pytest.fixture(params=[(390, "light"), (1280, "dark")], ids=str)
def opened_search(request, browser, searched):
    yield from open_page(browser, searched, *request.param)


def open_page(browser, report: Path, width: int, scheme: str) -> Iterator[Any]:
    """Yields a page in a tab, and afterwards sees that it made no error and asked for nothing."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    tab = context.new_page()
    errors: list[str] = []
    asked: list[str] = []

    def note_message(message):
        if message.type in ("error", "warning"):
            errors.append(message.text)

    def note_error(error):
        errors.append(str(error))

    def note_request(request):
        if not request.url.startswith(("data:", "blob:")):
            asked.append(request.url)

    tab.on("console", note_message)
    tab.on("pageerror", note_error)
    tab.on("request", note_request)
    tab.goto(report.as_uri())
    tab.wait_for_selector("#front .scatterlayer .point")
    yield tab
    assert errors == [] and asked == [report.as_uri()]
    context.close()


def middle_of_a_point(tab, number: int) -> tuple[float, float]:
    """Returns where a trial's marker is on the screen."""
    place = """(wanted) => {
      const box = document.getElementById("front");
      for (const trace of box.calcdata) for (const point of trace) {
        const data = point.trace && point.trace.customdata;
        if (data && data[point.i] === wanted) {
          const axes = box._fullLayout, frame = box.getBoundingClientRect();
          return [frame.x + axes.xaxis._offset + axes.xaxis.c2p(point.x),
                  frame.y + axes.yaxis._offset + axes.yaxis.c2p(point.y)];
        }
      }
    }"""
    tab.locator("#front").scroll_into_view_if_needed()
    found = tab.evaluate(place, number)
    assert found, f"trial {number} is not drawn"
    return found[0], found[1]


def test_hovering_shows_the_knobs_and_clicking_the_trial(opened):
    _, trials = made_confirmed()
    front = front_table(trials_table(trials))
    number = int(front["trial"].iloc[0])
    assert opened.locator("#detail h3").inner_text().startswith("Trial ")

    x, y = middle_of_a_point(opened, number)
    opened.mouse.move(x, y)
    opened.wait_for_selector("#front .hoverlayer .hovertext")
    said = opened.locator("#front .hoverlayer").text_content()
    assert f"Trial {number}" in said and "lr" in said and "frozen_layers" in said

    opened.mouse.click(x, y)
    opened.wait_for_function(f"document.querySelector('#detail h3').textContent.startsWith('Trial {number} ')")
    panel = opened.locator("#detail")
    assert panel.locator(".matrix").count() == 4 and panel.locator(".plot .scatterlayer .trace").count() == 3
    assert panel.locator(".bars").count() == 2  # what each expression kept; how alike the layers stayed
    assert opened.locator("#pick").input_value() == str(number)


def test_a_list_chooses_a_trial_without_a_pointer(opened):
    other = opened.locator("#pick option").last.get_attribute("value")
    opened.locator("#pick").select_option(other)
    assert opened.locator("#detail h3").inner_text().startswith(f"Trial {other} ")


def test_nothing_is_wider_than_the_screen(opened):
    wide = opened.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def test_the_order_of_the_report_begins_with_the_recommendation(opened):
    headings = opened.locator("h2").all_inner_texts()
    assert headings[:4] == ["Recommended network", "Front", "Confirmed on test images", "Answers"]


def test_ink_and_ground_contrast_in_both_schemes(opened):
    """WCAG's ratio of 7 for text on the page and 3 for the chart's labels."""
    ratio = """(selector) => {
      const light = (colour) => { const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => {
        v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const style = getComputedStyle(document.querySelector(selector));
      const ink = style.fill !== "rgb(0, 0, 0)" && selector.includes("text") ? style.fill : style.color;
      const pair = [light(ink), light(getComputedStyle(document.body).backgroundColor)].sort((a, b) => b - a);
      return (pair[0] + 0.05) / (pair[1] + 0.05);
    }"""
    assert opened.evaluate(ratio, "main p.lead") >= 7
    assert opened.evaluate(ratio, "#front .xtick text") >= 3


def test_a_search_shows_its_recommended_network_and_race(opened_search):
    tab = opened_search
    assert tab.locator("h2").first.inner_text() == "Recommended network"
    assert tab.locator("main pre").first.inner_text().startswith("python")
    assert tab.locator("img[alt='race of the study']").count() == 1
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    # The panel begins with the recommended network's trial, and says where it was trained.
    assert " · rung " in tab.locator("#detail h3").inner_text() and "fold " in tab.locator("#detail h3").inner_text()
    assert "Expected from" in tab.locator("#detail").inner_text()

    # The ring has the ink of the page, which the dark scheme changes.
    ink = tab.evaluate("getComputedStyle(document.body).color.match(/[0-9]+/)[0] > 128")
    ring = tab.evaluate("document.getElementById('front').data.find((t) => t.name === 'Recommended').marker.color")
    assert ring == ("#ececec" if ink else "#1a1a1a")
