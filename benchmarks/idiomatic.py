"""The hand-written script that the engine is measured against: Optuna, torchvision transforms, DataLoader.

What a good engineer writes who has one process per core, one thread each, channels-last memory, all images in memory,
fused optimisers and the fastest number of loader workers and size of evaluation batches, but recomputes in each trial
what trials share. It trains the very network and configurations of a study on as many samples, but draws them and their
views again for each trial, where a study's trials share theirs. `--evaluate once` scores both validation sets at the
end of a trial only, `--precision bf16` computes under autocast. `benchmarks.throughput` runs it.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
import torch.nn.functional as F
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, RandomSampler, Sampler, WeightedRandomSampler
from torchvision.transforms import v2

from fer.image_format import PAPER_FORMAT, ImageFormat
from fer.model.vgg import build

BATCH = 32


Log = Callable[[tuple[float, float], int], None]
"""Takes source and target accuracy, and the number of passes after which they were reached."""


class Faces(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images in memory, each transformed when it is asked for."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: v2.Compose) -> None:
        self.images = torch.from_numpy(np.array(images)).unsqueeze(1)
        self.labels = torch.from_numpy(np.array(labels).astype(np.int64))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def transforms(views: dict[str, float], image_format: ImageFormat = PAPER_FORMAT) -> tuple[v2.Compose, v2.Compose]:
    """Returns the augmentation of training and the plain transform of evaluation."""
    shift = views["views_shift"] / 48
    scale = views["views_scale"]
    levels = [255 * mean for mean in image_format.mean], [255 * std for std in image_format.std]
    plain = [v2.ToDtype(torch.float32), v2.Normalize(*levels)]
    if image_format.channels == 3:
        plain.insert(0, v2.Grayscale(3))  # the images are grey
    augmentation = [
        v2.RandomHorizontalFlip(views["views_flip"]),
        v2.RandomAffine(
            views["views_rotation"], (shift, shift), (1 - scale, 1 + scale), interpolation=v2.InterpolationMode.BILINEAR
        ),
    ]
    return v2.Compose([*augmentation, *plain, v2.RandomErasing(views["views_erase"], (0.06, 0.16))]), v2.Compose(plain)


def loader_of(config: dict[str, Any], source: Faces, target: Faces, workers: int) -> DataLoader:
    """Returns the loader of one epoch, as many samples as the target has images, mixed as the configuration says."""
    ratio = config["fusion_ratio"]
    both: ConcatDataset[tuple[torch.Tensor, torch.Tensor]] = ConcatDataset([target, source])
    data: Dataset = both
    sampler: Sampler
    if ratio == 0:
        data = target
        sampler = RandomSampler(target)
    elif ratio == "natural":
        sampler = RandomSampler(both, num_samples=len(target))
    else:
        weights = [(1 - ratio) / len(target)] * len(target) + [ratio / len(source)] * len(source)
        sampler = WeightedRandomSampler(weights, len(target))
    return DataLoader(data, BATCH, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)


def accuracy(model: torch.nn.Module, data: Faces, args: argparse.Namespace) -> float:
    """Returns the model's accuracy on a validation set."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for images, labels in DataLoader(data, args.evaluation_batch):
            images = images.to(args.device, memory_format=torch.channels_last)
            right += int((model(images).argmax(1) == labels.to(args.device)).sum())
    return right / len(data)


