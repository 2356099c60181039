"""Studies of images of another size, in colour: options, records, networks' files, and what uses them."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_fer_colour import coloured, write_coloured

from commands import ROOT, end, start
from fer.architecture import VGG13, Architecture
from fer.errors import InputError
from fer.image_format import IMAGENET_MEAN, IMAGENET_STD
from fer.model import weights
from fer.model.chains import NetworkRequest, build_chain, find_architecture, request
from fer.model.inputs import to_tensor
from fer.predict import FaceNetwork, export_onnx, load_network, predict_image, predict_images, read_face
from made_networks import is_one_line
from study import load_study
from study.option_parsers import options_from
from study.options import StudyOptions, images_of, study_name
from study.pipeline.prepare import resolve_auto
from study.record import DatasetRecord, StudyRecord
from study.reporting.data_tables import describe_baseline

HERE = str(ROOT / "tests")
OWN = "own_network:small"

# Options.


def test_images_are_the_networks_own_unless_the_user_says_otherwise() -> None:
    assert images_of({}) == (48, "grey") == images_of(dataclasses.asdict(options_from(target="jaffe")))
    assert images_of({"network": "resnet18"}) == (112, "rgb")
    asked = options_from(target="jaffe", network="resnet18", image_size=64, colour="grey")
    assert images_of(dataclasses.asdict(asked)) == (64, "grey")
    assert StudyOptions.from_json({"mean": [0.5, 0.5, 0.5]}).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("network", "size", "colour"), [("vgg13", 48, "grey"), ("resnet18", 112, "rgb"), ("timm:resnet18", 112, "rgb")]
)
def test_the_usual_images_make_no_other_study(network: str, size: int, colour: str) -> None:
    plain = options_from(target="jaffe", network=network, device="cpu")
    given = dataclasses.replace(plain, image_size=size, colour=colour)

    assert resolve_auto(given) == resolve_auto(plain)
    other = resolve_auto(dataclasses.replace(plain, network="resnet18", image_size=64))
    assert other.image_size == 64 and "64px" in study_name(other, "fer2013", "jaffe", False)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no pixels": ({"image_size": 0}, "--image-size is"),
    "few pixels": ({"image_size": 7, "network": "resnet18"}, "--image-size is"),
    "many pixels": ({"image_size": 5000, "network": "resnet18"}, "--image-size is"),
    "half a pixel": ({"image_size": "48.5"}, "whole number"),
    "a colour": ({"colour": "red"}, "colour is one of"),
    "two means": ({"mean": "0.1,0.2", "network": "resnet18"}, "--mean is"),
    "means of 0 to 255": ({"mean": "123,117,104", "network": "resnet18"}, "--mean is"),
    "no deviation": ({"std": "0", "network": "resnet18"}, "--std is"),
    "a word": ({"std": "0.1,x,0.2", "network": "resnet18"}, "is a number"),
    "nothing": ({"mean": "", "network": "resnet18"}, "is a number"),
    "vgg13 enlarged": ({"image_size": 64}, "vgg13 takes"),
    "vgg13 in colour": ({"colour": "rgb"}, "vgg13 takes"),
    "vgg13 scaled otherwise": ({"mean": "0.5"}, "vgg13 takes"),
    "vgg13 scaled as others": ({"std": IMAGENET_STD}, "vgg13 takes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_images_that_cannot_be_are_refused_in_one_line(case: str) -> None:
    values, reason = WRONG[case]
    with pytest.raises(InputError, match=reason) as found:
        options_from(target="jaffe", **values)
    assert is_one_line(found.value)


def test_means_are_given_as_numbers_as_well() -> None:
    options = options_from(target="jaffe", network="resnet18", mean=(0.5, 0.4, 0.3), std=0.5)
    assert options.mean == (0.5, 0.4, 0.3) and options.std == (0.5,)


# Records.


def test_a_record_says_how_faces_are_given_to_its_networks() -> None:
    grey, colour = (DatasetRecord("a", "real", "1", {"colour": name}) for name in ("grey", "rgb"))
    network = dataclasses.replace(VGG13, name="resnet18", channels=3, size=64).to_json()

    assert StudyRecord().face_shape == (48, 48) and StudyRecord(source=grey, target=DatasetRecord()).colour == "grey"
    assert StudyRecord(source=grey, target=colour, network=network).face_shape == (3, 64, 64)
    assert StudyRecord(source=grey, target=grey, network=network).face_shape == (64, 64)


def test_a_report_says_where_a_network_of_three_channels_is_given_grey_images() -> None:
    grey, colour = (DatasetRecord("a", "real", "1", {"colour": name}) for name in ("grey", "rgb"))
    network = dataclasses.replace(VGG13, name="resnet18", channels=3, size=64).to_json()

    words = " ".join(describe_baseline(StudyRecord(source=grey, target=grey, network=network)))
    assert "resnet18, 64×64 in three channels" in words and "are grey" in words
    words = " ".join(describe_baseline(StudyRecord(source=grey, target=colour, network=network)))
    assert "are grey" not in words
    assert describe_baseline(StudyRecord()) == ["Its network is VGG-13, 48×48 grey (arXiv 1905.12082)."]


def test_an_architecture_keeps_its_scaling_and_has_the_usual_one_where_a_record_has_none() -> None:
    scaled = dataclasses.replace(VGG13, name="resnet18", channels=3, mean=(0.5, 0.25, 0.125), std=(1.0, 0.5, 0.1))
    assert Architecture.from_json(json.loads(json.dumps(scaled.to_json()))) == scaled

    without = {key: value for key, value in scaled.to_json().items() if key not in ("mean", "std")}
    read = Architecture.from_json(without)
    assert (read.mean, read.std) == (IMAGENET_MEAN, IMAGENET_STD)
    paper = {key: value for key, value in VGG13.to_json().items() if key not in ("mean", "std")}
    assert Architecture.from_json(paper) == VGG13


# Files, and their use.


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network that learned from images in colour of 32 rows, with a scaling of its own."""
    folder = tmp_path_factory.mktemp("own")
    asked = NetworkRequest(OWN, 32, 7, mean=(0.5, 0.4, 0.3), std=(0.25,))
    architecture = find_architecture(request(asked), folder)
    chain = build_chain(architecture, 3, folder)
    baseline = weights.baseline_of(chain, architecture)
    path = folder / "n.safetensors"
    weights.save_blocks(baseline, chain.network.eval(), path, weights.colour_entry(["grey", "rgb"]))
    return path


