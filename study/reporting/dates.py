"""Dates for readers."""

from datetime import UTC, datetime


def format_date(text: str) -> str:
    """Returns "29 November 2026, 19:05 UTC" for a date in ISO 8601, "" for none; other text stays as it is.

    Args:
        text: A date with its time; without an offset, it stays the local time of wherever it was written.
    """
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return text
    if date.tzinfo is None:
        return f"{date.day} {date:%B %Y, %H:%M}"
    return f"{date.astimezone(UTC).day} {date.astimezone(UTC):%B %Y, %H:%M} UTC"


def describe_opening(opened: object) -> str:
    """Returns when test sets were opened: "on 29 November 2026, 19:05 UTC".

    Args:
        opened: The date as a confirmation stores it; None where it does not.
    """
    return "at an unknown time" if opened is None else f"on {format_date(str(opened))}"
