"""Everything that needs a GPU, in one command, for whoever has one for ten minutes.

`python -m benchmarks.gpu` runs the tests for a GPU, one round of `benchmarks.throughput` there with the paper's network
(`--trials 12`), `benchmarks.peak`, and a study of 200 trials on synthetic faces with a short baseline; prints what each
took and how it ended, and leaves the study under --out. No figure of this project has been measured on a GPU yet.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from study.machine import gpu_count

ROOT = Path(__file__).parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", default="runs-gpu", help="where the study goes (default: %(default)s)")
    parser.add_argument("--preset", default="paper", help="of the study and of the throughput (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=200)
    args = parser.parse_args()
    if not gpu_count():
        print("this needs a CUDA device that its driver shows, and there is none")
        return 1
    study = ["-m", "study.run", "--target", "tfeid", "--data-kind", "synthetic", "--device", "cuda"]
    study += ["--preset", args.preset, "--baseline-epochs", "5", "--trials", str(args.trials), "--out", args.out]
    throughput = ["-m", "benchmarks.throughput", "--device", "cuda", "--preset", args.preset, "--rounds", "1"]
    throughput += ["--tracking-uri", "none"]
    steps = {
        "tests": ["-m", "pytest", "-m", "gpu", "-n", "0"],
        "peak": ["-m", "benchmarks.peak", "1.0", "bf16", "cuda"],
        "study": [*study, "--tracking-uri", "none"],
        "throughput": [*throughput, "--trials", "12"],
    }
    codes = {}
    for name, words in steps.items():
        print(f"== {name}: python {' '.join(words)}", flush=True)
        started = time.monotonic()
        codes[name] = subprocess.run([sys.executable, *words], cwd=ROOT).returncode
        print(f"== {name}: {time.monotonic() - started:.0f} s, exit code {codes[name]}", flush=True)
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main())