def test_a_file_says_which_images_its_network_is_given(own_file: Path) -> None:
    network = load_network(own_file, OWN)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)

    found = predict_images(network, pixels)

    assert network.colour == "rgb" and network.face_shape == (3, 32, 32)
    assert network.image_format.mean == (0.5, 0.4, 0.3) and network.image_format.std == (0.25,) * 3
    mean = torch.tensor((0.5, 0.4, 0.3)).view(3, 1, 1)
    wanted = network((torch.from_numpy(pixels) / 255 - mean) / 0.25).softmax(1).detach()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(predict_images(network, pixels.transpose(0, 2, 3, 1)), wanted, atol=1e-5)

    grey = pixels[:, 0]
    repeated = np.repeat(grey[:, None], 3, 1)
    np.testing.assert_array_equal(predict_images(network, grey), predict_images(network, repeated))


def test_the_scaling_is_part_of_what_caches_are_keyed_by(tmp_path: Path) -> None:
    digests = set()
    for mean in ((), (0.5,), (0.4,)):
        architecture = find_architecture(request(NetworkRequest(OWN, 32, 7, mean=mean)), tmp_path)
        digests.add(weights.baseline_of(build_chain(architecture, 3, tmp_path), architecture).digest)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("colour", "shape", "kind"),
    [("rgb", (2, 48, 48), np.uint8), ("rgb", (2, 3, 32, 32), np.float32), ("rgb", (3, 32), np.uint8),
     ("rgb", (2, 1, 32, 32), np.uint8), ("grey", (2, 3, 32, 32), np.uint8), ("grey", (2, 32, 32), np.int64)],
)  # fmt: skip
def test_faces_of_another_shape_are_refused_in_one_line(colour: str, shape: tuple[int, ...], kind: type) -> None:
    image_format = request(NetworkRequest("resnet18", 32, 7)).images
    network = FaceNetwork(torch.nn.Identity(), image_format, colour)
    with pytest.raises(InputError, match="faces of this network are uint8") as found:
        predict_images(network, np.zeros(shape, kind))
    assert is_one_line(found.value)


def test_image_files_are_read_as_the_datasets_were(own_file: Path, tmp_path: Path) -> None:
    picture = coloured(3, 4, 40)
    Image.fromarray(picture).save(tmp_path / "face.png")
    network = load_network(own_file, OWN)

    face = read_face(tmp_path / "face.png", size=32, colour="rgb")

    assert face.shape == (3, 32, 32) and not (face[0] == face[1]).all()
    expected = predict_images(network, face[None])[0]
    np.testing.assert_allclose(list(predict_image(network, tmp_path / "face.png").values()), expected, atol=1e-6)
    assert read_face(tmp_path / "face.png", size=32).shape == (32, 32)
    Image.fromarray(picture[..., 0]).save(tmp_path / "grey.png")
    grey = read_face(tmp_path / "grey.png", True, 32, "rgb")
    np.testing.assert_array_equal(grey, np.stack([read_face(tmp_path / "grey.png", True, 32)] * 3))


@pytest.mark.slow
def test_onnx_of_a_network_of_colour_images_gives_what_the_network_gives(own_file: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = load_network(own_file, OWN)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)

    session = onnxruntime.InferenceSession(
        export_onnx(network, tmp_path / "n.onnx"), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"faces": pixels})

    np.testing.assert_allclose(found, predict_images(network, pixels), atol=1e-4)


