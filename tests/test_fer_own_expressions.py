"""Other expressions than the seven, from the labels of datasets through training to the files of networks."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import made_faces
from conftest import TINY, TINY_WIDTH
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.datasets import Dataset, ReaderOptions
from fer.errors import InputError
from fer.evaluation import metrics
from fer.expressions import EIGHT, EXPRESSIONS, SEVEN, ExpressionSet, read_expressions
from fer.model import weights
from fer.model.vgg import build
from fer.model.weights import paper_baseline
from fer.predict import export_onnx, load_network, predict_images
from fer.runtime import Runtime
from made_data import Loader, open_split, skipped
from study import predict
from study.execution.study_baseline import check_expressions

VALENCE = {
    "anger": "negative", "disgust": "negative", "fear": "negative", "happiness": "positive", "sadness": "negative",
    "surprise": "positive", "neutral": "neutral",
}  # fmt: skip
SPLITS = ("train", "validation", "test")


def expressions_of(folder: Path, mapping: dict[str, str]) -> ExpressionSet:
    """Returns the expressions of a file that maps these labels."""
    path = folder / "own.csv"
    path.write_text("label,expression\n" + "".join(f"{label},{name}\n" for label, name in mapping.items()))
    return read_expressions(str(path))


@pytest.fixture
def valence(tmp_path: Path) -> ExpressionSet:
    return expressions_of(tmp_path, VALENCE)


ReadTwice = Callable[[str, ExpressionSet], tuple[Dataset, Dataset]]


@pytest.fixture
def read_twice(read: Loader, tmp_path: Path) -> ReadTwice:
    """Writes a made-up copy and reads it with the seven expressions and with others."""

    def read_both(copy: str, expressions: ExpressionSet) -> tuple[Dataset, Dataset]:
        made = made_faces.MADE[copy]
        made.writer(tmp_path / "data" / made.name)
        return read(made.name), read(made.name, options=ReaderOptions(expressions=expressions))

    return read_both


def labels_of(dataset: Dataset) -> list[list[int]]:
    return [open_split(dataset, split).labels.tolist() for split in SPLITS]


# Measures.

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60)


@given(PAIRS, st.integers(0, 7), st.integers(0, 7))
def test_merging_two_expressions_gains_exactly_what_was_confused_between_them(pairs, kept, merged):
    labels, predicted = np.array(pairs).T
    confusion = metrics.confusion_matrix(labels, predicted, 8)
    merge = np.where(np.arange(8) == merged, kept, np.arange(8))

    gain = metrics.accuracy(merge[labels], merge[predicted]) - metrics.accuracy(labels, predicted)

    confused = 0 if kept == merged else confusion[kept, merged] + confusion[merged, kept]
    assert gain == pytest.approx(confused / len(labels)) and gain >= 0


@given(PAIRS, st.permutations(range(8)))
def test_another_order_of_the_expressions_permutes_what_is_told_of_each_and_changes_nothing_else(pairs, order):
    labels, predicted = np.array(pairs).T
    renamed = np.array(order)

    confusion = metrics.confusion_matrix(labels, predicted, 8)
    permuted = metrics.confusion_matrix(renamed[labels], renamed[predicted], 8)

    np.testing.assert_array_equal(permuted[np.ix_(renamed, renamed)], confusion)
    recalls = metrics.per_class_recall(labels, predicted, 8)
    np.testing.assert_array_equal(metrics.per_class_recall(renamed[labels], renamed[predicted], 8)[renamed], recalls)
    for measure in (metrics.accuracy, metrics.unweighted_average_recall, metrics.macro_f1):
        assert measure(renamed[labels], renamed[predicted]) == pytest.approx(measure(labels, predicted))


@pytest.mark.parametrize("classes", [2, 3, 8, 32])
def test_measures_take_the_number_of_classes_and_chance_from_the_networks_logits(classes):
    rng = np.random.default_rng(0)
    names = [f"e{number}" for number in range(classes)]
    labels = {domain: np.arange(4 * classes) % (classes - 1) for domain in ("source", "target")}
    logits = {domain: rng.normal(size=(len(truth), classes)) for domain, truth in labels.items()}
    logits["source"][np.arange(3 * classes), labels["source"][: 3 * classes]] += 9
    random = {domain: rng.normal(size=values.shape) for domain, values in logits.items()}

    measures = metrics.evaluate(labels, logits, random, names)

    before, after = (np.mean(values["source"].argmax(1) == labels["source"]) for values in (logits, random))
    assert measures["retention_above_chance"] == pytest.approx((after - 1 / classes) / (before - 1 / classes))
    assert all(f"target_recall_{name}" in measures for name in names[:-1])
    assert f"target_recall_{names[-1]}" not in measures  # without an image
    assert np.shape(metrics.confusion_matrices(labels, logits)["target"]) == (classes, classes)


# Datasets.


@pytest.mark.parametrize("copy", ["ck48", "affectnet", "rafd"])
def test_contempt_counts_among_the_eight_and_is_left_out_of_the_seven(copy, read_twice):
    seven, eight = read_twice(copy, EIGHT)

    shown = sum(counts["contempt"] for counts in eight.report["counts"].values())
    assert shown and max(max(labels) for labels in labels_of(eight)) == 7
    assert sum(eight.report["sizes"].values()) == sum(seven.report["sizes"].values()) + shown
    assert skipped(seven)[next(reason for reason in skipped(seven) if "contempt" in reason)] == shown
    assert not any("contempt" in reason for reason in skipped(eight))
    assert eight.expressions == EIGHT and seven.expressions == SEVEN


@pytest.mark.parametrize("copy", ["fer2013.csv", "jaffe", "kdef", "rafdb", "own folders"])
def test_a_dataset_without_contempt_is_the_same_with_eight_but_for_its_digest(copy, read_twice):
    seven, eight = read_twice(copy, EIGHT)

    assert labels_of(eight) == labels_of(seven)
    assert eight.digest != seven.digest
    assert "no training image of contempt" in eight.report["notices"]
    assert eight.report["counts"]["train"]["contempt"] == 0
    assert "expressions" not in seven.report["options"] and seven.report["notices"] == []


def test_a_copy_without_an_expression_that_its_dataset_is_known_to_have_is_refused(read, tmp_path):
    folder = tmp_path / "data" / "rafd"
    made_faces.rafd(folder)
    for path in folder.glob("*contemptuous*"):
        path.unlink()

    assert read("rafd").report["sizes"]["train"]
    with pytest.raises(InputError, match=r"has training images of anger, .*; got none of contempt"):
        read("rafd", options=ReaderOptions(expressions=EIGHT))


def test_a_users_file_merges_labels_image_by_image(read_twice, valence):
    seven, own = read_twice("fer2013.csv", valence)
    index = np.array([valence.names.index(VALENCE[name]) for name in EXPRESSIONS])

    assert seven.report["rule"] == "the dataset's own three splits"
    assert labels_of(own) == [index[labels].tolist() for labels in labels_of(seven)]


@pytest.mark.parametrize("copy", ["fer2013 plain", "affectnet", "rafdb", "tfeid"])
def test_a_users_file_merges_labels_however_a_dataset_spells_them(copy, read_twice, valence):
    seven, own = read_twice(copy, valence)

    # Images are divided by label, so that splits that are drawn hold others.
    counts = {name: sum(of_split[name] for of_split in own.report["counts"].values()) for name in valence.names}
    merged = dict.fromkeys(valence.names, 0)
    for of_split in seven.report["counts"].values():
        for name, count in of_split.items():
            merged[VALENCE[name]] += count
    assert counts == merged


def test_labels_that_a_file_does_not_list_are_left_out_and_counted(read_twice, tmp_path):
    own = expressions_of(tmp_path, {"happy": "joy", "sad": "sorrow"})
    seven, few = read_twice("fer2013 plain", own)

    counts = seven.report["counts"]
    assert sum(few.report["sizes"].values()) == sum(of["happiness"] + of["sadness"] for of in counts.values())
    reasons = skipped(few)
    assert set(reasons) >= {f"{label!r} is none of the labels of the 2 expressions" for label in ("angry", "fear")}
    assert sum(reasons.values()) == sum(seven.report["sizes"].values()) - sum(few.report["sizes"].values())


def test_a_file_may_order_the_seven_otherwise(read_twice, tmp_path):
    own = expressions_of(tmp_path, {name: name for name in reversed(EXPRESSIONS)})
    seven, reversed_order = read_twice("fer2013.csv", own)

    assert labels_of(reversed_order) == [[6 - label for label in labels] for labels in labels_of(seven)]
    assert reversed_order.digest != seven.digest


@pytest.mark.parametrize("mapping", [VALENCE, {name: name for name in EXPRESSIONS if name != "neutral"}])
def test_first_frames_are_neutral_where_the_file_lists_neutral_and_left_out_where_not(mapping, read_twice, tmp_path):
    own = expressions_of(tmp_path, mapping)
    seven, mapped = read_twice("ckplus", own)

    neutral = sum(counts["neutral"] for counts in seven.report["counts"].values())
    left_out = 0 if "neutral" in mapping else neutral
    assert sum(mapped.report["sizes"].values()) == sum(seven.report["sizes"].values()) - left_out


def test_a_file_that_leaves_one_expression_of_a_dataset_is_refused(read, tmp_path):
    made_faces.plain_folders(tmp_path / "data" / "mine")
    own = expressions_of(tmp_path, {"happy": "joy", "elated": "bliss"})
    for options in ({}, {"kind": "synthetic"}):
        with pytest.raises(InputError, match="has two expressions or more; got only joy"):
            read("mine" if not options else "jaffe", options=ReaderOptions(expressions=own), **options)


def test_synthetic_faces_count_as_the_file_says_of_their_names(read, valence, tmp_path):
    options = {"kind": "synthetic", "scale": 0.1}
    seven, eight = (read("jaffe", options=ReaderOptions(expressions=each), **options) for each in (SEVEN, EIGHT))
    mapped = read("jaffe", options=ReaderOptions(expressions=valence), **options)

    index = np.array([valence.names.index(VALENCE[name]) for name in EXPRESSIONS])
    assert labels_of(eight) == labels_of(seven)
    assert labels_of(mapped) == [index[labels].tolist() for labels in labels_of(seven)]
    assert "no training image of contempt" in eight.report["notices"] and "notices" not in seven.report


def test_synthetic_faces_of_expressions_that_a_file_does_not_list_are_left_out_and_counted(read, tmp_path):
    own = expressions_of(tmp_path, {"happy": "joy", "sad": "sorrow"})
    seven = read("jaffe", kind="synthetic", scale=0.1)
    few = read("jaffe", kind="synthetic", scale=0.1, options=ReaderOptions(expressions=own))

    left = [label for labels in labels_of(seven) for label in labels if EXPRESSIONS[label] in ("happiness", "sadness")]
    assert sum(few.report["sizes"].values()) == len(left)
    assert sum(skipped(few).values()) == sum(seven.report["sizes"].values()) - len(left)


def test_a_dataset_that_is_prepared_again_has_its_own_expressions(read, tmp_path, valence):
    made_faces.MADE["jaffe"].writer(tmp_path / "data" / "jaffe")
    dataset = read("jaffe", options=ReaderOptions(expressions=valence))
    labels = dataset.open("train").labels.tolist()
    (dataset.folder / "train.labels.npy").unlink()

    again = read("jaffe", options=ReaderOptions(expressions=valence))
    assert again.open("train").labels.tolist() == labels and again == dataset


# Networks.


def make_task(folder: Path, read: Loader, expressions: ExpressionSet) -> AdaptationTask:
    """Returns the adaptation of a tiny network with these expressions to drawn faces."""
    options = ReaderOptions(expressions=expressions)
    source, target = (read(name, kind="synthetic", scale=0.01, options=options) for name in ("fer2013", "tfeid"))
    network = build(TINY_WIDTH, seed=3, classes=len(expressions)).eval().requires_grad_(False)
    return AdaptationTask(paper_baseline(network, TINY_WIDTH), source, target, Runtime(), folder / "features")


@pytest.mark.parametrize("changes", [{}, {"mixup": 0.2, "label_smoothing": 0.1}, {"init": "scratch"}])
def test_an_adaptation_has_a_logit_for_each_expression_and_measures_by_their_names(changes, read, valence, tmp_path):
    task = make_task(tmp_path, read, valence)

    adapted = adapt(task, replace(TINY, frozen_layers=0 if "init" in changes else 11, epochs=1, **changes), seed=1)

    assert adapted.logits["target"].shape[1] == adapted.logits["source"].shape[1] == 3
    assert {name for name in adapted.measures if name.startswith("source_recall_")} == {
        f"source_recall_{name}" for name in valence.names
    }
    assert np.shape(adapted.confusion["source"]) == (3, 3)


def save(folder: Path, classes: int, names: Sequence[str] = ()) -> Path:
    """Writes the file of a network, whose header names these expressions."""
    path = folder / "network.safetensors"
    header = {"width": str(TINY_WIDTH)} | ({"expressions": ",".join(names)} if names else {})
    weights.save_network(build(TINY_WIDTH, 1, classes), path, header)
    return path


@pytest.mark.parametrize(
    ("classes", "header", "names"),
    [
        (7, (), EXPRESSIONS),
        (8, (), EIGHT.names),
        (3, (), ("class 1", "class 2", "class 3")),
        (3, ("low", "mid", "high"), ("low", "mid", "high")),
        (7, EXPRESSIONS[::-1], EXPRESSIONS[::-1]),
    ],
)
def test_a_networks_file_says_what_its_logits_stand_for(classes, header, names, tmp_path, capsys):
    path = save(tmp_path, classes, header)
    image = made_faces.write(tmp_path / "face.png", 0)

    assert load_network(path).names == names
    assert predict.main([str(path), str(image)]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split(",") == ["image", "expression", *names]
    shares = dict(zip(names, map(float, row.split(",")[2:]), strict=True))
    assert row.split(",")[1] == max(shares, key=lambda name: shares[name])
    assert predict_images(weights.load_network(path, Runtime()).network, np.zeros((0, 48, 48))).shape == (0, classes)


@pytest.mark.parametrize(
    ("classes", "names"),
    [(3, ("low", "high")), (2, ("low", "low")), (2, ("a\x1b[31m", "b")), (2, ("", "b")), (1, ()), (33, ())],
)
def test_a_file_whose_names_do_not_fit_its_logits_is_refused_in_one_line(classes, names, tmp_path):
    with pytest.raises(InputError) as caught:
        weights.load_network(save(tmp_path, classes, names), Runtime())
    assert str(caught.value).isprintable() and "logits" in str(caught.value)


def test_the_seven_leave_no_trace_in_a_networks_file(tmp_path, valence):
    assert weights.expressions_entry(SEVEN) == {}
    assert weights.expressions_entry(valence) == {"expressions": "negative,positive,neutral"}


@pytest.mark.parametrize(
    ("classes", "header", "fits"),
    [
        (3, ("negative", "positive", "neutral"), True),
        (3, (), True),
        (3, ("positive", "negative", "neutral"), False),
        (7, (), False),
        (7, EXPRESSIONS[::-1], False),
    ],
)
def test_a_baseline_must_tell_the_studys_expressions_apart(classes, header, fits, tmp_path, valence):
    path = save(tmp_path, classes, header)
    trained = weights.load_network(path, Runtime())
    source = Dataset("mine", "real", "0", tmp_path, {"options": ReaderOptions(expressions=valence).to_json()})

    if fits:
        check_expressions(trained, source, path)
    else:
        with pytest.raises(InputError, match="a baseline tells the study's 3 expressions apart, negative"):
            check_expressions(trained, source, path)


def test_networks_of_seven_have_the_weights_that_they_always_had():
    first, second = (build(TINY_WIDTH, seed=5, **more).state_dict() for more in ({}, {"classes": 7}))
    assert all(torch.equal(first[name], second[name]) for name in first)
    eight = build(TINY_WIDTH, seed=5, classes=8).state_dict()
    shared = [name for name in first if not name.startswith("fc3")]
    assert all(torch.equal(first[name], eight[name]) for name in shared)


@pytest.mark.slow
def test_onnx_names_the_expressions(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = save(tmp_path, 3, ("low", "mid", "high"))
    model = onnx.load(export_onnx(load_network(path), tmp_path / "n.onnx"))
    assert {entry.key: entry.value for entry in model.metadata_props}["expressions"] == "low,mid,high"


def test_every_split_of_eight_expressions_has_each_of_them_where_there_are_enough(read, tmp_path):
    folder = tmp_path / "data" / "mine"
    for label, number in itertools.product(range(8), range(20)):
        made_faces.write(folder / EIGHT.names[label] / f"{number}.png", label % 7)
    dataset = read("mine", options=ReaderOptions(expressions=EIGHT))
    assert all(set(labels) == set(range(8)) for labels in labels_of(dataset))
