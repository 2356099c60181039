"""What a process of `study.confirm` does: trains its part of the jobs and keeps their test logits."""

import argparse
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import DONE
from study.describe import SIDES

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from fer.adaptation import AdaptationConfig
    from fer.engine import Setting
    from study.trial import Bench

ATTRIBUTE = "confirmation"
SIMILARITY_IMAGES, PROBE_IMAGES = 256, 2100


def answers_path(folder: Path, opening: dict[str, Any], job: int, seed: int) -> Path:
    """Returns where the test answers of one training are kept; each opening has its own."""
    return folder / "confirm" / f"{opening['opened'].replace(':', '')}-{job:03d}-{seed:03d}.npz"


def truth_path(folder: Path) -> Path:
    """Returns where labels and subjects of the test images are kept."""
    return folder / "confirm" / "truth.npz"


def work(args: argparse.Namespace) -> int:
    """Trains this part of the jobs and keeps their answers on the test images; what is there already is left."""
    from fer.adaptation import from_knobs
    from fer.files import write_atomically
    from study.storage import load_study
    from study.worker import make_bench

    study = load_study(args.study, Path(args.out), args.storage)
    record, opening = study.user_attrs["study"], study.user_attrs[ATTRIBUTE]
    folder = Path(args.out) / args.study
    bench = make_bench(record, args)
    trainings = [
        (index, seed)
        for seed in range(opening["seeds"])
        for index, job in enumerate(opening["jobs"])
        if seed == 0 or varies(from_knobs(job["config"]))
    ]
    for index, seed in trainings[args.part :: args.workers]:
        path = answers_path(folder, opening, index, seed)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, _npz(retrain(bench, opening["jobs"][index], seed)))
    if args.part == 0:
        write_atomically(truth_path(folder), _npz(truth(bench)))
    return DONE


def varies(config: "AdaptationConfig") -> bool:
    """Whether another seed can give another network."""
    return config.trains or (bool(config.trained) and config.bn == "recompute")


def divided(bench: "Bench", seed: int) -> "Setting":
    """Returns the setting of one seed: the target's training and validation images divided anew, the test set kept.

    Seeds take the folds of one subject-wise division in turn, all strategies the same, so that differences are paired.
    """
    target, count = bench.setting.target, divisions(bench)
    return replace(bench.setting, target=target.divided(seed % count, count, bench.seed + seed // count))


def divisions(bench: "Bench") -> int:
    """Returns how many divisions seeds take in turn: the study's folds, or as many as the validation split fits in."""
    return bench.folds or bench.setting.target.divisions()


def retrain(bench: "Bench", job: dict[str, Any], seed: int) -> dict[str, "np.ndarray"]:
    """Returns the logits on both test sets of a job's network and of those on its way, NaN where it diverged."""
    import numpy as np

    from fer.adaptation import from_knobs
    from fer.engine import adapt, logits_on_test
    from fer.expressions import EXPRESSIONS
    from fer.seeding import seed_from
    from fer.training import Diverged

    config, setting = from_knobs(job["config"]), divided(bench, seed)
    between = [(way["alpha"], way["slope"]) for way in job["ways"] if (way["alpha"], way["slope"]) != (1.0, 0.0)]
    try:
        adapted = adapt(setting, config, seed_from(bench.seed, "confirm", seed), ways=between)
    except Diverged:
        adapted = None
    networks = {}
    if adapted is not None:
        networks = {(1.0, 0.0): adapted.network} | {(s.alpha, s.slope): s.network for s in adapted.between}
    found: dict[str, np.ndarray] = {}
    for place, way in enumerate(job["ways"]):
        network = networks.get((way["alpha"], way["slope"]))
        for domain in SIDES:
            if network is None:
                count = len(setting.dataset(domain).open_test())
                found[f"{domain}-{place}"] = np.full((count, len(EXPRESSIONS)), np.nan, np.float32)
            else:
                found[f"{domain}-{place}"] = logits_on_test(setting, config, network, domain)
        if network is not None and seed == 0:
            found |= {f"{name}-{place}": values for name, values in inside(setting, network).items()}
    return found


def inside(setting: "Setting", network: "nn.Sequential") -> dict[str, "np.ndarray"]:
    """Returns the layers' similarity to the baseline's, and how well a fresh linear probe reads the source's features.

    Both on source images alone, of training and validation; see `fer.similarity`.
    """
    import numpy as np

    from fer.anchors import balanced
    from fer.seeding import generator
    from fer.similarity import layer_similarities, probe_accuracy

    train, held_out = setting.source.open("train"), setting.source.open("validation")
    few = generator("similarity").permutation(len(held_out))[:SIMILARITY_IMAGES]
    chosen = balanced(np.asarray(train.labels), PROBE_IMAGES, generator("probe"))
    similar = layer_similarities(setting.baseline.network, network, held_out.images[np.sort(few)])
    parts = [(split.images[rows], np.asarray(split.labels[rows])) for split, rows in
             ((train, np.sort(chosen)), (held_out, np.arange(min(PROBE_IMAGES, len(held_out)))))]  # fmt: skip
    return {"cka": np.array(list(similar.values())), "probe": np.array(probe_accuracy(network, parts[0], parts[1]))}


def truth(bench: "Bench") -> dict[str, "np.ndarray"]:
    """Returns labels and subjects of both test sets, and how many divisions of the target there are."""
    import numpy as np

    found = {"divisions": np.array(divisions(bench))}
    for domain in SIDES:
        split = bench.setting.dataset(domain).open_test()
        found |= {f"{domain}-labels": np.asarray(split.labels), f"{domain}-subjects": np.asarray(split.subjects)}
    return found


def _npz(arrays: dict[str, "np.ndarray"]) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
