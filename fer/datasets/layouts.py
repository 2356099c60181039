"""Every known dataset's layout as data; `fer.datasets.reader` is the one reader of them all.

Paths are relative to the dataset's folder, with forward slashes; every pattern is searched in them ignoring case.
Folders around the only folder in them are left out of the paths, but `ignored` and `portraits` see them.
"""

from dataclasses import dataclass

from fer.expressions import EIGHT, EXPRESSIONS, NUMBERS

_SPLIT = r"(?P<split>train|training|val|valid|validation|dev|test|testing|publictest|privatetest)"
IMAGE = r"\.(?:jpe?g|png|tiff?|bmp|pgm|ppm|webp|gif)$"
"""The end of an image's path."""
FOLDERS = rf"(?:^|/)(?:{_SPLIT}/(?:[^/]+/)*?)?(?P<expression>[^/]+)/[^/]+{IMAGE}"
"""A folder per expression, perhaps below a folder per split: the arrangement that is tried last in every copy."""

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "publictest": "validation",
    "test": "test", "testing": "test", "privatetest": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Frames:
    """Which frames of a sequence, that is of a folder, are taken.

    Attributes:
        where: "middle": spread evenly over the middle fifth; "last": the last ones.
        count: How many.
        neutral_first: Whether the first frame is taken as well, as neutral and never as the expression. It is taken
            where its number is 0 or 1, that is, where the copy holds the sequence from its beginning.
    """

    where: str
    count: int
    neutral_first: bool = False


@dataclass(frozen=True)
class Table:
    """Labels in a csv file, with the pixels or the images' paths.

    Attributes:
        file: Pattern of the file's path; all files that match are read.
        expression: Column of the label.
        pixels: Column of the image itself, 2,304 numbers.
        path: Column of an image's path.
        subject: Column of the person; may be missing in the file.
        split: Column of the split; may be missing in the file.
        box: Columns x, y, width, height of the face.
        images: Where an image lies, by its path's parts, the first that exists.
        split_in: Pattern of the split in "<file name>/<image path>".
        header: The columns of a file that has no header; such files are separated by spaces.
        strict: A file that a user wrote: paths are exact, and mistakes are errors instead of notices.
    """

    file: str
    expression: str
    pixels: str | None = None
    path: str | None = None
    subject: str | None = None
    split: str | None = None
    box: tuple[str, ...] = ()
    images: tuple[str, ...] = ("{path}",)
    split_in: str | None = None
    header: tuple[str, ...] = ()
    strict: bool = False


MANIFEST = Table(r"^manifest\.csv$", "expression", path="path", subject="subject", split="split", strict=True)


