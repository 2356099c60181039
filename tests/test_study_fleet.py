"""Ray: two nodes on one machine, one removed in the middle; networks of the front come home."""

import json
import os
import subprocess
import sys
import time

import pandas as pd
import pytest

from commands import NAME, QUICK, ROOT, command, trials_of

pytestmark = pytest.mark.slow
TRIALS = 12


@pytest.fixture
def cluster():
    pytest.importorskip("ray", reason="ray is not installed (the extra `ray`)")
    from ray.cluster_utils import Cluster

    for name, value in (("RAY_raylet_start_wait_time_s", "300"), ("RAY_DISABLE_MEMORY_MONITOR", "1")):
        os.environ.setdefault(name, value)
    found = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 200 * 2**20},
    )
    yield found
    found.shutdown()


def test_a_node_is_removed_and_all_trials_finish_with_their_networks_at_home(cluster, tmp_path):
    node = cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
    storage = f"sqlite:///{tmp_path}/study.db"
    arguments = ["--target", "tfeid", *QUICK, "--tracking-uri", "none", "--trials", str(TRIALS)]
    process = command("run", *arguments, "--storage", storage, "--ray", cluster.address, folder=tmp_path)
    deadline = time.monotonic() + 300
    hosts: set[int] = set()
    while len(hosts) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(1)
        hosts = workers_of(storage)
    cluster.remove_node(node, allow_graceful=False)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, f"{out}\n{err}"
    assert len(hosts) == 2, f"{out}\n{err}"

    trials = trials_of(tmp_path)
    assert len(trials) == TRIALS and not (trials["state"] == "failed").any()

    folder = tmp_path / "runs" / NAME
    front = pd.read_csv(folder / "front.csv")
    assert len(front) and all((folder / model).exists() for model in front["model"])


def workers_of(storage: str) -> set[int]:
    """Returns the processes that work, or worked, at trials."""
    code = (
        "import json, sys; from pathlib import Path; from study.storage.backend import load_study, trials_of\n"
        "trials = trials_of(load_study(sys.argv[1], Path('runs'), sys.argv[2]))\n"
        "print(json.dumps([t.user_attrs['worker']['pid'] for t in trials if 'worker' in t.user_attrs]))"
    )
    answer = subprocess.run([sys.executable, "-c", code, NAME, storage], capture_output=True, text=True, cwd=ROOT)
    return set(json.loads(answer.stdout)) if answer.returncode == 0 else set()
