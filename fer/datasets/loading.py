"""Loads a dataset by name: the user's copy or the stand-in, prepared once and kept under the hash of its content."""

import functools
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer.datasets.archives import open_copy
from fer.datasets.arrays import SPLITS
from fer.datasets.copy_files import reason_of, stat_lines
from fer.datasets.data_folder import find_dataset, list_entries, normalise, without_suffix
from fer.datasets.dataset import SIGNATURES, SUMS, DamagedDataset, Dataset, file_names, read_sums, sum_of
from fer.datasets.layouts import LAYOUTS, Layout, own_layout
from fer.datasets.scratch import clear_leftovers, scratch_folder
from fer.errors import InputError, printable, shorten
from fer.expressions import EXPRESSIONS
from fer.files import read_regular, write_atomically
from fer.seeding import seed_from

if TYPE_CHECKING:
    from fer.datasets.reader import Faces

VERSION = "2"  # of the reader: part of every digest, raised whenever the same files would give other arrays
KINDS = ("auto", "real", "synthetic")
REPORT = "report.json"
NAMES_KEPT = 20  # of skipped files, per reason, in the report
PEOPLE_KEPT = 200
REASONS_KEPT = 30
LONGEST_NAME = 200  # characters of a file's name in the report
_LONGEST_FOLDER = 100  # bytes of a dataset's name in the name of its prepared folder
_MOST_REPORT = 64 * 2**20  # bytes
_NAME = r"\w[\w.+ -]*"


@dataclass(frozen=True)
class _Options:
    """What the arrays depend on besides the files."""

    equalise: bool
    keep_duplicates: bool
    seed: int


@dataclass(frozen=True)
class _Prepared:
    """All images of a dataset, before they are written split by split; arrays of n rows.

    Attributes:
        groups: Equal for copies, see `fer.datasets.splits.copy_groups`.
        signatures: See `fer.datasets.copies`; None of drawn faces.
    """

    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    parts: np.ndarray
    groups: np.ndarray
    signatures: np.ndarray | None
    report: dict[str, Any]


def load(
    name: str,
    *,
    data_dir: Path | None,
    kind: str = "auto",
    cache_dir: Path,
    equalise: bool = False,
    keep_duplicates: bool = False,
    seed: int = 0,
    scale: float = 1.0,
) -> Dataset:
    """Loads a dataset: prepared at the first call, found again in a fraction of a second at the next.

    Args:
        name: A known dataset in any usual spelling, or a folder or archive of `data_dir`.
        data_dir: Holds one folder or archive per dataset.
        kind: "real": the user's copy; "synthetic": the drawn stand-in; "auto": the copy where there is one.
        cache_dir: Where prepared datasets are kept, one folder each, shared by all processes.
        equalise: Equalise every image's histogram.
        keep_duplicates: Keep training images whose exact pixels are in validation or test.
        seed: Of the splits and of the stand-in.
        scale: Factor on the stand-in's number of images.

    Raises:
        InputError: Unknown name; data missing, unreadable or against a rule of its layout.
    """
    if kind not in KINDS:
        raise InputError(f"a data kind is one of {', '.join(KINDS)}", kind, "Choose one of them.")
    layout = layout_of(name)
    path = find_copy(name, data_dir) if data_dir is not None and kind != "synthetic" else None
    _check_found(name, layout, path, data_dir, kind)
    if path is not None and layout.name not in LAYOUTS:
        layout = layout_of(_name_of(path))  # however it was spelled
    options = _Options(equalise, keep_duplicates, seed)
    cache_dir = _made(cache_dir)
    clear_leftovers(cache_dir)
    prepared = path and _real(layout, path, options, cache_dir)
    dataset = prepared or _stand_in(layout, options, scale, cache_dir)
    restore = functools.partial(
        load,
        name,
        data_dir=data_dir,
        kind=dataset.kind,
        cache_dir=cache_dir,
        equalise=equalise,
        keep_duplicates=keep_duplicates,
        seed=seed,
        scale=scale,
    )
    return replace(dataset, restore=restore)


