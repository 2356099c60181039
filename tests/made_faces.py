"""Tiny made-up copies of every layout in datasets.md; each image's mean grey tells its expression."""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer.expressions import EXPRESSIONS

NUMBERS = iter(range(10**9))
ADJECTIVES = dict(
    zip(EXPRESSIONS, ["angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral"], strict=True)
)
FER_FOLDERS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def face(label: int, number: int | None = None, size: int = 48) -> np.ndarray:
    """Draws uint8 (size, size): noise around the label's grey; another number is another image."""
    rng = np.random.default_rng(next(NUMBERS) if number is None else number)
    return np.clip(30 + 30 * label + rng.normal(0, 4, (size, size)), 0, 255).astype(np.uint8)


def portraits(count: int, seed: int = 0) -> np.ndarray:
    """Draws uint8 (count, 48, 48): smooth pictures of one common shape, each with features of its own, as faces are."""
    rng = np.random.default_rng(seed)
    bowl = (np.arange(6) - 2.5) ** 2
    coarse = 160 - 6 * np.add.outer(bowl, bowl) + rng.normal(0, 30, (count, 6, 6))
    pictures = [Image.fromarray(np.clip(rows, 0, 255).astype(np.uint8)).resize((48, 48), 3) for rows in coarse]
    return np.stack([np.asarray(picture) for picture in pictures])


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Returns a picture as a file of this format holds it."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def csv_of(root: Path, images: np.ndarray, labels: Iterable[int], usages: Iterable[str]) -> None:
    """Writes fer2013.csv with these rows; a label's usage is "Training", "PublicTest" or "PrivateTest"."""
    root.mkdir(parents=True, exist_ok=True)
    rows = zip(images, labels, usages, strict=True)
    lines = [f"{label},{' '.join(map(str, image.ravel()))},{usage}" for image, label, usage in rows]
    (root / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]))


def labels_of(images: np.ndarray) -> np.ndarray:
    """Returns the labels that `face` drew."""
    return np.round((images.reshape(len(images), -1).mean(1) - 30) / 30).astype(int)


