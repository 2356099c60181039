"""Loads a dataset by name: the user's copy or the stand-in, prepared once and kept under the hash of its content."""

import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer.datasets.arrays import SPLITS, Dataset
from fer.datasets.files import entries, find, normalise, open_copy, stat_lines
from fer.datasets.layouts import LAYOUTS, Layout, own_layout
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from fer.seeding import seed_from

if TYPE_CHECKING:
    from fer.datasets.reader import Faces

VERSION = "1"  # of the reader: part of every digest, raised whenever the same files would give other arrays
KINDS = ("auto", "real", "synthetic")
NAMES_KEPT = 20  # of skipped files, per reason, in the report
REASONS_KEPT = 30
SUMS = "checksums.json"


@dataclass(frozen=True)
class _Options:
    """What the arrays depend on besides the files."""

    equalise: bool
    keep_duplicates: bool
    seed: int


@dataclass(frozen=True)
class _Prepared:
    """All images of a dataset, before they are written split by split; arrays of n rows."""

    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    parts: np.ndarray
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
    path = (
        find([name, layout.name, *layout.aliases], data_dir) if data_dir is not None and kind != "synthetic" else None
    )
    _check_found(name, layout, path, data_dir, kind)
    options = _Options(equalise, keep_duplicates, seed)
    cache_dir = _made(cache_dir)
    if path is None or kind == "synthetic":
        return _stand_in(layout, options, scale, cache_dir)
    return _real(layout, path, options, cache_dir)


def prepared(name: str, kind: str, digest: str, cache_dir: Path) -> Dataset | None:
    """Returns a dataset that was prepared before; None where its files are missing or damaged.

    Args:
        name: The layout's name.
        kind: "real" or "synthetic".
        digest: Of the dataset.
        cache_dir: As of `load`.
    """
    return _open(layout_of(name, strict=False), kind, digest, cache_dir)


def survey(data_dir: Path | None) -> dict[str, Path | None]:
    """Returns the known datasets and the user's own, each with the copy found in the data folder.

    Raises:
        InputError: The data folder is missing, empty or unreadable.
    """
    found: dict[str, Path | None] = dict.fromkeys(LAYOUTS)
    for name, path in entries(data_dir) if data_dir is not None else ():
        layout = layout_of(name, strict=False)
        if found.get(layout.name) is None:
            found[layout.name] = path
    return found


def layout_of(name: str, strict: bool = True) -> Layout:
    """Returns the layout that a name in any usual spelling stands for; any other name is a user's own dataset.

    Raises:
        InputError: `strict` and the name cannot be a folder's.
    """
    if strict and not re.fullmatch(r"\w[\w.+ -]*", name):
        rule = "a dataset's name is a folder's name: letters, digits and _ . + -"
        raise InputError(rule, repr(name), f"Known names: {', '.join(LAYOUTS)}.")
    plain = normalise(name)
    for layout in LAYOUTS.values():
        if plain == layout.name or plain in layout.aliases:
            return layout
    return own_layout(name)


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
            "prepared data needs a folder to write to", f"{cache_dir} ({error.strerror})", "Give another with --out."
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
        _write(prepared, report, started, cache_dir / f"{layout.name}-{digest}")
    return _require(layout, "synthetic", digest, cache_dir)


def _drawn(layout: Layout, options: _Options, scale: float) -> _Prepared:
    from fer.datasets import synthetic

    drawn = synthetic.draw(layout.name, options.seed, scale)
    parts = np.concatenate([np.full(len(drawn[split].labels), index) for index, split in enumerate(SPLITS)])
    images, labels, subjects = (
        np.concatenate([getattr(drawn[split], part) for split in SPLITS]) for part in ("images", "labels", "subjects")
    )
    report = {"layout": "drawn stand-in", "rule": "drawn per split, people in one split only", "skipped": {}}
    return _Prepared(images, labels.astype(np.int64), subjects.astype(np.int64), parts, report)


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
        folder = cache_dir / f"{layout.name}-{digest}"
        if _open(layout, "real", digest, cache_dir) is None:
            prepared = _finish(_split(layout, faces, options.seed), options)
            report = _heading(layout, "real", digest, options) | {"copy": str(path)} | prepared.report
            _write(prepared, report, started, folder)
        key.parent.mkdir(exist_ok=True)
        partial = key.with_suffix(f".{os.getpid()}")
        partial.write_text(digest)
        partial.replace(key)
    return _require(layout, "real", digest, cache_dir)


def _read(layout: Layout, path: Path, cache_dir: Path) -> "Faces":
    from fer.datasets.reader import read

    with open_copy(path, cache_dir) as copy:
        return read(layout, copy)


