"""What of a study's record in its storage can be relied on, checked once before anything does.

Whatever is not what this program writes is left out and named; the rest is read. Training again needs a complete
record: `required_record` refuses one that is not.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fer.architecture import Architecture
from fer.errors import InputError
from fer.expressions import ExpressionSet, is_stored_expressions
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


def _is_reference(value: object) -> bool:
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
    ("expressions",): is_stored_expressions,
    **{(domain, "name"): is_name for domain in DOMAINS},
}
_TESTED = ("test", "lower", "upper")
"""Numbers that every confirmed point has for both domains."""
_FIGURES = ("_p", "_alone", "_change", "_detectable", *(f"_{name}" for name in _TESTED))
"""How the names of all its figures for a domain end."""
_HANDED_OVER = "_handed_over"
"""What the names of the figures of a network that is handed over have after the domain."""


def readable_record(stored: object) -> Reading:
    """Returns a study's record with the parts that are what this program writes, and the names of those that are not.

    A confirmation with anything odd in its results is left out completely: half of a comparison would mislead.

    Args:
        stored: What the storage has as the study's record.
    """
    if stored is None:
        return Reading({}, [])
    if not isinstance(stored, Mapping):
        return Reading({}, ["the study's record"])
    record: dict[str, Any] = {}
    odd: list[str] = []

    # Entries that are JSON, and sections that are dicts; an entry that is empty is nothing odd.
    for name, value in stored.items():
        is_section = name not in _SECTIONS or isinstance(value, Mapping)
        if is_plain(value) and is_section:
            record[name] = encodable(value)
        elif value is not None:
            odd.append(show_name(name))

    # Dicts within sections.
    for section, name in _NESTED:
        entries = record.get(section, {})
        if isinstance(entries.get(name, {}), Mapping):
            continue
        if entries[name] is not None:
            odd.append(f"{section}.{name}")
        record[section] = {key: item for key, item in entries.items() if key != name}

    # Values.
    for path, rule in _RULES.items():
        *sections, name = path
        entries = record.get(sections[0], {}) if sections else record
        if name in entries and not rule(entries[name]):
            odd.append(".".join(path))
            del entries[name]

    # The confirmation as a whole, and matrices, which have as many expressions as the study.
    odd += _leave_out_results(record)
    return Reading(record, odd)


def _leave_out_results(record: dict[str, Any]) -> list[str]:
    """Leaves out of a record what cannot be results on its expressions, and returns the names of these entries."""
    classes = len(ExpressionSet.from_json(record.get("expressions")))
    odd = []
    if "confirmation" in record and not is_confirmation(record["confirmation"], classes):
        odd.append("confirmation")
        del record["confirmation"]
    baseline = record.get("baseline", {})
    if not is_confusion(baseline.get("confusion", {}), classes):
        odd.append("baseline.confusion")
        del baseline["confusion"]
    if not _is_list_of(partial(is_confusion, classes=classes), baseline.get("confusion_of_folds", [])):
        odd.append("baseline.confusion_of_folds")
        del baseline["confusion_of_folds"]
    return odd


def is_confirmation(value: object, classes: int) -> bool:
    """Returns whether the record of a confirmation is what this program writes, under way or finished.

    Args:
        value: As it is stored.
        classes: Number of the study's expressions.
    """
    if not isinstance(value, Mapping):
        return False
    if not is_text(value.get("opened")) or not is_count(value.get("seeds")):
        return False
    earlier = value.get("earlier", [])
    if not _is_list_of(is_text, earlier):
        return False
    if "results" not in value:
        return True
    results = value["results"]
    return isinstance(results, Mapping) and _are_results(results, classes)


def _are_results(results: Mapping[str, Any], classes: int) -> bool:
    """Returns whether the results of a confirmation are what this program writes."""
    return (
        _are_points(results.get("points"))
        and _is_all_or_nothing(results, _TOGETHER)
        and _are_names_by_point(results.get("alike", {}))
        and _is_list_of(partial(_are_class_results, classes), results.get("inside", []))
        and _is_list_of(_is_difference, results.get("differences", []))
    )


def _are_points(points: object) -> bool:
    """Returns whether a value is a list of confirmed points, the baseline first.

    What one point has, all have, but for what only a comparison with the baseline can have.
    """
    if not isinstance(points, list) or not points or not _is_list_of(_is_confirmed_point, points):
        return False
    baseline, *others = points
    if not others:
        return True
    names = _figures(others[0])
    if any(_figures(point) != names for point in others):
        return False
    shared = {f"{domain}_{name}" for domain in DOMAINS for name in ("p", *_TESTED)}
    return shared & names <= set(baseline)


def _are_names_by_point(value: object) -> bool:
    """Returns whether a value is a dict of lists of names."""
    return isinstance(value, Mapping) and all(_is_list_of(is_text, names) for names in value.values())


def _is_list_of(rule: Callable[[object], bool], value: object) -> bool:
    return isinstance(value, list) and all(map(rule, value))


def _figures(point: Mapping[str, Any]) -> set[str]:
    """Returns the names of a confirmed point's figures that tables show for both domains.

    Those of a network that is handed over are not among them: a named strategy has none.
    """
    of_domains = {name for name in point if name.startswith(DOMAINS) and name.endswith(_FIGURES)}
    return {name for name in of_domains if _HANDED_OVER not in name}


def _is_all_or_nothing(values: Mapping[str, Any], rules: Mapping[str, Callable[[Any], bool]]) -> bool:
    """Returns whether either none of some names is there, or all are, each as its rule says."""
    there = [name for name in rules if name in values]
    return not there or (len(there) == len(rules) and all(rules[name](values[name]) for name in rules))


def _is_detectable(value: object) -> bool:
    """Returns whether a value is a number of pairs, and the difference that their tests would find on each domain."""
    if not isinstance(value, Mapping) or not is_count(value.get("count")):
        return False
    sizes = value.get("detectable")
    return isinstance(sizes, Mapping) and all(item is None or is_number(item) for item in sizes.values())


def _is_tested(value: object) -> bool:
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


def _is_confirmed_point(point: object) -> bool:
    if not isinstance(point, Mapping):
        return False
    texts = ("name", "strategy", "alpha", "model")
    has_texts = all(is_text(point.get(name)) for name in texts) and is_text(point.get("named", ""))
    has_accuracies = all(is_number(point.get(f"{domain}_{name}")) for domain in DOMAINS for name in _TESTED)
    others = [value for name, value in point.items() if name not in (*texts, "named", "front")]
    are_numbers = all(value is None or is_number(value) for value in others)
    return has_texts and has_accuracies and are_numbers and isinstance(point.get("front"), bool)


def _are_class_results(classes: int, results: object) -> bool:
    if not isinstance(results, Mapping):
        return False
    recalls = results.get("recall", {})
    layers = results.get("cka", [])
    return (
        is_confusion(results.get("confusion", {}), classes)
        and isinstance(recalls, Mapping)
        and all(isinstance(values, Mapping) for values in recalls.values())
        and _is_list_of(is_number, layers)
        and (results.get("probe_change") is None or is_number(results["probe_change"]))
    )


def _is_difference(row: object) -> bool:
    figures = ("mean", "lower", "upper")
    return (
        isinstance(row, Mapping)
        and all(is_text(row.get(name)) for name in ("one", "other"))
        and all(is_number(row.get(f"{domain}_{name}")) for domain in DOMAINS for name in figures)
    )


def _is_switch(value: object) -> bool:
    """Returns whether a value is an option's that is on or off, as this version or an earlier one stores it."""
    return value in ("on", "off") or isinstance(value, bool)