def write(path: Path, label: int, number: int | None = None, size: int = 48) -> Path:
    """Writes one image, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(face(label, number, size)).save(path)
    return path


def fer_csv(root: Path, file: str = "fer2013.csv", header: str = "emotion,pixels,Usage", rows: int = 42) -> int:
    columns = [column.strip() for column in header.split(",")]
    root.mkdir(parents=True, exist_ok=True)
    with (root / file).open("w", newline="") as stream:
        stream.write(header + "\n")
        for row in range(rows):
            usage = ("Training", "Training", "Training", "Training", "PublicTest", "PrivateTest")[row // 7 % 6]
            cells = {"emotion": row % 7, "pixels": " ".join(map(str, face(row % 7).ravel())), "Usage": usage}
            csv.writer(stream).writerow([cells[column] for column in columns])
    return rows


def fer_icml(root: Path) -> int:
    return fer_csv(root, "icml_face_data.csv", "emotion, Usage, pixels")


def fer_tokens(root: Path) -> int:
    for number in range(70):
        folder, token = ("train", "Training") if number < 42 else ("test", "PublicTest")
        token = "PrivateTest" if number >= 56 else token
        write(root / folder / FER_FOLDERS[number % 7] / f"{token}_{number}.jpg", number % 7)
    return 70


def split_folders(*names: str) -> Callable[[Path], int]:
    def writer(root: Path) -> int:
        for name in names:
            for number in range(70 if name == "train" else 14):
                write(root / name / FER_FOLDERS[number % 7] / f"{number}.png", number % 7)
        return 70 + 14 * (len(names) - 1)

    return writer


def plain_folders(root: Path) -> int:
    for number in range(140):
        write(root / FER_FOLDERS[number % 7] / f"{number}.png", number % 7)
    return 140


def jaffe(root: Path) -> int:
    for who, subject in enumerate(["KA", "KL", "KM", "KR", "MK"]):
        for label, code in enumerate(["AN", "DI", "FE", "HA", "SA", "SU", "NE"]):
            for take in (1, 2):
                write(root / f"{subject}.{code}{take}.{who * 14 + label * 2 + take}.tiff", label)
    (root / "README").write_text("made up")
    return 70


def tfeid(root: Path, base: str = "dfh_all/dfh_un-rimmed") -> int:
    names = ["anger", "disguest", "fear", "happiness", "sadness", "surprise", "neutral"]
    for subject in ("f01", "f02", "m01", "m02", "m03"):
        for label, name in enumerate([*names, "contempt"]):
            write(root / base / f"dfh_{name}_x" / f"{subject}_1_{label}.jpg", label)
    for label, name in enumerate(names[:6]):  # slight expressions of two people
        for subject in ("f01", "m02"):
            write(root / "dfl_all" / f"dfl_{name}_x" / f"{subject}_1_{label}.jpg", label)
    write(root / "dfh_all/dfh_rimmed/dfh_fear_x/f01_1_2.jpg", 2)
    return 47


def tfeid_tokens(root: Path) -> int:
    for subject in ("f01", "f02", "m01", "m02", "m03"):
        for label, token in enumerate(["ag", "dg", "fg", "hg", "sg", "pg", "ng"]):
            write(root / f"{subject}_{label}_{token}.jpg", label)
    return 35


def mug(root: Path) -> int:
    for who in range(1, 5):
        inner = f"{who:03}/{who:03}" if who == 2 else f"{who:03}"
        for label, name in enumerate(EXPRESSIONS):
            for frame in range(3, 24):  # the first and last frames are neutral
                shown = label if 8 <= frame - 3 <= 12 else 6
                write(root / "subjects3" / inner / name / "take000" / f"img_{frame:04}.jpg", shown)
    for label, code in enumerate(["an", "di", "fe", "ha", "sa", "su", "ne"]):
        write(root / "manual/images" / f"005_{code}_001_0010.jpg", label)
    return 4 * 7 * 5 + 7


def ckplus(root: Path) -> int:
    codes = (1, 3, 4, 5, 6, 7)  # of the six expressions but neutral
    for who in (5, 10, 11, 14):
        for label, code in enumerate(codes):
            stem = f"S{who:03}/{label + 1:03}"
            for frame in range(1, 8):
                name = f"S{who:03}_{label + 1:03}_{frame:08}"
                write(root / "cohn-kanade-images" / stem / f"{name}.png", 6 if frame == 1 else label)
            file = root / "Emotion" / stem / f"{name}_emotion.txt"
            file.parent.mkdir(parents=True)
            file.write_text(f"   {code:.7e}\n")
    write(root / "cohn-kanade-images/S005/009/S005_009_00000001.png", 0)  # a sequence without a label
    return 4 * 6 * 4


def ck48(root: Path) -> int:
    for label, name in enumerate(["anger", "disgust", "fear", "happy", "sadness", "surprise", "contempt"]):
        for who in (5, 10, 11, 14):
            for frame in (10, 11, 12):
                write(root / name / f"S{who:03}_00{label + 1}_{frame:08}.png", label)
    return 6 * 4 * 3


def kdef(root: Path) -> int:
    for subject in ("F01", "F02", "M01", "M02"):
        for label, code in enumerate(["AN", "DI", "AF", "HA", "SA", "SU", "NE"]):
            for angle in ("S", "HL", "FR"):
                for series in "AB":
                    write(root / f"{series}{subject}" / f"{series}{subject}{code}{angle}.JPG", label)
    return 4 * 7 * 2


def rafd(root: Path) -> int:
    for subject in ("01", "02", "04", "05"):
        for label, name in enumerate([*ADJECTIVES.values(), "contemptuous"]):
            for angle in ("090", "045"):
                write(root / f"Rafd{angle}_{subject}_Caucasian_female_{name}_frontal.jpg", label % 7)
    return 4 * 7


def rafdb(root: Path) -> int:
    codes = (6, 3, 2, 4, 5, 1, 7)
    lines = []
    for number in range(70):
        stem = f"{'train' if number < 56 else 'test'}_{number:05}"
        write(root / "Image/aligned" / f"{stem}_aligned.jpg", number % 7)
        lines.append(f"{stem}.jpg {codes[number % 7]}")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel/list_patition_label.txt").write_text("\n".join(lines))
    return 70


def affectnet(root: Path) -> int:
    codes = (6, 5, 4, 1, 2, 3, 0, 7)
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    for split, first in (("training", 0), ("validation", 80)):
        lines = [header]
        for number in range(first, first + 80):
            path = f"{number % 5}/{split}{number}.png"
            picture = np.full((80, 100), 255, np.uint8)
            picture[20:70, 30:80] = face(number % 8 % 7, size=50)
            place = root / "Manually_Annotated_Images" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place)
            lines.append(f"{path},31,21,48,48,0;0,{codes[number % 8]},0,0")
        (root / f"{split}.csv").write_text("\n".join(lines))
    return 140


def oulu(root: Path) -> int:
    for who in (1, 2, 3, 4):
        for label, name in enumerate(EXPRESSIONS[:6]):
            for light in ("VL/Strong", "VL/Weak", "NI/Strong"):
                for frame in range(6):
                    place = root / "OriginalImg" / light / f"P{who:03}" / name.title() / f"{frame:03}.jpeg"
                    write(place, 6 if frame == 0 else label)
    return 4 * 6 * 4


def manifest(root: Path, rows: int = 70, columns: str = "path,expression,subject", people: int = 5) -> int:
    lines = [columns]
    for number in range(rows):
        path = write(root / "pictures" / f"{number}.png", number % 7)
        split = ("train", "train", "train", "validation", "test")[number % people % 5]
        cells = {
            "path": path.relative_to(root).as_posix(),
            "expression": ADJECTIVES[EXPRESSIONS[number % 7]],
            "subject": f"person {number % people}",
            "split": split,
        }
        lines.append(",".join(cells[column] for column in columns.split(",")))
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return rows


@dataclass(frozen=True)
class Made:
    """A made-up copy: its dataset's name, how to write it, how many people and which expressions it holds."""

    name: str
    writer: Callable[[Path], int]
    people: int = 0
    expressions: int = 7


MADE = {
    "fer2013.csv": Made("fer2013", fer_csv),
    "icml_face_data.csv": Made("fer2013", fer_icml),
    "fer2013 tokens": Made("fer2013", fer_tokens),
    "fer2013 train val test": Made("fer2013", split_folders("train", "val", "test")),
    "fer2013 train test": Made("fer2013", split_folders("train", "test")),
    "fer2013 plain": Made("fer2013", plain_folders),
    "jaffe": Made("jaffe", jaffe, 5),
    "tfeid": Made("tfeid", tfeid, 5),
    "tfeid in TFEID High": Made("tfeid", lambda root: tfeid(root, "TFEID High"), 5),
    "tfeid tokens": Made("tfeid", tfeid_tokens, 5),
    "mug": Made("mug", mug, 5),
    "ckplus": Made("ckplus", ckplus, 4),
    "ck48": Made("ckplus", ck48, 4, 6),
    "kdef": Made("kdef", kdef, 4),
    "rafd": Made("rafd", rafd, 4),
    "rafdb": Made("rafdb", rafdb),
    "affectnet": Made("affectnet", affectnet),
    "oulu": Made("oulu", oulu, 4),
    "own folders": Made("mine", plain_folders),
    "own manifest": Made("mine", manifest, 5),
}