def find_copy(name: str, data_dir: Path) -> Path | None:
    """Returns the folder or archive that a dataset's name leads to, None where there is none.

    Raises:
        InputError: The name cannot be a dataset's, or leads to several; or the data folder cannot be read.
    """
    layout = layout_of(name)
    others = [layout.name, *layout.aliases]
    others += [part.name for part in LAYOUTS.values() if part.part_of == layout.name]
    if layout.part_of:
        others += [layout.part_of, *LAYOUTS[layout.part_of].aliases]
    return find_dataset([name, *others], data_dir)


def same_files(one: Dataset, other: Dataset) -> bool:
    """Returns whether two datasets were prepared from one folder or archive, from copies of one, or drawn as one."""
    if one.digest == other.digest:
        return True
    contents = one.report.get("content"), other.report.get("content")
    places = one.report.get("place"), other.report.get("place")
    return any(first is not None and first == second for first, second in (contents, places))


def near_copies(one: Dataset, other: Dataset) -> dict[str, int]:
    """Counts images of one dataset that another dataset's held-out images show as well.

    Returns:
        How many images of "train" and of "validation" of `one` are copies or near-copies of validation or test images
        of `other`, see `fer.datasets.copies`. No test image is opened: the signatures were taken when the datasets
        were prepared. Drawn faces have none, and are copies of nothing.
    """
    from fer.datasets import copies

    if "synthetic" in (one.kind, other.kind):
        return {"train": 0, "validation": 0}
    mine, theirs = one.signatures(), other.signatures()
    held_out = np.concatenate([theirs["validation"], theirs["test"]])
    return {split: len(np.unique(copies.near_pairs(mine[split], held_out)[:, 0])) for split in ("train", "validation")}


def survey(data_dir: Path | None) -> dict[str, Path | None]:
    """Returns the known datasets and the user's own, each with the copy found in the data folder.

    Of several copies of a known dataset it returns the first; `find_copy` refuses to choose.

    Raises:
        InputError: The data folder is missing, empty or unreadable.
    """
    found: dict[str, Path | None] = dict.fromkeys(LAYOUTS)
    for name, path in list_entries(data_dir) if data_dir is not None else ():
        layout = layout_of(name, strict=False)
        if found.get(layout.name) is None:
            found[layout.name] = path
    for layout in LAYOUTS.values():
        if layout.part_of and found[layout.name] is None:
            found[layout.name] = found[layout.part_of]
    return found


def layout_of(name: str, strict: bool = True) -> Layout:
    """Returns the layout that a name in any usual spelling stands for; any other name is a user's own dataset.

    Raises:
        InputError: `strict` and the name cannot be a folder's.
    """
    if strict and not re.fullmatch(_NAME, name):
        rule = "a dataset's name is a folder's name: letters, digits and _ . + -"
        raise InputError(rule, name or "no name", f"Known names: {', '.join(LAYOUTS)}.")
    plain = normalise(name)
    for layout in LAYOUTS.values():
        if plain == normalise(layout.name) or plain in layout.aliases:
            return layout
    return own_layout(name)


def _name_of(path: Path) -> str:
    """Returns the name of a user's own dataset: its folder's, or its archive's without the suffix."""
    return path.name if path.is_dir() else without_suffix(path.name) or path.name


def folder_of(name: str, digest: str, cache_dir: Path) -> Path:
    """Returns the folder of a prepared dataset; of a long name, the beginning is enough beside the digest."""
    short = name.encode()[:_LONGEST_FOLDER].decode(errors="ignore")
    return cache_dir / f"{short}-{digest}"


def _check_found(name: str, layout: Layout, path: Path | None, data_dir: Path | None, kind: str) -> None:
    if path is not None or (kind != "real" and layout.name in LAYOUTS):
        return
    where = f"nothing named so in {data_dir}" if data_dir is not None else "no data folder (--data or FER_DATA)"
    if layout.name in LAYOUTS:
        rule = f"the real {layout.title} is a folder or archive named {layout.name} in the data folder"
        raise InputError(rule, where, "Put your copy there, or use --data-kind synthetic.")
    rule = f"a dataset is one of {', '.join(LAYOUTS)}, or a folder or archive in the data folder"
    raise InputError(rule, f"{name!r} with {where}", "Correct the name, or put the folder there.")


