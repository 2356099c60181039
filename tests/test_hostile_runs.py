"""Whole studies in odd surroundings: full disks, foreign files, moved folders, read-only databases."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import ROOT, SHORT_RUN, end, start


def make_images(folder: Path, each: int) -> None:
    """Writes a small dataset of the user's own: `each` images of every expression."""
    rng = np.random.default_rng(1)
    for expression in ("happy", "sad", "angry", "fear", "disgust", "surprise", "neutral"):
        (folder / expression).mkdir(parents=True)
        for number in range(each):
            image = Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8))
            image.save(folder / expression / f"{number}.png")


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=str)
def test_a_study_runs_and_reports_in_a_locale_without_utf_8(environment, tmp_path):
    code, out, err = end(start("run", *SHORT_RUN, "--study", "s", folder=tmp_path, environment=environment))
    assert code == 0 and "report" in out, err

    assert "TFEID" in (tmp_path / "runs/s/report.html").read_text(encoding="utf-8")

    code, _, _ = end(start("report", "s", folder=tmp_path, environment={"PYTHONIOENCODING": "ascii"}))
    assert code == 0


def count_workers(parent: int) -> int:
    listed = subprocess.run(["ps", "-o", "args=", "--ppid", str(parent)], capture_output=True, text=True)
    return sum("study.worker" in line.split() for line in listed.stdout.splitlines())


@pytest.mark.slow
def test_many_workers_are_not_started_for_two_trials(prepared_folder):
    process = start("run", *SHORT_RUN, "--workers", "1024", "--study", "s", folder=prepared_folder)
    most = 0
    while process.poll() is None:
        most = max(most, count_workers(process.pid))
        time.sleep(0.1)

    code, out, _ = end(process)

    assert code == 0 and most == 2 and "2 workers, 1 thread each" in out


@pytest.mark.slow
def test_bytes_that_are_no_utf_8_in_the_data_leave_a_study_its_report(tmp_path):
    make_images(tmp_path / "data/mine", 8)
    odd = os.fsencode(tmp_path / "data/mine/happy") + b"/odd\xff.png"
    Path(os.fsdecode(odd)).write_bytes(b"no image")
    words = ["--target", "mine", *SHORT_RUN[2:], "--data", "data", "--study", "s"]

    code, _, err = end(start("run", *words, folder=tmp_path))

    assert code == 0, err
    assert (tmp_path / "runs/s/report.html").exists() and (tmp_path / "runs/s/study.json").exists()


@pytest.mark.slow
def test_a_record_longer_than_a_command_line_reaches_the_baseline(tmp_path):
    guesses = ["--try", f"strategy=FU,lr=1e-3{' ' * 5000}"] * 40

    code, _, err = end(start("run", *SHORT_RUN, *guesses, "--study", "s", folder=tmp_path))

    assert code == 0, err
    assert (tmp_path / "runs/s/study.json").stat().st_size > 2**17


@pytest.mark.slow
def test_a_study_folder_that_is_moved_away_is_one_error(prepared_folder):
    words = [*SHORT_RUN[:-1], "200", "--workers", "3", "--early-stop", "off", "--study", "s"]
    process = start("run", *words, folder=prepared_folder)
    journal = prepared_folder / "runs/s/journal.log"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and '"values":[' in journal.read_text()):
        time.sleep(0.1)  # until a trial has ended

    (prepared_folder / "runs/s").rename(prepared_folder / "runs/moved")
    code, _, err = end(process)
    assert code == 1 and err.count("error: ") == 1 and "journal.log is gone" in err
    assert not (prepared_folder / "runs/s").exists()

    (prepared_folder / "runs/moved").rename(prepared_folder / "runs/s")
    words[words.index("200")] = "3"
    assert end(start("run", *words, folder=prepared_folder))[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("kib", [300, 3000])
def test_a_disk_that_is_full_at_the_baseline_says_so(kib, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")

    try:
        code, _, err = end(start("run", *SHORT_RUN, "--out", str(disk / "runs"), folder=tmp_path))
    finally:
        subprocess.run(["umount", "-l", disk], check=False)

    assert code == 1 and "No space left on device" in err and "above" not in err


@pytest.mark.slow
def test_a_small_target_has_no_more_folds_than_it_fills(tmp_path):
    root = tmp_path / "data" / "few"
    make_images(root, 3)
    for expression in ("angry", "fear", "disgust", "surprise", "neutral"):
        shutil.rmtree(root / expression)
    words = ["--target", "few", *SHORT_RUN[2:], "--data", "data", "--folds", "3"]

    code, _, err = end(start("run", *words, folder=tmp_path))

    assert code == 2 and "--folds leaves every fold images" in err


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can give files away")
def test_files_of_another_user_are_told_on_one_line(tmp_path):
    theirs = tmp_path / "runs" / "s"
    theirs.mkdir(parents=True)
    (theirs / "journal.log").write_text("")
    for path in (theirs / "journal.log", theirs):
        path.chmod(0o700)
        shutil.chown(path, "nobody")

    # A root that must keep to the permissions of files, as every other user must.
    bounded = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
    for module, *words in (("report", "s"), ("worker", "--study", "s"), ("run", *SHORT_RUN, "--study", "s")):
        line = [*bounded, sys.executable, "-m", f"study.{module}", *words]
        done = subprocess.run(
            line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert done.returncode in (1, 2) and "ermission denied" in done.stderr, done.stderr
        assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
def test_a_database_user_who_may_only_read_can_report_and_is_refused_the_rest_in_a_line(postgres, tmp_path):
    import psycopg

    def with_storage(url: str, module: str, *words: str) -> tuple[int, str, str]:
        return end(start(module, *words, folder=tmp_path, environment={"STUDY_STORAGE": url}))

    study = [*SHORT_RUN, "--study", "s"]
    assert with_storage(postgres.url, "run", *study)[0] == 0
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for line in (
            "CREATE USER reader PASSWORD 'r3ad'",
            "GRANT USAGE ON SCHEMA public TO reader",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        ):
            connection.execute(line)
    reader = postgres.url.replace("me:s3cr3t", "reader:r3ad")

    assert with_storage(reader, "report", "s")[0] == 0
    for module, *words in (("run", *study), ("run", *study[:-1], "new"), ("confirm", "s", "--seeds", "1")):
        code, _, err = with_storage(reader, module, *words)
        assert code == 1 and "refuses this (permission denied" in err and "r3ad" not in err, err
