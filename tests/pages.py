"""Reads a report's page as a browser would: its tags, and its text outside scripts and styles."""

from html.parser import HTMLParser

from study.record import StudyRecord
from study.reporting import figure_style, paper_table
from study.reporting.html_report import render_html
from study.reporting.trial_details import collect_trial_details
from study.tuning.summary import read_search

WITHOUT_END = ("meta", "img", "br")


class Page(HTMLParser):
    """Counts tags and collects text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.stack: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in WITHOUT_END:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def report_of(info: dict, trials: list, notes: dict | None = None) -> Page:
    """Returns the page of a study whose figures are left out, each with its note."""
    record = StudyRecord.from_json(info)
    table, summary = read_search(record, trials)
    if notes is None:
        notes = dict.fromkeys(figure_style.NAMES, "left out")
    paper = paper_table.study_paper_table(record, table)
    details = collect_trial_details(record, table, trials)
    return Page(render_html(record, table, {}, notes, paper, details, summary))