def _made(cache_dir: Path) -> Path:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "prepared data needs a folder to write to", f"{cache_dir} ({reason_of(error)})", "Give another with --out."
        ) from error
    return cache_dir


def _stand_in(layout: Layout, options: _Options, scale: float, cache_dir: Path) -> Dataset:
    from fer.datasets import synthetic

    digest = _digest("stand-in", VERSION, synthetic.VERSION, layout.name, scale, options)
    ready = _open(layout, "synthetic", digest, cache_dir)
    if ready:
        return ready
    with _lock(layout, cache_dir):
        ready = _open(layout, "synthetic", digest, cache_dir)
        if ready:
            return ready
        started = time.monotonic()
        prepared = _finish(_drawn(layout, options, scale), options)
        report = _heading(layout, "synthetic", digest, options) | {"scale": scale} | prepared.report
        _write(prepared, report, started, folder_of(layout.name, digest, cache_dir))
    return _require(layout, "synthetic", digest, cache_dir)


def _drawn(layout: Layout, options: _Options, scale: float) -> _Prepared:
    from fer.datasets import splits, synthetic

    drawn_as = layout.part_of or layout.name
    drawn = synthetic.draw(drawn_as, options.seed, scale)
    parts = np.concatenate([np.full(len(drawn[split].labels), index) for index, split in enumerate(SPLITS)])
    images, labels, subjects = (
        np.concatenate([getattr(drawn[split], part) for split in SPLITS]) for part in ("images", "labels", "subjects")
    )
    report = {
        "layout": "drawn stand-in",
        "content": _digest("drawn", synthetic.VERSION, drawn_as, options.seed, scale),
        "rule": "drawn per split, people in one split only",
        "skipped": {},
    }
    groups = splits.copy_groups(images, "synthetic")
    return _Prepared(images, labels.astype(np.int64), subjects.astype(np.int64), parts, groups, None, report)


def _real(layout: Layout, path: Path, options: _Options, cache_dir: Path) -> Dataset:
    """Prepares the user's copy.

    Two keys: names, sizes and times of the files lead quickly to the digest; the digest depends on their content, so
    that a copy on another machine, or packed in an archive, has the same.
    """
    key = cache_dir / ".keys" / _digest("key", VERSION, layout.name, options, path.resolve(), *stat_lines(path))
    ready = _by_key(key, layout, cache_dir)
    if ready:
        return ready
    with _lock(layout, cache_dir):
        ready = _by_key(key, layout, cache_dir)
        if ready:
            return ready
        started = time.monotonic()
        faces = _read(layout, path, cache_dir)
        digest = _digest("real", VERSION, layout.name, options, faces.content)
        if _open(layout, "real", digest, cache_dir) is None:
            prepared = _finish(_split(layout, faces, options.seed), options)
            _check(layout, prepared)
            places = {"copy": printable(path), "place": _digest("place", os.path.realpath(path))}
            report = _heading(layout, "real", digest, options) | places | prepared.report
            _write(prepared, report, started, folder_of(layout.name, digest, cache_dir))
        key.parent.mkdir(exist_ok=True)
        write_atomically(key, digest.encode())
    return _require(layout, "real", digest, cache_dir)


def _read(layout: Layout, path: Path, cache_dir: Path) -> "Faces":
    from fer.datasets.reader import read

    with open_copy(path, cache_dir) as copy:
        return read(layout, copy)


