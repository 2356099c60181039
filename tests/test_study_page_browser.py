"""The report in a real browser: no console error, no request, hovering and clicking work, nothing is cut off."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe import find_axe, violations
from browsers import MARKS, launched

from made_study import made_answered, made_confirmed
from study.fronts import front_table
from study.record import StudyRecord
from study.reporting import export, figures
from study.reporting.html_report import render_html
from study.reporting.partial_report import write_partial_report
from study.reporting.trial_details import collect_trial_details
from study.trials import trials_table
from study.tuning.summary import read_search

pytestmark = MARKS

WIDTHS = (390, 800, 1280)
SCHEMES = ("light", "dark")


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
def partial(tmp_path_factory) -> Path:
    """The page of a study that runs."""
    return write_partial_report(*made_answered(), tmp_path_factory.mktemp("partial"), 30)


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


def open_page(
    browser, report: Path, width: int, scheme: str, awaited: str = "#front .scatterlayer .point"
) -> Iterator[Any]:
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
    tab.wait_for_selector(awaited)
    yield tab
    assert errors == [] and asked == [report.as_uri()]
    context.close()


# A network's own place, that of the small marker which the pointer finds first where it is on the front.
PLACES_OF_NETWORKS = """() => {
  const chart = document.getElementById("front"), axes = chart._fullLayout, frame = chart.getBoundingClientRect();
  const places = {};
  for (const points of chart.calcdata) {
    const keys = points[0].trace.customdata || [];
    points.forEach((point, index) => places[keys[index]] = [
      frame.x + axes.xaxis._offset + axes.xaxis.c2p(point.x), frame.y + axes.yaxis._offset + axes.yaxis.c2p(point.y)]);
  }
  return places;
}"""


def places_of_networks(tab) -> dict[str, list[float]]:
    """Returns where each network's marker is on the screen, the chart's upper edge at the screen's."""
    tab.evaluate("document.getElementById('front').scrollIntoView()")
    return tab.evaluate(PLACES_OF_NETWORKS)


def front_of(made) -> list[str]:
    """Returns the files of a front's networks."""
    info, trials = made()
    return list(front_table(read_search(StudyRecord.from_json(info), trials)[0])["model"])


def distance(one: list[float], other: list[float]) -> float:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def hover(tab, place: list[float]) -> Any:
    """Moves the pointer to a place and returns the label that appears."""
    tab.mouse.move(place[0] + 60, 2)
    tab.wait_for_function("!document.querySelector('#front .hoverlayer .hovertext')")
    tab.mouse.move(*place)
    tab.wait_for_selector("#front .hoverlayer .hovertext", timeout=3000)
    return tab.locator("#front .hoverlayer .hovertext")


def name_of(tab, model: str) -> str:
    return tab.evaluate("(key) => JSON.parse(document.getElementById('details').textContent).networks[key].name", model)


# --- the front


def check_every_label(tab, front: list[str]) -> None:
    """Hovers every network of a front: its label, or that of one at the same place, shows whole within the chart."""
    places = places_of_networks(tab)
    frame = tab.locator("#front").bounding_box()
    for model in front:
        label = hover(tab, places[model])
        said = label.text_content()
        near = [name_of(tab, other) for other in front if distance(places[other], places[model]) < 4]
        assert any(said.startswith(name) for name in near), (said, near)
        assert all(word in said for word in ("source ", "target ", "kept "))
        box = label.locator("text.nums").bounding_box()
        assert box["x"] >= frame["x"] - 1 and box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
        assert box["y"] >= frame["y"] - 1 and box["y"] + box["height"] <= frame["y"] + frame["height"] + 1
        assert len(label.locator("tspan.line").all()) <= 5


def test_every_point_of_a_confirmed_front_shows_its_label_within_the_chart(opened):
    check_every_label(opened, front_of(made_confirmed))


def test_every_point_of_a_searched_front_shows_its_label_within_the_chart(opened_search):
    check_every_label(opened_search, front_of(made_answered))


@pytest.mark.skipif("REPORT_HTML" not in os.environ, reason="no page of a real study (REPORT_HTML)")
@pytest.mark.parametrize("width", WIDTHS)
def test_every_point_of_a_real_front_shows_its_label(browser, width):
    for tab in open_page(browser, Path(os.environ["REPORT_HTML"]), width, "light"):
        networks = tab.evaluate("JSON.parse(document.getElementById('details').textContent).networks")
        check_every_label(tab, [key for key, network in networks.items() if network["front"]])


