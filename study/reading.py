"""What a study's storage holds, checked once before anything relies on it.

A journal may have been edited, merged or damaged, or written by another version of this program. Whatever in a trial
or in a study's record is not what this program writes is left out and named; the rest is read. Training again needs a
whole record: `required_record` refuses one that is not.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from optuna.trial import TrialState

from fer.config import AdaptationConfig, ViewRecipe
from fer.errors import InputError, printable, shorten
from fer.expressions import EXPRESSIONS
from study.record import DOMAINS

OBJECTIVES = tuple(f"{side}_val" for side in DOMAINS)
RUNG = "rung:"
ON_THE_WAY = "rung on the way:"
"""What the attribute that holds a trial's vector at a rung begins with; the share of the budget follows."""
UNREADABLE = "its objectives in the storage are not two accuracies"
"""The reason of a finished trial that cannot be read, which counts as a failed one."""
LONGEST_TEXT, DEEPEST, MOST_POINTS = 20_000, 12, 100_000
"""Characters of a text, levels of nesting, points of a curve: more than this program writes by far."""
_NUMBERS = {field.name for field in fields(AdaptationConfig) if isinstance(field.default, int | float)}
_VIEWS = {f"views_{field.name}" for field in fields(ViewRecipe)}
_NUMERIC_KNOBS = (_NUMBERS | _VIEWS) - {"fusion_ratio"}  # which may be "natural"


@dataclass(frozen=True)
class Reading:
    """Trials or a record as they can be relied on.

    Attributes:
        value: What is left: a list of trials, or a record.
        odd: What was left out, each in a few words.
    """

    value: Any
    odd: list[str]


# Values.


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite number of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def is_count(value: Any) -> bool:
    """Returns whether a value is a whole number that counts something."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_share(value: Any) -> bool:
    """Returns whether a value is an accuracy or another number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_plain(value: Any, depth: int = DEEPEST) -> bool:
    """Returns whether a value is JSON of bounded depth, text and numbers, which every export can hold."""
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    if isinstance(value, bool | float | None):
        return True
    if isinstance(value, int):
        return abs(value) < 2**63
    if depth == 0:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(item, depth - 1) for key, item in value.items())
    return isinstance(value, list | tuple) and all(is_plain(item, depth - 1) for item in value)


def encodable(value: Any) -> Any:
    """Returns a copy of text, dicts and lists in which what no UTF-8 can hold, half of a surrogate pair, is escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(item) for item in value]
    return value


def is_confusion(value: Any) -> bool:
    """Returns whether a value is a 7×7 table of numbers for source and target, or for one of them."""
    size = len(EXPRESSIONS)

    def is_table(table: Any) -> bool:
        rows = table if isinstance(table, list) and len(table) == size else [None]
        return all(isinstance(row, list) and len(row) == size and all(map(is_number, row)) for row in rows)

    return isinstance(value, Mapping) and set(value) <= set(DOMAINS) and all(map(is_table, value.values()))


# Trials.


def readable_trial(trial: Any) -> Reading:
    """Returns a trial with the attributes that are what this program writes.

    One that finished without two accuracies counts as failed. A trial in which nothing is odd is returned as it is.
    """
    attributes, odd = readable_attributes(trial.user_attrs)
    finished = trial.state == TrialState.COMPLETE
    values = trial.values
    unreadable = finished and not (values is not None and len(values) == 2 and all(map(is_share, values)))
    if unreadable:
        odd = [*odd, "objectives"]
    if attributes == trial.user_attrs and not odd:
        return Reading(trial, [])

    # The storage's own object is shared, so a copy is changed.
    mended = copy.copy(trial)
    mended.user_attrs = attributes
    if unreadable:
        mended.state, mended.values = TrialState.FAIL, None
        mended.user_attrs = attributes | {"reason": UNREADABLE}
    return Reading(mended, odd)


def readable_trials(trials: Iterable[Any]) -> Reading:
    """Returns trials as `readable_trial` does, and what was odd in which."""
    readings = [(trial.number, readable_trial(trial)) for trial in trials]
    odd = [f"trial {number} ({', '.join(reading.odd)})" for number, reading in readings if reading.odd]
    return Reading([reading.value for _, reading in readings], odd)


def readable_attributes(given: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns a trial's attributes that are what this program writes, and the names of those that are not."""
    attributes: dict[str, Any] = {}
    odd: list[str] = []
    for name, value in given.items():
        shown = _shown(name)
        if not is_plain(value):
            odd.append(shown)
        elif name in ("config", "measures"):
            if not isinstance(value, Mapping):
                odd.append(shown)
                continue
            keep = _is_knob if name == "config" else _is_measure
            attributes[name] = encodable({key: item for key, item in value.items() if keep(key, item)})
            odd += [f"{name}.{_shown(key)}" for key, item in value.items() if not keep(key, item)]
        elif _fits(name, value):
            attributes[name] = encodable(value)
        else:
            odd.append(shown)
    return attributes, odd