class Grey(torch.nn.Module):
    """A network of one channel."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3, stride=2)
        self.pool = torch.nn.AdaptiveAvgPool2d(2)
        self.head = torch.nn.Linear(16, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.conv(images).relu()).flatten(1))


def test_a_network_of_the_users_own_may_take_grey_images_alone(tmp_path: Path) -> None:
    architecture = request(NetworkRequest("test_study_colour:Grey", 32, 7))

    assert architecture.channels == 1 and len(architecture.mean) == 1
    found = find_architecture(architecture, tmp_path)
    chain = build_chain(found, 1, tmp_path)
    images = to_tensor(torch.zeros(2, 32, 32, dtype=torch.uint8), found.images)
    assert images.shape == (2, 1, 32, 32) and chain.network(images).shape == (2, 7)
    with pytest.raises(InputError, match="for each channel"):
        request(NetworkRequest("test_study_colour:Grey", 32, 7, mean=(0.1, 0.2, 0.3)))


class Neither(torch.nn.Module):
    """A network of two channels, which images do not have."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, num_classes, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(images).mean((2, 3))


def test_a_network_of_the_users_own_that_takes_neither_colour_nor_grey_is_refused_with_both_errors() -> None:
    both = r"three channels, or of one; got .*3 channels instead.*with one channel: .*1 channels instead"
    with pytest.raises(InputError, match=both):
        request(NetworkRequest("test_study_colour:Neither", 32, 7))


def test_an_error_that_has_nothing_to_do_with_channels_is_told_once() -> None:
    with pytest.raises(InputError, match="can be imported") as found:
        request(NetworkRequest("no_such_module_here:make", 32, 7))
    assert "one channel" not in str(found.value)


# Whole studies.


def call(module: str, *words: str, folder: Path, seconds: float = 900) -> tuple[int, str, str]:
    """Runs a command that can import this folder's modules."""
    paths = os.pathsep.join([str(ROOT), HERE])
    return end(start(module, *words, folder=folder, environment={"PYTHONPATH": paths}), seconds)


@pytest.mark.slow
def test_a_study_in_colour_goes_from_files_to_a_network_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coloured(tmp_path / "data/wide", 140)
    write_coloured(tmp_path / "data/narrow", 105)
    words = ("run", "--source", "wide", "--target", "narrow", "--data", "data", "--preset", "tiny", "--trials", "5",
             "--workers", "1", "--tracking-uri", "none", "--network", OWN, "--study", "it")  # fmt: skip
    small = ("--image-size", "32", "--baseline-epochs", "1")

    code, out, err = call(*words, *small, folder=tmp_path)
    assert code == 0, out + err
    assert "features of frozen blocks" in out

    # The record says what the network is given.
    study = tmp_path / "runs/it"
    record = StudyRecord.from_json(json.loads((study / "study.json").read_text()))
    assert record.architecture.images.shape == (3, 32, 32) and record.face_shape == (3, 32, 32)
    assert record.source.report["colour"] == record.target.report["colour"] == "rgb"

    # It predicts image files and arrays alike.
    Image.fromarray(coloured(2, 5, 32)).save(tmp_path / "face.png")
    results = load_study(study)
    array = coloured(2, 5, 32)[None]
    monkeypatch.chdir(tmp_path)
    saved = results.networks[0]
    by_array, by_file = saved.predict(array), saved.predict(tmp_path / "face.png")
    np.testing.assert_allclose(by_array.to_numpy(), by_file.to_numpy(), atol=1e-6)
    code, out, err = call("predict", str(saved.file), "face.png", "--network", OWN, folder=tmp_path)
    assert code == 0, err
    shown = [float(cell) for cell in out.splitlines()[1].split(",")[2:]]
    np.testing.assert_allclose(shown, by_file.to_numpy()[0], atol=6e-5)

    # Its networks are confirmed, and it goes on with its images alone.
    code, out, err = call("confirm", "it", "--seeds", "1", "--data", "data", folder=tmp_path)
    assert code == 0, out + err
    for other in (("--image-size", "40"), ("--colour", "grey"), ("--mean", "0.5"), ("--image-size", "112")):
        code, _, err = call(*words, *small, *other, folder=tmp_path)
        assert code == 2 and "can only go on as it was started" in err, err
    code, out, err = call(*words, *small, "--colour", "rgb", folder=tmp_path)
    assert code == 0 and "resuming it" in out, err


@pytest.mark.slow
def test_a_served_model_takes_the_faces_of_its_study() -> None:
    pytest.importorskip("mlflow")
    from study.tracking.models import example_faces, network_signature

    colour = DatasetRecord("a", "real", "1", {"colour": "rgb"})
    network = dataclasses.replace(VGG13, name="resnet18", channels=3, size=64).to_json()
    for record, shape in ((StudyRecord(), (48, 48)), (StudyRecord(source=colour, network=network), (3, 64, 64))):
        signature = network_signature(record)
        assert signature.inputs.inputs[0].shape == (-1, *shape)
        assert example_faces(record).shape == (1, *shape)