def _split(layout: Layout, faces: "Faces", seed: int) -> _Prepared:
    from fer.datasets import copies, splits

    known = [subject for subject in faces.subjects if subject is not None]
    people = {subject: number for number, subject in enumerate(sorted(set(known)))}
    subjects = np.array([-1 if who is None else people[who] for who in faces.subjects], dtype=np.int64)
    groups = splits.copy_groups(faces.images, "real")
    wanted = splits.wanted_sizes(len(faces.labels), layout.sizes)
    parts, rule = splits.assign_splits(
        faces.labels,
        subjects if len(known) == len(subjects) else None,
        groups,
        faces.splits,
        wanted,
        seed_from("splits", layout.name, seed),
    )
    skipped = _shortened(faces.skipped)
    inside = parts >= 0
    if not inside.all():
        skipped["outside the dataset's own splits"] = {"count": int((~inside).sum()), "names": []}
    notices = []
    if layout.people and not known:
        notices.append(f"{layout.title}'s subjects are not in this copy's names: people may be in several splits")
    if faces.cropped:
        total = len(faces.cropped) + faces.detected
        how = "cropped where the others' faces lie" if faces.framed else "centre-cropped"
        notices.append(f"no face detected in {len(faces.cropped):,} of {total:,} portraits: {how}")
    report = {
        "layout": layout.title,
        "content": faces.content,
        "rule": rule,
        "aimed": dict(zip(SPLITS, wanted, strict=True)) if rule.startswith("seeded") else None,
        "skipped": skipped,
        "faces": {
            "detected": faces.detected,
            "centre_cropped": len(faces.cropped),
            "names": [_name_text(name) for name in faces.cropped[:NAMES_KEPT]],
        },
        "people": {split: _people_in(people, subjects[parts == index]) for index, split in enumerate(SPLITS)},
        "notices": notices,
    }
    images = faces.images[inside]
    arrays = (faces.labels[inside], subjects[inside], parts[inside], groups[inside])
    return _Prepared(images, *arrays, copies.signatures(images), report)


def _people_in(people: Mapping[str, int], subjects: np.ndarray) -> list[str]:
    """Returns the names of the people who are among the subjects' numbers, the first 200 of them."""
    there = set(subjects.tolist())
    return [_name_text(who) for who, number in people.items() if number in there][:PEOPLE_KEPT]


