"""Servers of a test's own, on the loopback, in folders that go with the test: PostgreSQL, MLflow, Optuna's proxy."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE = 1500.0
"""Seconds for what takes a moment: machines that run such tests may be busy."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def find_programs() -> Path | None:
    """Returns the folder of initdb and pg_ctl; Debian keeps them off the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    folders += [Path(on_path).parent] if on_path else []
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


class Postgres:
    """A cluster with one database, `studies`, of the user `me` with the password `s3cr3t`."""

    def __init__(self, folder: Path, programs: Path, connections: int = 200) -> None:
        self.folder, self.programs, self.port = folder, programs, free_port()
        # It refuses to be root's, so root lends it a folder.
        self.user = "postgres" if os.getuid() == 0 else None
        folder.mkdir(parents=True)
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        secret = folder / "password"
        secret.write_text("s3cr3t")
        secret.chmod(0o644)
        self._call("initdb", "-U", "me", "--pwfile", str(secret), "-A", "scram-sha-256", "-D", self.data, "--no-sync")
        self.options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
        self.options += f"-c max_connections={connections}"

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    @property
    def url(self) -> str:
        return f"postgresql://me:s3cr3t@127.0.0.1:{self.port}/studies"

    def start(self) -> None:
        self._call("pg_ctl", "-D", self.data, "-l", str(self.folder / "log"), "-w", "-o", self.options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop", check=False)

    def create(self) -> None:
        import psycopg

        with psycopg.connect(self.url.replace("/studies", "/postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE studies")

    def _call(self, program: str, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments], user=self.user, cwd=self.folder, timeout=120,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            extra_groups=[] if self.user else None,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}; see {self.folder}/log")


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory):
    """A running PostgreSQL, or the reason why there is none."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra `postgresql`)")
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    base = tmp_path_factory.getbasetemp()
    for folder in (base, *base.parents[:2]):  # pytest's folders are closed to the server's user
        folder.chmod(folder.stat().st_mode | 0o011)
    server = Postgres(base / f"postgres-{os.getpid()}-{free_port()}", programs)
    try:
        server.start()
        server.create()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


class Server:
    """A Python process that serves a port, ended with SIGKILL and started again at will.

    Args:
        command: What Python runs, given the port.
        log: Where its words go.
        **environment: What it needs besides this process's.
    """

    def __init__(self, command: Callable[[int], list[str]], log: Path, **environment: str) -> None:
        self.port, self.log, self.environment = free_port(), log, os.environ | environment
        self.command = [sys.executable, *command(self.port)]
        self.process: subprocess.Popen | None = None

    def start(self, seconds: float = PATIENCE) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + seconds
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no server: {self.log.read_text()}")
            time.sleep(0.2)

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


@pytest.fixture
def mlflow_server(tmp_path: Path):
    """An MLflow server over a database in `tmp_path`, not started yet."""
    database = f"sqlite:///{tmp_path}/tracked.db"
    words = ["-m", "mlflow", "server", "--backend-store-uri", database, "--host", "127.0.0.1", "--workers", "1"]
    words += ["--artifacts-destination", str(tmp_path / "artifacts"), "--port"]
    server = Server(
        lambda port: [*words, str(port)],
        tmp_path / "mlflow.log",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        MLFLOW_DISABLE_TELEMETRY="true",
    )
    yield server
    server.kill()


PROXY = """
import sys
from pathlib import Path
import optuna
from study.storage.backend import open_storage

storage = open_storage(sys.argv[1] or None, Path(sys.argv[2]))
optuna.storages.run_grpc_proxy_server(getattr(storage, "_storage", storage), host="127.0.0.1", port=int(sys.argv[3]))
"""


@pytest.fixture
def make_proxy(tmp_path: Path):
    """Makes Optuna's gRPC proxy in front of a storage's URL, or of a journal in `tmp_path`."""
    pytest.importorskip("grpc", reason="grpcio is not installed (the extra `grpc`)")
    made: list[Server] = []

    def make(url: str | None) -> Server:
        root = str(Path(__file__).parent.parent)
        words = ["-c", PROXY, url or "", str(tmp_path / "behind")]
        made.append(Server(lambda port: [*words, str(port)], tmp_path / "proxy.log", PYTHONPATH=root))
        return made[-1]

    yield make
    for server in made:
        server.kill()
