"""What one core (or the GPU) can compute at most: prints a JSON line for a width and a precision.

`python -m benchmarks.peak 0.25 bf16 cpu`. Matrix multiply and convolution in GFLOP/s, each the best over sizes
(those of the network's own layers for the convolution); beside it what one sample costs and what the network's
convolutions reach in training when nothing else is computed. A multiplication and an addition are two operations.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer.architecture import VGG13
from fer.model.vgg import SIZE, build, cut_shapes
from fer.runtime import Runtime

BATCH = 128
REPEATS = 7


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peak", description=__doc__)
    parser.add_argument("width", type=float, help="of the network; the paper's is 1")
    parser.add_argument("precision", choices=("fp32", "bf16"))
    parser.add_argument("device", choices=("cpu", "cuda"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    runtime = Runtime(args.device, args.precision)
    network = build(args.width).to(device).to(memory_format=torch.channels_last)
    forward = flops(lambda: network.eval()(torch.zeros(1, 1, SIZE, SIZE, device=device)))
    training = flops(lambda: network.eval()(torch.zeros(1, 1, SIZE, SIZE, device=device)).sum().backward())
    best, alone = convolutions(network, runtime)
    figures = {
        "matmul_gflops": max(matmul(size, runtime) for size in (256, 512, 1024, 2048)),
        "convolution_gflops": best,
        "forward_gflop": forward,
        "training_gflop": training,
        "training_images_per_second_convolutions_alone": alone,
    }
    print(json.dumps(figures))


def flops(run: Callable[[], object]) -> float:
    """Returns the GFLOP of a computation."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


@cache
def costs(width: float) -> list[tuple[float, float]]:
    """Returns, per number of frozen layers, the GFLOP of a sample in training and in evaluation."""
    network = build(width).eval()
    by_cut = []
    for cut, shape in enumerate(cut_shapes(network)[: len(VGG13.blocks)]):
        by_cut.append(costs_of(network[cut:], torch.zeros(1, *shape)))
    return [*by_cut, (0.0, 0.0)]


def costs_of(layers: nn.Sequential, inputs: torch.Tensor) -> tuple[float, float]:
    """Returns the GFLOP of some layers in training, forward and backward, and in evaluation."""
    training = flops(lambda: layers(inputs).sum().backward())
    evaluation = flops(lambda: layers(inputs))
    return training, evaluation


def fastest(run: Callable[[], object], runtime: Runtime) -> float:
    """Returns the seconds of the fastest of some runs; on a CPU its own seconds, whoever else computes there."""
    clock = time.process_time if runtime.device == "cpu" else time.perf_counter
    seconds = []
    for _ in range(REPEATS + 2):
        started = clock()
        run()
        if runtime.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - started)
    return min(seconds[2:])


def matmul(size: int, runtime: Runtime) -> float:
    """Returns the GFLOP/s of a square matrix multiply."""
    left = torch.randn(size, size, device=runtime.device, dtype=runtime.dtype)
    right = torch.randn(size, size, device=runtime.device, dtype=runtime.dtype)
    return 2 * size**3 / fastest(lambda: left @ right, runtime) / 1e9


def convolutions(network: nn.Sequential, runtime: Runtime) -> tuple[float, float]:
    """Returns the best GFLOP/s of a forward convolution, and images/s of all of them forward and backward."""
    best = 0.0
    seconds = 0.0
    side = SIZE
    for number, layer in enumerate(network):
        conv = getattr(layer, "conv", None)
        if not isinstance(conv, nn.Conv2d):
            break
        inputs = torch.randn(BATCH, conv.in_channels, side, side, device=runtime.device)
        inputs = inputs.to(memory_format=torch.channels_last).requires_grad_(number > 0)
        gradient = torch.randn(BATCH, conv.out_channels, side, side, device=runtime.device)
        gradient = gradient.to(runtime.dtype).to(memory_format=torch.channels_last)

        def forward(conv: nn.Conv2d = conv, inputs: torch.Tensor = inputs) -> torch.Tensor:
            with runtime.autocast():
                return conv(inputs)

        def step(run: Callable[[], torch.Tensor] = forward, gradient: torch.Tensor = gradient) -> None:
            run().backward(gradient)

        with torch.no_grad():
            work = 2 * BATCH * conv.weight.numel() * side**2 / 1e9
            best = max(best, work / fastest(forward, runtime))
        seconds += fastest(step, runtime)
        side //= 2 if hasattr(layer, "pool") else 1
    return best, BATCH / seconds


if __name__ == "__main__":
    main()