def test_two_clicked_points_are_compared_and_the_chart_stays_in_view(opened):
    front = front_of(made_confirmed)
    first, second = front[:2]  # far from each other and from all others, also where the chart is narrow
    assert opened.locator("#detail h3").inner_text().startswith("Trial ")
    places = places_of_networks(opened)
    before = opened.evaluate("scrollY")

    for model in (first, second):
        hover(opened, places[model])
        opened.mouse.click(*places[model])
        opened.wait_for_function("(key) => document.getElementById('pick-b').value === key", arg=model)
        opened.wait_for_timeout(400)  # of two clicks within 300 ms plotly makes a double one

    # Both stand in the table, whose rows are what they are made of and each expression.
    table = opened.locator("#compare").inner_text()
    assert name_of(opened, first) in table and name_of(opened, second) in table
    assert all(word in table for word in ("Source kept", "frozen layers", "lr", "on test", "anger", "neutral"))
    assert opened.locator("#pick-a").input_value() == first and opened.evaluate("scrollY") == before
    letters = opened.locator("#front .annotation").all_text_contents()
    assert letters == ["A", "B"]

    # The panel is about the second.
    panel = opened.locator("#detail")
    assert panel.locator(".matrix").count() == 4 and panel.locator(".plot .scatterlayer .trace").count() == 3
    assert panel.locator(".bars").count() == 2  # recall kept of each expression; how similar the layers stayed


def test_letters_of_two_close_points_do_not_cover_each_other(opened):
    pair = opened.evaluate("""() => {
      const networks = Object.entries(JSON.parse(document.getElementById("details").textContent).networks);
      const placed = networks.filter(([, network]) => network.place);
      let closest = null;
      for (const [first, {place: a}] of placed) for (const [second, {place: b}] of placed) {
        const distance = Math.hypot(a[0] - b[0], a[1] - b[1]);
        if (distance > 0.3 && (closest === null || distance < closest.distance)) closest = {first, second, distance};
      }
      return [closest.first, closest.second];
    }""")
    for selector, model in zip(("#pick-a", "#pick-b"), pair, strict=True):
        opened.locator(selector).select_option(model)

    first, second = (letter.bounding_box() for letter in opened.locator("#front .annotation-text-g").all())
    beside = abs(first["x"] - second["x"]) >= min(first["width"], second["width"])
    above = abs(first["y"] - second["y"]) >= min(first["height"], second["height"])
    assert beside or above


def test_the_tools_of_the_chart_lie_within_the_screen(opened):
    opened.evaluate("document.getElementById('front').scrollIntoView()")
    chart = opened.locator("#front").bounding_box()
    opened.mouse.move(chart["x"] + chart["width"] / 2, chart["y"] + 100)
    boxes = [button.bounding_box() for button in opened.locator("#front .modebar-btn").all()]
    assert len(boxes) == 6
    for box in boxes:
        assert box["x"] >= 0 and box["x"] + box["width"] <= opened.viewport_size["width"]


def test_lists_choose_networks_without_a_pointer(opened):
    other = opened.locator("#pick-b option").last.get_attribute("value")
    opened.locator("#pick-b").select_option(other)
    assert name_of(opened, other) in opened.locator("#compare").inner_text()
    opened.locator("#pick-a").select_option(other)
    assert opened.locator("#front .annotation").all_text_contents() == ["AB"]


def test_the_chart_and_what_follows_do_not_overlap(opened):
    chart = opened.locator("#front .main-svg").first.bounding_box()
    choice = opened.locator(".choice").bounding_box()
    legend = opened.locator("#front .legend").bounding_box()
    assert legend["y"] + legend["height"] <= chart["y"] + chart["height"] + 1
    assert chart["y"] + chart["height"] <= choice["y"] + 1
    names = " ".join(opened.locator("#front .legendtext").all_text_contents())
    kinds = ("Recommended", "Baseline", "adapted network", "interpolated network", "not on the front")
    assert all(kind in names for kind in kinds)


# --- the page


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "searched", "partial"])
def test_nothing_is_wider_than_the_screen(browser, request, name, width):
    awaited = "svg.front" if name == "partial" else "#front .scatterlayer .point"
    for tab in open_page(browser, request.getfixturevalue(name), width, "light", awaited):
        tab.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_confirmed_table_fits_a_desktop(browser, report):
    for tab in open_page(browser, report, 1280, "light"):
        frame = ".scroll:has(.of-confirmed)"
        assert (
            tab.evaluate(
                f"(() => {{ const e = document.querySelector('{frame}'); return e.scrollWidth - e.clientWidth }})()"
            )
            <= 0
        )


