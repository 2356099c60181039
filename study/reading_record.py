"""What of a study's record in its storage can be relied on, checked once before anything does.

Whatever is not what this program writes is left out and named; the rest is read. Training again needs a complete
record: `required_record` refuses one that is not.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fer.errors import InputError
from study.record import DOMAINS
from study.stored_values import (
    Reading,
    encodable,
    is_confusion,
    is_count,
    is_name,
    is_number,
    is_plain,
    is_share,
    is_text,
    show_name,
)

_MISSING = object()


def _is_reference(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and len(value) == 2 and all(map(is_share, value)))


def _is_optional(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or rule(value)


_SECTIONS = ("source", "target", "options", "network", "baseline", "versions", "hardware", "calibration")
_NESTED = (("source", "report"), ("target", "report"), ("baseline", "measures"))
_RULES: Mapping[tuple[str, ...], Callable[[Any], bool]] = {
    ("name",): is_text,
    ("id",): is_text,
    ("created",): is_text,
    ("ended",): _is_optional(is_text),
    ("budget_epochs",): is_number,
    ("options", "reference"): _is_reference,
    ("options", "folds"): is_count,
    ("options", "amount"): is_share,
    ("options", "min_retention"): is_share,
    ("options", "space"): is_name,
    ("baseline", "confusion"): is_confusion,
    **{(domain, "name"): is_name for domain in DOMAINS},
}
_TESTED = ("test", "lower", "upper")
"""Numbers that every confirmed point has for both domains."""
_FIGURES = ("_p", "_alone", "_change", "_detectable", *(f"_{name}" for name in _TESTED))
"""How the names of all its figures for a domain end."""


def readable_record(given: Any) -> Reading:
    """Returns a study's record with the parts that are what this program writes, and the names of those that are not.

    A confirmation with anything odd in its results is left out completely: half of a comparison would mislead.
    """
    if not isinstance(given, Mapping):
        return Reading({}, ["the study's record"] if given is not None else [])
    record: dict[str, Any] = {}
    odd: list[str] = []
    for name, value in given.items():
        if not is_plain(value) or (name in _SECTIONS and not isinstance(value, Mapping)):
            odd += [show_name(name)] if value is not None else []
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
    if not head or not isinstance(earlier, list) or not all(map(is_text, earlier)):
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
    required = {f"{domain}_{name}" for domain in DOMAINS for name in ("p", *_TESTED)}
    compared_names = compared[0] if compared else set()
    if not required & compared_names <= set(points[0]):
        return False
    if not _is_all_or_nothing(results, _TOGETHER):
        return False

    alike = results.get("alike", {})
    class_results = results.get("inside", [])
    differences = results.get("differences", [])
    return (
        isinstance(alike, Mapping)
        and all(isinstance(others, list) and all(map(is_text, others)) for others in alike.values())
        and isinstance(class_results, list)
        and all(map(_are_class_results, class_results))
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
    if not isinstance(value, Mapping) or not all(isinstance(value.get(domain), Mapping) for domain in DOMAINS):
        return False
    for domain in DOMAINS:
        people = value[domain].get("people", _MISSING)
        if not is_count(value[domain].get("images")):
            return False
        if not (people is None or is_count(people)):
            return False
    return True


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
    names = all(is_text(point.get(name)) for name in ("name", "strategy", "alpha", "model"))
    tested = all(is_number(point.get(f"{domain}_{name}")) for domain in DOMAINS for name in _TESTED)
    told = {"name", "named", "strategy", "alpha", "model", "front"}
    numbers = all(item is None or is_number(item) for name, item in point.items() if name not in told)
    named = is_text(point.get("named", ""))
    return names and named and tested and numbers and isinstance(point.get("front"), bool)


def _are_class_results(results: Any) -> bool:
    if not isinstance(results, Mapping):
        return False
    recalls = results.get("recall", {})
    layers = results.get("cka", [])
    return (
        is_confusion(results.get("confusion", {}))
        and isinstance(recalls, Mapping)
        and all(isinstance(values, Mapping) for values in recalls.values())
        and isinstance(layers, list)
        and all(map(is_number, layers))
        and (results.get("probe_change") is None or is_number(results["probe_change"]))
    )


def _is_difference(row: Any) -> bool:
    figures = ("mean", "lower", "upper")
    return (
        isinstance(row, Mapping)
        and all(is_text(row.get(name)) for name in ("one", "other"))
        and all(is_number(row.get(f"{domain}_{name}")) for domain in DOMAINS for name in figures)
    )


_REQUIRED: Mapping[tuple[str, ...], Callable[[Any], bool]] = {
    ("name",): is_name,
    ("id",): is_text,
    ("budget_epochs",): is_number,
    ("versions",): lambda value: isinstance(value, Mapping),
    ("options", "space"): lambda value: value in ("card", "full", "paper"),
    ("options", "sampler"): is_name,
    ("options", "seed"): is_count,
    ("options", "preset"): is_name,
    ("options", "early_stop"): is_name,
    ("options", "interpolate"): is_name,
    ("options", "lr"): is_number,
    ("options", "amount"): is_share,
    ("options", "equalise"): lambda value: isinstance(value, bool),
    ("options", "keep_duplicates"): lambda value: isinstance(value, bool),
    **{(domain, name): is_name for domain in DOMAINS for name in ("name", "kind", "digest")},
    **{(domain, "report"): lambda value: isinstance(value, Mapping) for domain in DOMAINS},
    **{("baseline", name): is_name for name in ("digest", "device", "precision")},
    ("baseline", "file"): is_text,
    ("baseline", "source_val"): is_number,
}


def required_record(value: Any, name: str) -> dict[str, Any]:
    """Returns a study's record if it holds what training in this study needs.

    Raises:
        InputError: It does not; training by guesses would give numbers that cannot be compared.
    """
    for path, rule in _REQUIRED.items():
        entry: Any = value
        for part in path:
            entry = entry.get(part, _MISSING) if isinstance(entry, Mapping) else _MISSING
        if entry is _MISSING or not rule(entry):
            what = "no record" if not isinstance(value, Mapping) else f"{'.'.join(path)} missing or odd"
            raise InputError(
                "a study's record in its storage says what it was started with",
                f"{name} with {what}",
                "Put back a copy of the storage, or start a new study with --study NAME.",
            )
    return dict(value)