def rate(step: int, steps: int) -> float:
    """Returns the share of the learning rate at a step: a short warm-up, then a cosine."""
    warm = max(1, round(0.05 * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def load_model(state: dict[str, torch.Tensor], args: argparse.Namespace) -> nn.Sequential:
    """Returns a network with the baseline's weights, in channels-last memory."""
    model = build(args.width)
    model.load_state_dict(state)
    return model.to(args.device).to(memory_format=torch.channels_last)


def train(
    config: dict[str, Any], data: dict[str, Faces], state: dict[str, torch.Tensor], args: argparse.Namespace, log: Log
) -> tuple[float, float]:
    """Fine-tunes the baseline as a configuration says.

    Args:
        config: The hyperparameters.
        data: Source and target, training and validation.
        state: The baseline's weights.
        args: The options of this command.
        log: Takes both validation accuracies where they are evaluated.

    Returns:
        Both validation accuracies at the end.
    """
    model = fit(config, data, load_model(state, args), args, log)
    values = score(model, data, args)
    trains = int(config["frozen_layers"]) < len(model)
    log(values, round(config["epochs"]) if trains else 0)
    return values


def fit(
    config: dict[str, Any], data: dict[str, Faces], model: nn.Sequential, args: argparse.Namespace, log: Log
) -> nn.Sequential:
    """Trains the network of `train` in place and returns it; logs both accuracies before the end alone."""
    frozen = int(config["frozen_layers"])
    model[:frozen].requires_grad_(False)

    # The optimiser of what is trained, if anything is.
    epochs = 0
    if frozen < len(model):
        loader = loader_of(config, data["source_train"], data["target_train"], args.loader_workers)
        epochs = round(config["epochs"])
        parameters = model[frozen:].parameters()
        optimiser = torch.optim.SGD(
            parameters, config["lr"], momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, epochs * len(loader)))

    # Training.
    for epoch in range(epochs):
        model.train()
        model[:frozen].eval()
        for images, labels in loader:
            images = images.to(args.device, memory_format=torch.channels_last)
            optimiser.zero_grad()
            with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
                logits = model(images)
            F.cross_entropy(logits.float(), labels.to(args.device)).backward()
            optimiser.step()
            schedule.step()
        if args.evaluate == "epochs" and epoch + 1 < epochs:
            log(score(model, data, args), epoch + 1)
    return model


def score(model: torch.nn.Module, data: dict[str, Faces], args: argparse.Namespace) -> tuple[float, float]:
    """Returns source and target validation accuracy."""
    with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
        source = accuracy(model, data["source_validation"], args)
        target = accuracy(model, data["target_validation"], args)
    return source, target


def seconds_by_setting(
    configs: list[dict[str, Any]], data: dict[str, Faces], state: dict[str, torch.Tensor], args: argparse.Namespace
) -> dict[str, dict[int, float]]:
    """Returns the seconds of an epoch of all layers by number of loader workers, and of a score by size of batches."""
    config = configs[0] | {"frozen_layers": 0, "epochs": 1}
    model = build(args.width).to(args.device).to(memory_format=torch.channels_last)
    seconds: dict[str, dict[int, float]] = {"loader_workers": {}, "evaluation_batch": {}}

    # The first measurement of each pays for what a process does once; the second of its value replaces it.
    by_size = seconds["evaluation_batch"]
    for size in (128, 64, 128, 256, 512):
        args.evaluation_batch = size
        started = time.perf_counter()
        score(model, data, args)
        by_size[size] = time.perf_counter() - started
    args.evaluation_batch = min(by_size, key=lambda size: by_size[size])

    for count in (0, 0, 2, 4):
        args.loader_workers = count
        started = time.perf_counter()
        train(config, data, state, args, lambda *_: None)
        seconds["loader_workers"][count] = time.perf_counter() - started
    return seconds


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m benchmarks.idiomatic`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idiomatic", description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of prepared arrays")
    parser.add_argument("--target", type=Path, required=True, help="folder of prepared arrays")
    parser.add_argument("--baseline", required=True, help="the source-trained network, as safetensors")
    parser.add_argument("--width", type=float, required=True)
    parser.add_argument("--configs", type=Path, required=True, help="JSON list of hyperparameters")
    parser.add_argument("--journal", required=True, help="of a study with a waiting trial per configuration")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--evaluate", choices=("epochs", "once"), default="epochs")
    parser.add_argument("--loader-workers", type=int, default=0)
    parser.add_argument("--evaluation-batch", type=int, default=128)
    parser.add_argument("--tracking-uri", default="none")
    parser.add_argument("--tune", action="store_true", help="print what the fastest setting is chosen from")
    return parser


def main() -> None:
    args = build_parser().parse_args()
    torch.set_num_threads(1)
    configs = json.loads(args.configs.read_text())
    training, plain = transforms(configs[0])
    data = {}
    for domain, folder in (("source", args.source), ("target", args.target)):
        for split, transform in (("train", training), ("validation", plain)):
            images = np.load(folder / f"{split}.images.npy")
            labels = np.load(folder / f"{split}.labels.npy")
            data[f"{domain}_{split}"] = Faces(images, labels, transform)
    state = load_file(args.baseline)
    if args.tune:
        print(json.dumps(seconds_by_setting(configs, data, state, args)))
        return
    if args.tracking_uri != "none":
        import mlflow  # noqa: PLC0415  seconds, which a side without MLflow does not spend

        mlflow.set_tracking_uri(args.tracking_uri)
        mlflow.search_experiments()  # opens the store, before the clock of the first trial

    def log_accuracies(accuracies: tuple[float, float], epoch: int) -> None:
        source, target = accuracies
        mlflow.log_metrics({"source": source, "target": target}, epoch)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        if "listed" not in trial.user_attrs:  # the other process has taken the last one
            raise optuna.TrialPruned
        number = trial.suggest_int("config", 0, len(configs) - 1)
        config = configs[number]
        torch.manual_seed(number)
        if args.tracking_uri == "none":
            return train(config, data, state, args, lambda *_: None)
        with mlflow.start_run():
            mlflow.log_params(config)
            return train(config, data, state, args, log_accuracies)

    storage = JournalStorage(JournalFileBackend(args.journal))
    study = optuna.load_study(study_name="idiomatic", storage=storage)
    while any(trial.state == optuna.trial.TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
        study.optimize(objective, n_trials=1)


if __name__ == "__main__":
    main()