_REQUIRED: Mapping[tuple[str, ...], Callable[[Any], bool]] = {
    ("name",): is_name,
    ("id",): is_text,
    ("budget_epochs",): is_number,
    ("versions",): lambda value: isinstance(value, Mapping),
    ("options", "space"): lambda value: value in ("card", "full", "paper"),
    ("options", "sampler"): is_name,
    ("options", "seed"): is_count,
    ("options", "preset"): is_name,
    ("options", "early_stop"): _is_switch,
    ("options", "interpolate"): _is_switch,
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


def required_record(stored: object, name: str) -> dict[str, Any]:
    """Returns a study's record if it holds what training in this study needs.

    Args:
        stored: What the storage has as the study's record.
        name: Of the study.

    Raises:
        InputError: It does not; training by guesses would give numbers that cannot be compared.
    """
    if not isinstance(stored, Mapping):
        raise _incomplete(name, "no record")
    for path, rule in _REQUIRED.items():
        entry: Any = stored
        for part in path:
            entry = entry.get(part, _MISSING) if isinstance(entry, Mapping) else _MISSING
        if entry is _MISSING or not rule(entry):
            raise _incomplete(name, f"{'.'.join(path)} missing or odd")
    network = Architecture.from_json(stored.get("network"))
    if not network.is_known:
        raise _incomplete(name, f"network {network.name} without entries that fit it")
    # A study from before other expressions were known says nothing of them.
    if not is_stored_expressions(stored.get("expressions", {})):
        raise _incomplete(name, "expressions odd")
    return dict(stored)


def _incomplete(name: str, want: str) -> InputError:
    """Returns the error of a study whose record is not complete, given what it lacks."""
    return InputError(
        "a study's record in its storage says what it was started with",
        f"{name} with {want}",
        "Put back a copy of the storage, or start a new study with --study NAME.",
    )