@dataclass(frozen=True)
class Layout:
    """One dataset as its owners distribute it.

    Attributes:
        name: As `--target` has it.
        title: As people write it.
        terms: Its owners' terms in a few words.
        aliases: Further names of its folder or archive, in lower case letters and digits.
        tables: Label files, tried first and in this order; the first one found is read.
        images: Arrangements of the images, each a tuple of patterns with groups expression, subject, split, frame,
            sequence. The first arrangement of which a pattern matches any file is taken.
        ignored: Patterns of images that are left out on purpose, each with the reason.
        labels: Pattern of label files beside the images (groups subject and sequence), each with one number.
        numbers: What numeric labels stand for.
        frames: Which frames are taken of images with a frame number.
        portraits: Pattern of images that show more than a face, so that the face is detected and cropped; None: no
            image does.
        complete: The expressions that are in every proper copy, by their names among the eight.
        people: Whether subjects are known, so that splits are by subject.
        sizes: The paper's training, validation and test sizes.
        splits: What this dataset's own split words stand for, where it differs from `SPLIT_WORDS`.
        part_of: Name of the layout of the complete dataset, if this is a part of it. The part is read from a copy of
            the complete dataset as well; where there is no copy, the same synthetic faces are drawn for both.
    """

    name: str
    title: str
    terms: str
    aliases: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    images: tuple[tuple[str, ...], ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()
    labels: str | None = None
    numbers: tuple[str, ...] = ()
    frames: Frames | None = None
    portraits: str | None = "."
    complete: tuple[str, ...] = EXPRESSIONS
    people: bool = False
    sizes: tuple[int, int, int] | None = None
    splits: tuple[tuple[str, str], ...] = ()
    part_of: str | None = None


def own_layout(name: str) -> Layout:
    """Returns the layout of a user's own dataset: `manifest.csv`, or a folder per expression."""
    return Layout(name, name, "your own", complete=())


_TFEID_IMAGES = (
    (rf"df[hl]_(?P<expression>[a-z]+?)(?:_x)?/(?P<subject>[mf]\d+)_[^/]*{IMAGE}",),
    (rf"(?:^|/)(?P<expression>[a-z]+)/(?P<subject>[mf]\d+)_[^/]*{IMAGE}",),
    (rf"(?:^|/)(?P<subject>[mf]\d+)_(?:[^/]*_)?(?P<expression>[nacdfhsp]g)\d*{IMAGE}",),
)
_TFEID_RIMMED = (r"(^|/)(df[hl]_)?rimmed/", "the same photograph with a rim")

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "fer2013",
            "FER2013",
            "unclear, images from the web",
            aliases=("fer", "fer13", "facialexpressionrecognition2013", "challengesinrepresentationlearning"),
            tables=(
                Table(r"(^|/)fer2013\.csv$", "emotion", pixels="pixels", split="usage"),
                Table(r"(^|/)icml_face_data\.csv$", "emotion", pixels="pixels", split="usage"),
            ),
            # The three-way split survives in the file names of the copies that have only train and test folders.
            images=((rf"(?:^|/)(?P<expression>[^/]+)/(?P<split>Training|PublicTest|PrivateTest)_\d+{IMAGE}",),),
            numbers=NUMBERS["fer2013"],
            portraits=None,
            sizes=(28709, 3589, 3589),
        ),
        Layout(
            "jaffe",
            "JAFFE",
            "non-commercial, no redistribution",
            aliases=("jaffedbase", "jaffeimages"),
            images=((rf"(?:^|/)(?P<subject>[a-z]{{2}})[._-](?P<expression>[a-z]{{2}})\d[._-]?\d*{IMAGE}",),),
            people=True,
            sizes=(131, 15, 67),
        ),
        # The paper's 510 images are those of high and of slight intensity; 268 are of high intensity.
        Layout(
            "tfeid",
            "TFEID",
            "academic agreement",
            aliases=("taiwanesefacialexpressionimagedatabase",),
            images=_TFEID_IMAGES,
            ignored=(_TFEID_RIMMED,),
            people=True,
            sizes=(405, 47, 58),
        ),
        Layout(
            "tfeid-high",
            "TFEID, high intensity",
            "academic agreement",
            images=_TFEID_IMAGES,
            ignored=((r"(^|/)(dfl_|tfeid[ _-]*(low|slight))", "slight expression"), _TFEID_RIMMED),
            people=True,
            sizes=(405, 47, 58),
            part_of="tfeid",
        ),
        Layout(
            "mug",
            "MUG",
            "licence agreement",
            aliases=("mugfacialexpressiondatabase",),
            images=(
                (
                    # Some subjects are nested twice (001/001/anger/take000); the last folders count.
                    rf"(?:^|/)(?P<subject>\d{{3}})/(?P<expression>[a-z]+)/take\w*/img_(?P<frame>\d+){IMAGE}",
                    rf"(?:^|/)(?P<subject>\d{{3}})_(?P<expression>[a-z]{{2}})_\d+_\d+{IMAGE}",
                ),
            ),
            # Sequences begin and end neutral. Five frames of each come near the paper's 7,352 images.
            frames=Frames("middle", 5),
            people=True,
            sizes=(5877, 741, 734),
        ),
        Layout(
            "ckplus",
            "CK+",
            "agreement",
            aliases=("ck", "ck48", "ckplus48", "cohnkanade", "extendedcohnkanade", "cohnkanadeplus"),
            images=(
                (rf"(?:^|/)(?P<subject>S\d{{3}})/(?P<sequence>\d{{3}})/[^/]*?(?P<frame>\d+){IMAGE}",),
                (rf"(?:^|/)(?P<expression>[^/]+)/(?P<subject>S\d{{3}})_\d{{3}}_\d+{IMAGE}",),
            ),
            labels=r"(?:^|/)(?P<subject>S\d{3})/(?P<sequence>\d{3})/[^/]*_emotion\.txt$",
            numbers=NUMBERS["ckplus"],
            frames=Frames("last", 3, neutral_first=True),
            complete=(),  # the 48-pixel copies have no neutral
            people=True,
        ),
        Layout(
            "kdef",
            "KDEF",
            "non-commercial",
            aliases=("kdefandakdef",),
            images=((rf"(?:^|/)[AB](?P<subject>[FM]\d\d)(?P<expression>AF|AN|DI|HA|NE|SA|SU)S{IMAGE}",),),
            ignored=((rf"(?:^|/)[AB][FM]\d\d\w\w(HL|HR|FL|FR){IMAGE}", "not frontal"),),
            people=True,
        ),
        Layout(
            "rafd",
            "RaFD",
            "on request",
            aliases=("radboud", "radboudfacesdatabase"),
            images=((rf"Rafd090_(?P<subject>\d+)_[^_/]+_[^_/]+_(?P<expression>[a-z]+)_[a-z]+{IMAGE}",),),
            ignored=((r"(^|/)Rafd(000|045|135|180)_", "not frontal"),),
            complete=EIGHT.names,
            people=True,
        ),
        Layout(
            "rafdb",
            "RAF-DB",
            "agreement",
            aliases=("raf", "rafdbbasic"),
            tables=(
                Table(
                    r"(^|/)list_par?tition_label\.txt$",
                    "expression",
                    path="path",
                    images=("{stem}_aligned{suffix}", "{path}"),
                    split_in=r"/(train|test)_",
                    header=("path", "expression"),
                ),
            ),
            numbers=NUMBERS["rafdb"],
            portraits=r"(^|/)original/",
        ),
        Layout(
            "affectnet",
            "AffectNet",
            "agreement",
            tables=(
                Table(
                    r"(^|/)(training|validation)\.csv$",
                    "expression",
                    path="subdirectory_filepath",
                    box=("face_x", "face_y", "face_width", "face_height"),
                    split_in=r"^(training|validation)\.csv",
                ),
            ),
            numbers=NUMBERS["affectnet"],
            complete=EIGHT.names,
            portraits=None,  # the face's box is in the csv file
            # The published validation set is what papers report on; ours is taken out of the training set.
            splits=(("validation", "test"), ("val", "test")),
        ),
        Layout(
            "oulu",
            "Oulu-CASIA",
            "agreement",
            aliases=("oulucasia", "oulucasianirvis"),
            images=((rf"(?:^|/)(?P<subject>P\d{{3}})/(?P<expression>[a-z]+)/(?P<frame>\d+){IMAGE}",),),
            ignored=(
                (r"(^|/)NI/", "near infrared"),
                (r"(^|/)(Weak|Dark)/", "weak or dark light"),
                (r"(^|/)PreProcess[^/]*/", "preprocessed copy of an original"),
            ),
            frames=Frames("last", 3, neutral_first=True),
            complete=(),
            people=True,
        ),
    )
}
