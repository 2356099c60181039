"""Archives of datasets: unpacked for the time of reading, within bounds, and never outside their folder."""

import errno
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from fer.datasets.copy_files import MOST_FILE, DatasetCopy, list_copy, path_inside
from fer.datasets.data_folder import without_suffix
from fer.datasets.scratch import scratch_folder
from fer.datasets.skipped import Skipped, add_skipped, new_skipped
from fer.errors import InputError
from fer.expressions import ExpressionSet
from fer.files import size_text

MOST_UNPACKED = 40 * 2**30  # bytes; AffectNet, the largest known, is distributed in parts below that
MOST_MEMBERS = 2_000_000
# Images are compressed already and tables to a tenth at best, so what unpacks to 100 times its size holds neither.
MOST_RATIO = 100
_ALWAYS_UNPACKED = 2**30  # bytes, whatever the ratio
_MOST_PADDING = 64 * 2**20  # bytes of zeros after a tar file's end mark; usual are up to 10 KiB
_MOST_HEADER = 2**20  # bytes of a tar file's header of a long name; its reader takes them into memory
TarMode = Literal["r:", "r:gz", "r:bz2", "r:xz"]
_COMPRESSED: tuple[tuple[bytes, TarMode], ...] = (
    (b"\x1f\x8b", "r:gz"),
    (b"BZh", "r:bz2"),
    (b"\xfd7zXZ\x00", "r:xz"),
)  # by how a file begins
_LONGEST_MAGIC = 6
_PIECE = 2**20  # bytes that are copied at a time
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def open_copy(path: Path, scratch: Path, expressions: ExpressionSet) -> Iterator[DatasetCopy]:
    """Opens a dataset's folder or archive, or a folder that holds nothing but its archives.

    Folders around the only folder in them are left out, so that an archive gives the same paths as its content.

    Args:
        path: The folder or archive.
        scratch: Where an archive is unpacked for the time of reading.
        expressions: A folder of whose labels is never left out of the paths.
    """
    # A folder of files.
    archives = [path] if path.is_file() else _only_archives(path)
    if not archives:
        yield _list_inner(path, expressions)
        return

    # Archives, which are unpacked into one folder.
    with scratch_folder(scratch, "unpacked") as folder:
        skipped = new_skipped()
        for archive in archives:
            unpack(archive, folder, skipped)
        copy = _list_inner(folder, expressions)
        add_skipped(copy.skipped, skipped)
        yield copy


def _list_visible(folder: Path) -> list[Path]:
    """Returns the paths in a folder that are not hidden, sorted."""
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _only_archives(folder: Path) -> list[Path]:
    """Returns a folder's archives, if it holds nothing else; otherwise none."""
    paths = _list_visible(folder)
    are_archives = all(path.is_file() and without_suffix(path.name) for path in paths)
    return paths if are_archives else []


def _list_inner(folder: Path, expressions: ExpressionSet) -> DatasetCopy:
    """Lists a folder's files from the innermost folder on, and keeps in mind where that lies."""
    inner = _innermost_folder(folder, expressions)
    outer = "".join(f"{part}/" for part in inner.relative_to(folder).parts)
    return list_copy(inner, outer)


def _innermost_folder(folder: Path, expressions: ExpressionSet) -> Path:
    """Returns the innermost of folders that hold nothing but one folder; an expression's folder is none of them."""
    while True:
        paths = [path for path in _list_visible(folder) if path.name != "__MACOSX"]
        if len(paths) != 1 or not paths[0].is_dir() or paths[0].is_symlink():
            return folder
        if expressions.parse(paths[0].name) is not None:
            return folder
        folder = paths[0]


@dataclass(frozen=True)
class _Member:
    """A file in an archive: its name, its declared size in bytes, and its content, which is never longer."""

    name: str
    size: int
    content: IO[bytes]