def test_the_order_of_the_report_begins_with_what_to_use(opened):
    headings = opened.locator("h2").all_inner_texts()
    assert headings[:5] == [
        "Use this network", "Why this network", "Confirmed on test images", "Front", "Questions and answers",
    ]  # fmt: skip


def test_commands_are_copied(browser, report):
    for tab in open_page(browser, report, 800, "light"):
        tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        buttons = tab.locator(".to-copy button")
        assert buttons.count() == tab.locator("pre.copy").count() >= 4
        for index in range(buttons.count()):
            buttons.nth(index).click()
            tab.wait_for_function(
                "(index) => document.querySelectorAll('.to-copy button')[index].textContent !== 'Copy'", arg=index
            )
            assert tab.evaluate("navigator.clipboard.readText()") == tab.locator("pre.copy").nth(index).text_content()


def test_a_link_of_the_contents_and_of_a_word_leads_there(opened):
    opened.locator("nav a", has_text="Glossary").click()
    assert opened.evaluate("location.hash") == "#glossary"
    opened.locator("a.term").first.click()
    place = opened.evaluate("document.querySelector(location.hash).getBoundingClientRect().y")
    assert 0 <= place < 900


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["report", "searched", "partial"])
def test_the_page_is_accessible(browser, request, name, width, scheme):
    script = find_axe()
    if script is None:
        pytest.skip("no axe-core on this machine (npm install axe-core, or AXE_CORE=its axe.min.js)")
    awaited = "svg.front" if name == "partial" else "#front .scatterlayer .point"
    for tab in open_page(browser, request.getfixturevalue(name), width, scheme, awaited):
        tab.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        # That a page which grows refreshes itself is its purpose.
        refreshed = ("meta-refresh",) if name == "partial" else ()
        assert violations(tab, script, but=refreshed) == []


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
    assert tab.locator("h2").first.inner_text() == "Use this network"
    assert tab.locator("main pre").nth(1).inner_text().split()[1:3] == ["-m", "study.predict"]
    assert tab.locator("img[alt='race of the study']").count() == 1

    # The panel begins with the recommended network's trial, and says where it was trained.
    assert " · rung " in tab.locator("#detail h3").inner_text() and "fold " in tab.locator("#detail h3").inner_text()
    assert "Expected from" in tab.locator("#detail").inner_text()

    # The ring has the ink of the page, which the dark scheme changes.
    ink = tab.evaluate("getComputedStyle(document.body).color.match(/[0-9]+/)[0] > 128")
    ring = tab.evaluate("document.getElementById('front').data.find((t) => t.name === 'Recommended').marker.color")
    assert ring == ("#ececec" if ink else "#1a1a1a")


@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "an earlier version's"])
def test_matrices_before_and_after_are_of_the_same_images_or_say_of_which_each_is(browser, tmp_path, is_stored):
    info, trials = copy.deepcopy(made_answered())
    for trial in trials:
        fold = trial.user_attrs.get("fold", 0)
        trial.user_attrs["confusion"] = {"source": matrix_of(7), "target": matrix_of(10 + fold)}
    info["baseline"]["confusion"] = {"source": matrix_of(7), "target": matrix_of(33)}
    if is_stored:
        info["baseline"]["confusion_of_folds"] = [{"target": matrix_of(10 + fold)} for fold in range(3)]
    report = export.export(info, trials, tmp_path)[0].parent / "report.html"

    for tab in open_page(browser, report, 1280, "light"):
        titles = tab.locator("#detail .matrix p").all_inner_texts()
        counts = tab.locator("#detail .matrix tr:nth-child(2) th").evaluate_all("(cells) => cells.map((c) => c.title)")

        # Source, then target.
        assert titles[:2] == ["before", "after"] and counts[0] == counts[1] == "anger, 7 images"
        if is_stored:
            assert titles[2:] == ["before", "after"] and counts[2] == counts[3] != "anger, 33 images"
            assert ", which judged this trial." in tab.locator("#detail").inner_text()
        else:
            assert counts[2] == "anger, 33 images" != counts[3]
            assert titles[2] == "before, images of all folds" and titles[3].startswith("after, images of fold ")


def matrix_of(images: int) -> list[list[int]]:
    """A confusion matrix of so many images of each expression, all recognised."""
    return [[images * (row == column) for column in range(7)] for row in range(7)]
