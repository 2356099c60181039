"""A PostgreSQL of a test's own, on the loopback, in a folder that goes with the test."""

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

import pytest


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