def _shortened(skipped: Mapping[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Returns the commonest reasons with their counts and a few names each: reports go into every study's record."""
    ranked = sorted(skipped.items(), key=lambda item: -len(item[1]))
    rest = [name for _, names in ranked[REASONS_KEPT:] for name in names]
    entries_kept = [*ranked[:REASONS_KEPT], *([("other reasons", rest)] if rest else [])]
    return {
        _name_text(reason): {"count": len(names), "names": [_name_text(name) for name in names[:NAMES_KEPT]]}
        for reason, names in entries_kept
    }


def _name_text(name: str) -> str:
    """Returns a file's or a person's name as a report has it: short, and in characters that are shown as they are."""
    return shorten(printable(name), LONGEST_NAME)


def _check(layout: Layout, prepared: _Prepared) -> None:
    """Refuses a dataset that no study could use; notes what is only unusual."""
    for index, split in enumerate(SPLITS):
        if not (prepared.parts == index).any():
            rule = f"each split of {layout.title} holds images that no split after it holds too"
            raise InputError(
                rule,
                f"none in {split}, of {len(prepared.parts)} in all",
                "Add images, see why it shrank, or keep copies with --keep-duplicates.",
            )
    counts = np.bincount(prepared.labels[prepared.parts == 0], minlength=len(EXPRESSIONS))
    absent = [expression for expression, count in zip(EXPRESSIONS, counts, strict=True) if not count]
    if len(absent) > len(EXPRESSIONS) - 2:
        present = ", ".join(set(EXPRESSIONS) - set(absent))
        raise InputError(
            f"{layout.title} has two expressions or more", f"only {present}", "Add folders or rows of others."
        )
    if absent and layout.complete:
        rule = f"{layout.title} has training images of all seven expressions"
        raise InputError(rule, f"none of {', '.join(absent)}", "Complete the copy.")
    if absent:
        prepared.report["notices"].append(f"no training image of {', '.join(absent)}")


def _finish(prepared: _Prepared, options: _Options) -> _Prepared:
    """Equalises, counts the hazards and drops what a later split holds too: of training first, then of validation."""
    from fer.datasets import splits

    images = prepared.images
    if options.equalise:
        from fer.datasets.faces import equalise

        images = equalise(images)
    found, leaked = splits.find_hazards(images, prepared.labels, prepared.parts, prepared.groups)
    keep = np.ones_like(leaked) if options.keep_duplicates else ~leaked
    dropped = {
        f"dropped_from_{split}": int((~keep & (prepared.parts == SPLITS.index(split))).sum())
        for split in ("train", "validation")
    }

    labels, subjects = prepared.labels[keep], prepared.subjects[keep]
    parts, groups = prepared.parts[keep], prepared.groups[keep]
    of_test = np.isin(groups, groups[parts == SPLITS.index("test")])
    dropped_none = {"rows_of_validation_in_test": np.flatnonzero(of_test[parts == SPLITS.index("validation")]).tolist()}
    report = splits.summarise_splits(parts, labels, subjects) | prepared.report
    signatures = None if prepared.signatures is None else prepared.signatures[keep]
    hazards = {"hazards": found | dropped | dropped_none}
    return _Prepared(images[keep], labels, subjects, parts, groups, signatures, report | hazards)


def _heading(layout: Layout, kind: str, digest: str, options: _Options) -> dict[str, Any]:
    chosen = {"equalise": options.equalise, "keep_duplicates": options.keep_duplicates, "seed": options.seed}
    return {"name": layout.name, "kind": kind, "digest": digest, "reader": VERSION, "options": chosen}


def _digest(*parts: object) -> str:
    text = "\x1f".join(map(str, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _lock(layout: Layout, cache_dir: Path) -> Any:
    from filelock import FileLock  # comes with torch

    return FileLock(cache_dir / f".{layout.name}.lock")


def _by_key(key: Path, layout: Layout, cache_dir: Path) -> Dataset | None:
    try:
        digest = read_regular(key, 100).decode()
    except (FileNotFoundError, ValueError):
        return None
    return _open(layout, "real", digest, cache_dir) if re.fullmatch("[0-9a-f]{16}", digest) else None


def _open(layout: Layout, kind: str, digest: str, cache_dir: Path) -> Dataset | None:
    """Returns the prepared dataset, None where it is missing or damaged and so to be prepared again."""
    folder = folder_of(layout.name, digest, cache_dir)
    try:
        known = read_sums(folder)
        if not known or known != _sums(folder):
            return None
        report: Mapping[str, Any] = json.loads(read_regular(folder / REPORT, _MOST_REPORT))
    except (OSError, DamagedDataset):
        return None
    return Dataset(layout.name, kind, digest, folder, report)


def _sums(folder: Path) -> dict[str, int]:
    """Returns the checksum of each of a prepared dataset's files."""
    return {path.name: sum_of(path) for path in sorted([*folder.glob("*.npy"), folder / REPORT])}


def _require(layout: Layout, kind: str, digest: str, cache_dir: Path) -> Dataset:
    dataset = _open(layout, kind, digest, cache_dir)
    assert dataset is not None, "the folder was written under the lock"
    return dataset


def _write(prepared: _Prepared, report: dict[str, Any], started: float, folder: Path) -> None:
    """Writes the arrays beside their place and moves them there at once, so that no half of them is ever seen."""
    with scratch_folder(folder.parent, "partial") as partial:
        for index, split in enumerate(SPLITS):
            rows = prepared.parts == index
            for name, array in zip(
                file_names(split), (prepared.images, prepared.labels, prepared.subjects), strict=True
            ):
                np.save(partial / name, array[rows])
        if prepared.signatures is not None:
            by_split = [prepared.signatures[prepared.parts == index] for index in range(len(SPLITS))]
            np.save(partial / SIGNATURES, np.concatenate(by_split).astype(np.float16))
        report = report | {"seconds": round(time.monotonic() - started, 2)}
        (partial / REPORT).write_text(json.dumps(report, indent=1))
        (partial / SUMS).write_text(json.dumps(_sums(partial)))
        shutil.rmtree(folder, ignore_errors=True)  # what is there was cut short or is damaged
        partial.rename(folder)
