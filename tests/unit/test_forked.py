"""Calls in a copy of the process."""

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer.adapters import forked
from consumer.adapters.forked import Forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no copies of the process are made here")


def failing(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def hanging() -> None:
    time.sleep(3600)


def gone(pid: int | None) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_call_sees_everything_as_it_was(tmp_path: Path) -> None:
    said, go = ["before"], tmp_path / "go"

    def write() -> None:
        while not go.exists():
            time.sleep(0.01)
        (tmp_path / "said").write_text(said[0], encoding="utf-8")

    running = Forked([write])
    said[0] = "after"
    go.touch()
    running.wait()
    assert (tmp_path / "said").read_text(encoding="utf-8") == "before"
    assert said == ["after"]
    assert gone(running._pid)


def test_where_processors_are_few_the_stream_goes_first(tmp_path: Path) -> None:
    def write() -> None:
        (tmp_path / "nice").write_text(str(os.nice(0)), encoding="utf-8")

    Forked([write]).wait()
    assert int((tmp_path / "nice").read_text(encoding="utf-8")) > os.nice(0)


def test_all_is_done_in_order(tmp_path: Path) -> None:
    Forked([(tmp_path / "folder").mkdir, (tmp_path / "folder" / "file").touch]).wait()
    assert (tmp_path / "folder" / "file").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "full"), "No space left on device"),
        (OSError("of no number"), "ended with 255"),
        (ValueError("a defect"), "ended with 255"),
        (SystemExit(0), "ended with 255"),
    ],
)
def test_what_fails_there_is_known_here(error: BaseException, said: str) -> None:
    running = Forked([failing(error)])
    with pytest.raises(OSError, match=said):
        running.wait()


def test_one_that_was_killed_has_failed() -> None:
    running = Forked([lambda: os.kill(os.getpid(), 9)])
    with pytest.raises(OSError, match="ended with -9"):
        running.wait()


def test_dropped_it_ends() -> None:
    running = Forked([hanging])
    pid = running._pid
    assert not gone(pid)
    del running
    assert gone(pid)


def test_one_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "_LONGEST_SECONDS", 0.1)
    running = Forked([hanging])
    with pytest.raises(OSError, match="was not done"):
        running.wait()
    assert gone(running._pid)


def test_no_port_is_held_by_the_copy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        running = Forked([hanging])
        time.sleep(0.5)
    with socket.create_server(("127.0.0.1", port)):
        pass
    del running


def test_where_no_copy_can_be_made_the_calls_are_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refused)
    made: list[int] = []
    with capture_logs() as logs:
        Forked([lambda: made.append(os.getpid())]).wait()
        with pytest.raises(OSError, match="full"):
            Forked([failing(OSError(errno.ENOSPC, "full"))])
    assert made == [os.getpid()]
    assert "Resource temporarily unavailable" in str(logs[0])


PROGRAM = """
import signal
from click.testing import CliRunner
from consumer.__main__ import cli
from consumer.adapters.forked import Forked

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as a shell that traps it leaves it to what it starts
assert CliRunner().invoke(cli, ["run"]).exception, "there is no broker"
Forked([lambda: None]).wait()
"""


def test_how_a_copy_ended_is_known_whatever_the_parent_ignores() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEDUP_")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
