"""Using a network: the command, and ONNX that gives what the network gives."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from fer.expressions import EXPRESSIONS
from fer.model.weights import FACES, save_network
from fer.predict import export_onnx, load_network, predict_images
from study import predict


@pytest.fixture
def model(baseline, tmp_path):
    path = tmp_path / "network.safetensors"
    save_network(baseline.network, path, {"width": str(baseline.width)})
    return path


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 48, 48), dtype=np.uint8)


def test_the_command_prints_a_line_per_image_and_tells_what_it_cannot_read(model, tmp_path, capsys):
    for number, face in enumerate(faces(2)):
        Image.fromarray(face).save(tmp_path / f"{number}.png")
    (tmp_path / "no.png").write_text("no image")
    images = [str(tmp_path / name) for name in ("0.png", "no.png", "1.png")]

    code = predict.main([str(model), *images])

    assert code == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: an image must be readable") and said.err.count("\n") == 1

    rows = list(csv.DictReader(io.StringIO(said.out)))
    wanted = predict_images(load_network(model), faces(2))
    assert [row["image"] for row in rows] == [images[0], images[2]]
    for row, shares in zip(rows, wanted, strict=True):
        np.testing.assert_allclose([float(row[name]) for name in EXPRESSIONS], shares, atol=6e-5)
        assert row["expression"] == EXPRESSIONS[shares.argmax()]


def test_where_no_image_can_be_read_nothing_is_printed_but_errors(model, tmp_path, capsys):
    assert predict.main([str(model), str(tmp_path / "absent.png")]) == 1

    said = capsys.readouterr()
    assert said.out == "" and "absent.png" in said.err and "Give an image file that exists." in said.err


@pytest.mark.parametrize(
    ("learned_from", "warns"), [("synthetic", True), ("real and synthetic", True), ("real", False)]
)
def test_a_network_of_drawn_faces_says_so_before_it_answers(learned_from, warns, baseline, tmp_path, capsys):
    path = tmp_path / "network.safetensors"
    save_network(baseline.network, path, {"width": str(baseline.width), FACES: learned_from})
    Image.fromarray(faces(1)[0]).save(tmp_path / "face.png")

    assert predict.main([str(path), str(tmp_path / "face.png")]) == 0

    said = capsys.readouterr()
    assert ("learned from drawn faces" in said.err) == warns and said.out.count("\n") == 2


def test_the_command_tells_wrong_use_on_one_line(model, tmp_path, capsys):
    assert predict.main([str(model)]) == 2
    assert predict.main([str(tmp_path / "absent"), "x.png"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.slow
def test_onnx_gives_what_the_network_gives(model, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    path = export_onnx(load_network(model), tmp_path / "network.onnx")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        (found,) = session.run(None, {"faces": faces(count)})
        np.testing.assert_allclose(found, predict_images(load_network(model), faces(count)), atol=1e-5)

    assert session.get_modelmeta().custom_metadata_map["expressions"] == ",".join(EXPRESSIONS)