def _split(layout: Layout, faces: "Faces", seed: int) -> _Prepared:
    from fer.datasets import splits

    known = [subject for subject in faces.subjects if subject is not None]
    people = {subject: number for number, subject in enumerate(sorted(set(known)))}
    subjects = np.array([-1 if who is None else people[who] for who in faces.subjects], dtype=np.int64)
    wanted = splits.wanted_sizes(len(faces.labels), layout.sizes)
    parts, rule = splits.assign(
        faces.labels,
        subjects if len(known) == len(subjects) else None,
        splits.pixel_groups(faces.images),
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
        notices.append(f"no face detected in {len(faces.cropped):,} of {total:,} portraits: centre-cropped")
    report = {
        "layout": layout.title,
        "content": faces.content,
        "rule": rule,
        "aimed": dict(zip(SPLITS, wanted, strict=True)) if rule.startswith("seeded") else None,
        "skipped": skipped,
        "faces": {
            "detected": faces.detected,
            "centre_cropped": len(faces.cropped),
            "names": [_printable(name) for name in faces.cropped[:NAMES_KEPT]],
        },
        "people": {
            split: [who for who, number in people.items() if (parts[subjects == number] == index).any()][:200]
            for index, split in enumerate(SPLITS)
        },
        "notices": notices,
    }
    prepared = _Prepared(faces.images[inside], faces.labels[inside], subjects[inside], parts[inside], report)
    _check(layout, prepared)
    return prepared


def _shortened(skipped: Mapping[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Returns the commonest reasons with their counts and a few names each: reports go into every study's record."""
    ranked = sorted(skipped.items(), key=lambda item: -len(item[1]))
    rest = [name for _, names in ranked[REASONS_KEPT:] for name in names]
    entries_kept = [*ranked[:REASONS_KEPT], *([("other reasons", rest)] if rest else [])]
    return {
        _printable(reason): {"count": len(names), "names": [_printable(name) for name in names[:NAMES_KEPT]]}
        for reason, names in entries_kept
    }


def _printable(name: str) -> str:
    """Returns a file's name without the bytes that are no UTF-8, which no terminal or database takes."""
    return name.encode("utf-8", "replace").decode()


def _check(layout: Layout, prepared: _Prepared) -> None:
    """Refuses a dataset that no study could use; notes what is only unusual."""
    for index, split in enumerate(SPLITS):
        if not (prepared.parts == index).any():
            rule = f"each split of {layout.title} holds images"
            raise InputError(
                rule, f"none in {split}, of {len(prepared.parts)} in all", "Add images, or see why it shrank."
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
    """Equalises, counts the hazards and drops training images that validation or test holds too."""
    from fer.datasets import splits

    images = prepared.images
    if options.equalise:
        from fer.datasets.pictures import equalise

        images = equalise(images)
    found, leaked = splits.hazards(images, prepared.labels, prepared.parts)
    keep = np.ones_like(leaked) if options.keep_duplicates else ~leaked
    arrays = (images[keep], prepared.labels[keep], prepared.subjects[keep], prepared.parts[keep])
    report = splits.summary(arrays[3], arrays[1], arrays[2]) | prepared.report
    groups = splits.pixel_groups(images[keep])
    copies = np.isin(groups, groups[arrays[3] == SPLITS.index("test")])[arrays[3] == SPLITS.index("validation")]
    more = {"dropped_from_train": int((~keep).sum()), "rows_of_validation_in_test": np.flatnonzero(copies).tolist()}
    return _Prepared(*arrays, report | {"hazards": {**found, **more}})


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
        return _open(layout, "real", key.read_text(), cache_dir)
    except FileNotFoundError:
        return None


def _open(layout: Layout, kind: str, digest: str, cache_dir: Path) -> Dataset | None:
    folder = cache_dir / f"{layout.name}-{digest}"
    try:
        report: Mapping[str, Any] = json.loads((folder / "report.json").read_text())
        whole = json.loads((folder / SUMS).read_text()) == _sums(folder)
    except (OSError, ValueError):  # missing, no folder, or no JSON
        return None
    if not whole:
        return None
    return Dataset(layout.name, kind, digest, folder, report)


def _sums(folder: Path) -> dict[str, int]:
    """Returns a checksum of each of a prepared dataset's files: what a disk has damaged is prepared again."""
    return {path.name: zlib.crc32(path.read_bytes()) for path in sorted(folder.glob("*.npy"))}


def _require(layout: Layout, kind: str, digest: str, cache_dir: Path) -> Dataset:
    dataset = _open(layout, kind, digest, cache_dir)
    assert dataset is not None, "the folder was written under the lock"
    return dataset


def _write(prepared: _Prepared, report: dict[str, Any], started: float, folder: Path) -> None:
    """Writes the arrays beside their place and moves them there at once, so that no half of them is ever seen."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for index, split in enumerate(SPLITS):
            rows = prepared.parts == index
            np.save(partial / f"{split}.images.npy", prepared.images[rows])
            np.save(partial / f"{split}.labels.npy", prepared.labels[rows])
            np.save(partial / f"{split}.subjects.npy", prepared.subjects[rows])
        report = report | {"seconds": round(time.monotonic() - started, 2)}
        (partial / SUMS).write_text(json.dumps(_sums(partial)))
        (partial / "report.json").write_text(json.dumps(report, indent=1))
        shutil.rmtree(folder, ignore_errors=True)  # what is there was cut short or is damaged
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