def _fits(name: str, value: Any) -> bool:
    """Returns whether an attribute other than `config` and `measures` is what this program writes."""
    if name.startswith(RUNG):
        return _is_decimal(name.removeprefix(RUNG)) and _is_vector(value)
    if name.startswith(ON_THE_WAY):
        return isinstance(value, list | tuple) and all(map(_is_vector, value))
    rule = _ATTRIBUTES.get(name)
    return rule is None or rule(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    """Returns whether a value is a text without control characters, which stands in tables and on terminals."""
    return isinstance(value, str) and bool(value) and len(value) <= 200 and printable(value) == value


def _is_seconds(value: Any) -> bool:
    return is_number(value) and value >= 0


def _is_curve(value: Any) -> bool:
    points = value if isinstance(value, list) else [None]
    return len(points) <= MOST_POINTS and all(isinstance(point, Mapping) and _is_point(point) for point in points)


def _is_point(point: Mapping[str, Any]) -> bool:
    """Returns whether a curve's point holds numbers alone, NaN where a loss diverged, at an epoch from 0 on."""
    epoch = point.get("epoch") or 0.0
    numbers = all(item is None or is_number(item) or isinstance(item, float) for item in point.values())
    return numbers and is_number(epoch) and 0 <= epoch < 1e9


def _is_vector(value: Any) -> bool:
    """Returns whether a value is a pair of numbers, (source, target), as a network has it at a rung."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value))


def _is_decimal(text: str) -> bool:
    """Returns whether a text is a plain number from 0 to 1, as names of rungs and of interpolated networks hold it."""
    whole, _, digits = text.partition(".")
    return whole in ("0", "1") and (digits == "" or (digits.isascii() and digits.isdigit()))


def _is_knob(name: str, value: Any) -> bool:
    if not _is_name(name):
        return False
    return value is None or is_number(value) if name in _NUMERIC_KNOBS else True


def _is_measure(name: str, value: Any) -> bool:
    """Returns whether a measure is a number, and one of an interpolated network an accuracy with a place."""
    if not _is_name(name) or "@" in name:
        return False
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    side, slash, place = name.partition("/")
    if side in OBJECTIVES and slash:
        share, plus, slope = place.partition("+")
        places = _is_decimal(share) and (not plus or _is_decimal(slope))
        return places and (missing or is_share(value))
    return missing or is_number(value)


_ATTRIBUTES: Mapping[str, Callable[[Any], bool]] = {
    "strategy": _is_name,
    "reason": _is_text,
    "key": _is_text,
    "seconds": _is_seconds,
    "curve": _is_curve,
    "confusion": is_confusion,
    "twin_of": is_count,
    "copy_of": is_count,
    "slot": is_count,
}


# The record.


def _is_reference(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and len(value) == 2 and all(map(is_share, value)))


def _is_optional(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or rule(value)


_SECTIONS = ("source", "target", "options", "network", "baseline", "versions", "hardware", "calibration")
_NESTED = (("source", "report"), ("target", "report"), ("baseline", "measures"))
_RULES: Mapping[tuple[str, ...], Callable[[Any], bool]] = {
    ("name",): _is_text,
    ("id",): _is_text,
    ("created",): _is_text,
    ("ended",): _is_optional(_is_text),
    ("budget_epochs",): is_number,
    ("options", "reference"): _is_reference,
    ("options", "folds"): is_count,
    ("options", "amount"): is_share,
    ("options", "min_retention"): is_share,
    ("options", "space"): _is_name,
    ("baseline", "confusion"): is_confusion,
    **{(side, "name"): _is_name for side in DOMAINS},
}
_TESTED = ("test", "lower", "upper")
"""Numbers that every confirmed point has for both domains."""
_FIGURES = ("_p", "_alone", "_change", "_detectable", *(f"_{name}" for name in _TESTED))
"""How the names of all its figures for a domain end."""


def readable_record(given: Any) -> Reading:
    """Returns a study's record with the parts that are what this program writes, and the names of those that are not.

    A confirmation with anything odd in its results is left out as a whole: half of a comparison would mislead.
    """
    if not isinstance(given, Mapping):
        return Reading({}, ["the study's record"] if given is not None else [])
    record: dict[str, Any] = {}
    odd: list[str] = []
    for name, value in given.items():
        if not is_plain(value) or (name in _SECTIONS and not isinstance(value, Mapping)):
            odd += [_shown(name)] if value is not None else []
        else:
            record[name] = encodable(value)

    for section, name in _NESTED:
        part = record.get(section, {})
        if not isinstance(part.get(name, {}), Mapping):
            odd += [f"{section}.{name}"] if part[name] is not None else []
            record[section] = {key: item for key, item in part.items() if key != name}

    for path, rule in _RULES.items():
        place = record if len(path) == 1 else record.get(path[0], {})
        if path[-1] in place and not rule(place[path[-1]]):
            odd.append(".".join(path))
            del place[path[-1]]

    if "confirmation" in record and not is_confirmation(record["confirmation"]):
        odd.append("confirmation")
        del record["confirmation"]
    return Reading(record, odd)


def is_confirmation(value: Any) -> bool:
    """Returns whether the record of a confirmation is what this program writes, under way or finished."""
    if not isinstance(value, Mapping):
        return False
    head = isinstance(value.get("opened"), str) and is_count(value.get("seeds"))
    earlier = value.get("earlier", [])
    if not head or not isinstance(earlier, list) or not all(map(_is_text, earlier)):
        return False
    if "results" not in value:
        return True
    results = value["results"]
    return isinstance(results, Mapping) and _are_results(results)


def _are_results(results: Mapping[str, Any]) -> bool:
    points = results.get("points")
    if not isinstance(points, list) or not points or not all(map(_is_confirmed_point, points)):
        return False
    # What one point has, all have, but for what only a comparison with the first, the baseline, can have.
    compared = [_figures(point) for point in points[1:]]
    if any(names != compared[0] for names in compared):
        return False
    shared = {f"{side}_{name}" for side in DOMAINS for name in ("p", *_TESTED)} & set().union(*compared[:1])
    if not shared <= set(points[0]):
        return False
    if not _is_all_or_nothing(results, _TOGETHER):
        return False

    alike = results.get("alike", {})
    inside = results.get("inside", [])
    differences = results.get("differences", [])
    return (
        isinstance(alike, Mapping)
        and all(isinstance(others, list) and all(map(_is_text, others)) for others in alike.values())
        and isinstance(inside, list)
        and all(map(_is_inside, inside))
        and isinstance(differences, list)
        and all(map(_is_difference, differences))
    )


def _figures(point: Mapping[str, Any]) -> set[str]:
    """Returns the names of a confirmed point's figures that tables show for both domains."""
    return {name for name in point if name.startswith(DOMAINS) and name.endswith(_FIGURES)}


def _is_all_or_nothing(values: Mapping[str, Any], rules: Mapping[str, Callable[[Any], bool]]) -> bool:
    """Returns whether either none of some names is there, or all are, each as its rule says."""
    there = [name for name in rules if name in values]
    return not there or (len(there) == len(rules) and all(rules[name](values[name]) for name in rules))


def _is_detectable(value: Any) -> bool:
    """Returns whether a value is a number of pairs, and the difference that their tests would find on each domain."""
    if not isinstance(value, Mapping) or not is_count(value.get("count")):
        return False
    sizes = value.get("detectable")
    return isinstance(sizes, Mapping) and all(item is None or is_number(item) for item in sizes.values())


def _is_tested(value: Any) -> bool:
    """Returns whether a value tells images and people of both test sets, None for people whom nobody knows."""
    if not isinstance(value, Mapping) or not all(isinstance(value.get(side), Mapping) for side in DOMAINS):
        return False
    images = all(is_count(value[side].get("images")) for side in DOMAINS)
    return images and all(
        value[side].get("people", 0) is None or is_count(value[side].get("people")) for side in DOMAINS
    )


_TOGETHER: Mapping[str, Callable[[Any], bool]] = {
    "pairs": _is_detectable,
    "tested": _is_tested,
    "comparisons": is_count,
    "level": is_share,
}
"""What the statistics say of all points together; a confirmation of an earlier version has none of it."""


def _is_confirmed_point(point: Any) -> bool:
    if not isinstance(point, Mapping):
        return False
    names = all(_is_text(point.get(name)) for name in ("name", "strategy", "alpha", "model"))
    tested = all(is_number(point.get(f"{side}_{name}")) for side in DOMAINS for name in _TESTED)
    told = {"name", "named", "strategy", "alpha", "model", "front"}
    numbers = all(item is None or is_number(item) for name, item in point.items() if name not in told)
    named = _is_text(point.get("named", ""))
    return names and named and tested and numbers and isinstance(point.get("front"), bool)


def _is_inside(found: Any) -> bool:
    if not isinstance(found, Mapping):
        return False
    recalls = found.get("recall", {})
    layers = found.get("cka", [])
    return (
        is_confusion(found.get("confusion", {}))
        and isinstance(recalls, Mapping)
        and all(isinstance(values, Mapping) for values in recalls.values())
        and isinstance(layers, list)
        and all(map(is_number, layers))
        and (found.get("probe_change") is None or is_number(found["probe_change"]))
    )


def _is_difference(row: Any) -> bool:
    figures = ("mean", "lower", "upper")
    return (
        isinstance(row, Mapping)
        and all(_is_text(row.get(name)) for name in ("one", "other"))
        and all(is_number(row.get(f"{side}_{name}")) for side in DOMAINS for name in figures)
    )


_REQUIRED: Mapping[tuple[str, ...], Callable[[Any], bool]] = {
    ("name",): _is_name,
    ("id",): _is_text,
    ("budget_epochs",): is_number,
    ("versions",): lambda value: isinstance(value, Mapping),
    ("options", "space"): lambda value: value in ("card", "full", "paper"),
    ("options", "sampler"): _is_name,
    ("options", "seed"): is_count,
    ("options", "preset"): _is_name,
    ("options", "early_stop"): _is_name,
    ("options", "interpolate"): _is_name,
    ("options", "lr"): is_number,
    ("options", "amount"): is_share,
    ("options", "equalise"): lambda value: isinstance(value, bool),
    ("options", "keep_duplicates"): lambda value: isinstance(value, bool),
    **{(side, name): _is_name for side in DOMAINS for name in ("name", "kind", "digest")},
    **{(side, "report"): lambda value: isinstance(value, Mapping) for side in DOMAINS},
    **{("baseline", name): _is_name for name in ("digest", "device", "precision")},
    ("baseline", "file"): _is_text,
    ("baseline", "source_val"): is_number,
}
_MISSING = object()


def required_record(value: Any, name: str) -> dict[str, Any]:
    """Returns a study's record if it holds what training in this study needs.

    Raises:
        InputError: It does not; training by guesses would give numbers that cannot be compared.
    """
    for path, rule in _REQUIRED.items():
        found: Any = value
        for part in path:
            found = found.get(part, _MISSING) if isinstance(found, Mapping) else _MISSING
        if found is _MISSING or not rule(found):
            what = "no record" if not isinstance(value, Mapping) else f"{'.'.join(path)} missing or odd"
            raise InputError(
                "a study's record in its storage says what it was started with",
                f"{name} with {what}",
                "Put back a copy of the storage, or start a new study with --study NAME.",
            )
    return dict(value)


def notice(odd: list[str], most: int = 8) -> str:
    """Returns one sentence on what could not be read; nothing where all could."""
    if not odd:
        return ""
    shown = ", ".join(odd[:most]) + (f" and {len(odd) - most} more" if len(odd) > most else "")
    parts = "1 entry" if len(odd) == 1 else f"{len(odd)} entries"
    return f"{parts} of the storage cannot be read and were left out: {shown}."


def _shown(name: Any) -> str:
    return shorten(printable(name), 60)