def unpack(archive: Path, folder: Path, skipped: Skipped) -> None:
    """Unpacks a zip or tar file; links, special files and those too large to be of use are skipped.

    Args:
        archive: The file.
        folder: Where its files go. A file that is there already counts as named twice.
        skipped: Gets the names of what is left out, by reason.

    Raises:
        InputError: It is damaged or cut short, a member leaves the folder, two members have one name, or it unpacks to
            too much.
        OSError: The disk is full.
    """
    most_bytes = min(MOST_UNPACKED, max(_ALWAYS_UNPACKED, MOST_RATIO * archive.stat().st_size))
    total = 0
    try:
        for count, member in enumerate(_members(archive, skipped)):
            total += member.size
            if total > most_bytes or count >= MOST_MEMBERS:
                rule = f"an archive may hold up to {size_text(most_bytes)} and {MOST_MEMBERS:,} files"
                raise InputError(rule, archive, "Unpack it yourself into a folder.")
            _write_member(member, archive, folder, skipped)
    except InputError:
        raise
    except Exception as error:  # the readers of damaged archives raise anything
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        rule = "an archive must be a readable zip or tar file"
        raise InputError(rule, f"{archive} ({reason})", "Fetch or pack it again.") from error


def _write_member(member: _Member, archive: Path, folder: Path, skipped: Skipped) -> None:
    """Writes one file of an archive into the folder."""
    place = folder / path_inside(member.name, f"a member of {archive.name}")
    if member.size > MOST_FILE:
        skipped[f"file of more than {size_text(MOST_FILE)}"].append(member.name)
        return
    if place.exists():
        rule = f"{archive.name} names every file once, and none that another archive of the dataset has named"
        raise InputError(rule, f"{member.name} again", "Unpack it yourself, and keep the right one of both.")
    place.parent.mkdir(parents=True, exist_ok=True)
    with member.content, place.open("wb") as target:
        shutil.copyfileobj(member.content, target, _PIECE)


def _members(archive: Path, skipped: Skipped) -> Iterator[_Member]:
    """Yields an archive's files; never more bytes come out than were declared."""
    is_zip = archive.name.lower().endswith(".zip")
    yield from _zip_members(archive, skipped) if is_zip else _tar_members(archive, skipped)


def _zip_members(archive: Path, skipped: Skipped) -> Iterator[_Member]:
    """Yields the files of a zip file."""
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            mode = entry.external_attr >> 16
            if stat.S_ISLNK(mode):
                skipped["a link in an archive"].append(entry.filename)
            elif not entry.is_dir():
                yield _Member(entry.filename, entry.file_size, packed.open(entry))


def _tar_members(archive: Path, skipped: Skipped) -> Iterator[_Member]:
    """Yields the files of a tar file, and then makes sure that it ended where its end mark is."""
    with tarfile.open(archive, _tar_mode(archive), tarinfo=_StrictHeader) as tape:
        for entry in tape:
            content = tape.extractfile(entry) if entry.isfile() else None
            if content is not None:
                yield _Member(entry.name, entry.size, content)
            elif not entry.isdir():
                skipped["a link or special file in an archive"].append(entry.name)
        _check_end(tape)


def _tar_mode(archive: Path) -> TarMode:
    """Returns how a tar file is compressed, by its first bytes.

    The guessing of tarfile takes zeros for empty LZMA streams, of which a large file has a billion.
    """
    with archive.open("rb") as file:
        head = file.read(_LONGEST_MAGIC)
    for magic, mode in _COMPRESSED:
        if head.startswith(magic):
            return mode
    return "r:"


class _StrictHeader(tarfile.TarInfo):
    """A tar file's header that is an error where it is damaged or missing; tarfile takes that for the file's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictHeader":
        header = super().frombuf(buf, encoding, errors)
        kinds = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES)
        if header.type in kinds and header.type != tarfile.GNUTYPE_SPARSE and header.size > _MOST_HEADER:
            raise tarfile.ReadError(f"a header of more than {size_text(_MOST_HEADER)}")
        return header

    @classmethod
    def fromtarfile(cls, tape: tarfile.TarFile) -> "_StrictHeader":
        begin = tape.offset
        try:
            return super().fromtarfile(tape)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            if begin == 0:  # another format perhaps
                raise
            raise tarfile.ReadError(f"cut short or damaged at byte {begin:,}: {error}") from None


def _check_end(tape: tarfile.TarFile) -> None:
    """Refuses a tar file that goes on after its end mark: a damaged block of zeros looks like one."""
    assert tape.fileobj is not None
    for _ in range(_MOST_PADDING // _PIECE):
        piece = tape.fileobj.read(_PIECE)
        if not piece:  # read to the end, so that the checksum of a compressed file was compared
            return
        if piece.count(0) != len(piece):
            raise tarfile.ReadError("its end mark is not at its end")
    raise tarfile.ReadError(f"more than {size_text(_MOST_PADDING)} of nothing at its end")
