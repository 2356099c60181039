"""What of the trials in a storage can be relied on, checked once before anything does.

A journal may have been edited, merged or damaged, or written by another version of this program. Whatever in a trial
is not what this program writes is left out and named; the rest is read. The study's record is read by
`study.reading_record`.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fer.config import DEPTH_NAMES, AdaptationConfig, ViewRecipe
from study.record import DOMAINS
from study.stored_values import (
    Reading,
    encodable,
    is_confusion,
    is_count,
    is_fold,
    is_name,
    is_number,
    is_plain,
    is_rung,
    is_share,
    is_text,
    show_name,
)

RUNG = "rung:"
"""How the attribute begins that holds a trial's objectives at a rung; the share of the budget follows."""
INTERPOLATED_RUNG = "rung on the way:"
"""How the attribute begins that holds those of the trial's interpolated networks; the share follows."""
UNREADABLE = "its objectives in the storage are not two accuracies"
"""The reason of a finished trial that cannot be read, which counts as a failed one."""
MOST_POINTS = 100_000
"""Points of a curve: more than this program writes by far."""
_OBJECTIVES = tuple(f"{domain}_val" for domain in DOMAINS)
_NUMBERS = {field.name for field in fields(AdaptationConfig) if isinstance(field.default, int | float)}
_VIEWS = {f"views_{field.name}" for field in fields(ViewRecipe)}
_NUMERIC_HYPERPARAMETERS = (_NUMBERS | _VIEWS | {*DEPTH_NAMES.values()}) - {
    "fusion_ratio",
    "fused_share",
}  # which may be "natural"


def readable_trial(trial: FrozenTrial) -> Reading:
    """Returns a trial with the attributes that are what this program writes.

    One that finished without two accuracies counts as failed. A trial in which nothing is odd is returned as it is.
    """
    attributes, odd = readable_attributes(trial.user_attrs)
    values = trial.values
    has_accuracies = values is not None and len(values) == 2 and all(map(is_share, values))
    is_unreadable = trial.state == TrialState.COMPLETE and not has_accuracies
    if is_unreadable:
        odd = [*odd, "objectives"]
    if attributes == trial.user_attrs and not odd:
        return Reading(trial, [])

    # The storage's own object is shared, so a copy is changed.
    mended = copy.copy(trial)
    mended.user_attrs = attributes
    if is_unreadable:
        mended.state = TrialState.FAIL
        mended.values = None
        mended.user_attrs = attributes | {"reason": UNREADABLE}
    return Reading(mended, odd)


def readable_trials(trials: Iterable[FrozenTrial]) -> Reading:
    """Returns trials as `readable_trial` does, and what was odd in which."""
    readings = [(trial.number, readable_trial(trial)) for trial in trials]
    odd = [f"trial {number} ({', '.join(reading.odd)})" for number, reading in readings if reading.odd]
    return Reading([reading.value for _, reading in readings], odd)


def readable_attributes(stored: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns a trial's attributes that are what this program writes, and the names of those that are not."""
    attributes: dict[str, Any] = {}
    odd: list[str] = []
    for name, value in stored.items():
        if not is_plain(value):
            odd.append(show_name(name))
        elif name in _DICTS:
            # Of a dict each entry is read by itself.
            right, wrong = _readable_entries(value, _DICTS[name])
            odd += [f"{name}.{show_name(key)}" for key in wrong]
            if right is None:
                odd.append(name)
            else:
                attributes[name] = right
        elif _fits(name, value):
            attributes[name] = encodable(value)
        else:
            odd.append(show_name(name))
    return attributes, odd


def _readable_entries(stored: object, rule: Callable[[str, object], bool]) -> tuple[dict[str, Any] | None, list[str]]:
    """Returns the entries of a dict that follow a rule, None where it is none, and the names of the others."""
    if not isinstance(stored, Mapping):
        return None, []
    wrong = [name for name, value in stored.items() if not rule(name, value)]
    right = {encodable(name): encodable(value) for name, value in stored.items() if name not in wrong}
    return right, wrong


def _fits(name: str, value: object) -> bool:
    """Returns whether an attribute other than `config` and `measures` is what this program writes."""
    if name.startswith(RUNG):
        return _is_decimal(name.removeprefix(RUNG)) and _is_vector(value)
    if name.startswith(INTERPOLATED_RUNG):
        return isinstance(value, list | tuple) and all(map(_is_vector, value))
    rule = _ATTRIBUTES.get(name)
    return rule is None or rule(value)


def _is_seconds(value: object) -> bool:
    return is_number(value) and value >= 0


def _is_curve(value: object) -> bool:
    if not isinstance(value, list) or len(value) > MOST_POINTS:
        return False
    return all(isinstance(point, Mapping) and _is_point(point) for point in value)


def _is_point(point: Mapping[str, Any]) -> bool:
    """Returns whether a curve's point holds numbers alone, NaN where a loss diverged, at an epoch from 0 on."""
    epoch = point.get("epoch") or 0.0
    are_numbers = all(item is None or is_number(item) or isinstance(item, float) for item in point.values())
    return are_numbers and is_number(epoch) and 0 <= epoch < 1e9


def _is_vector(value: object) -> bool:
    """Returns whether a value is a pair of numbers, (source, target), as a network has it at a rung."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value))


def _is_course(value: object) -> bool:
    """Returns whether a value is what a race knew: numbers by name."""
    return isinstance(value, Mapping) and all(map(is_number, value.values()))


def _is_list_of_points(value: object) -> bool:
    """Returns whether a value is a list of interpolation points, each alpha and slope."""
    return isinstance(value, list | tuple) and all(map(_is_vector, value))


def _are_counts(value: object) -> bool:
    """Returns whether a value is a list of whole numbers that count something."""
    return isinstance(value, list | tuple) and all(map(is_count, value))


def _are_answers(value: object) -> bool:
    """Returns whether a value holds answers: by interpolation point, for each domain a text."""
    if not isinstance(value, Mapping):
        return False
    return all(isinstance(of_point, Mapping) and all(map(is_text, of_point.values())) for of_point in value.values())


def _is_decimal(text: str) -> bool:
    """Returns whether a text is a plain number from 0 to 1, as names of rungs and of interpolated networks hold it."""
    units, _, decimals = text.partition(".")
    has_decimals = decimals.isascii() and decimals.isdigit()
    return units in ("0", "1") and (decimals == "" or has_decimals)


def _is_hyperparameter(name: str, value: object) -> bool:
    """Returns whether a hyperparameter has a name that can be shown and, where it is numeric, a number or nothing."""
    if not is_name(name):
        return False
    return name not in _NUMERIC_HYPERPARAMETERS or value is None or is_number(value)


def _is_measure(name: str, value: object) -> bool:
    """Returns whether a measure is a number; of an interpolated network, an objective is an accuracy."""
    if not is_name(name) or "@" in name:
        return False
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))

    # An objective of an interpolated network, such as "source_val/0.50" or "source_val/0.00+1.00".
    objective, slash, interpolation = name.partition("/")
    if objective in _OBJECTIVES and slash:
        alpha, plus, slope = interpolation.partition("+")
        is_interpolation = _is_decimal(alpha) and (not plus or _is_decimal(slope))
        return is_interpolation and (is_missing or is_share(value))
    return is_missing or is_number(value)


_DICTS: Mapping[str, Callable[[str, object], bool]] = {"config": _is_hyperparameter, "measures": _is_measure}
"""Which entries of an attribute that is a dict can be relied on, by their name and value."""
_ATTRIBUTES: Mapping[str, Callable[[object], bool]] = {
    "strategy": is_name,
    "reason": is_text,
    "key": is_text,
    "seconds": _is_seconds,
    "curve": _is_curve,
    "confusion": is_confusion,
    "twin_of": is_count,
    "copy_of": is_count,
    "slot": is_count,
    "rung": is_rung,
    "fold": is_fold,
    "repeat": is_count,
    "race": _is_course,
    "handed_over": _is_list_of_points,
    "recipe_of": is_count,
    "parts": _are_counts,
    "answers": _are_answers,
    "promoted_from": is_count,
}
