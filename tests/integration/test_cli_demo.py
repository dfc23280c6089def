"""`dedup demo`: its figures, how it stays up, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.command_line import dedup
from tests.deployment import clean_environment, wait_until
from tests.services import ROOT


def test_demo_ends_with_its_figures_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    done = dedup("demo", "--records", "400")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    figures = json.loads(done.stdout)
    assert list(figures) == [
        *("records", "events", "clusters", "precision", "recall", "f1", "p50_ms", "p99_ms", "records_per_second")
    ]
    assert figures["records"] == 400
    assert figures["f1"] > 0.6
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["records_per_second"] > 0
    assert "keep" in done.stderr  # examples, for people


def test_demo_stays_up_where_asked_to_and_ends_on_sigterm(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "demo", "--records", "60", "--serve"],
            env=clean_environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["records"] == 60
        wait_until(lambda: "serving http://" in (tmp_path / "stderr").read_text(), "the address")
        said = (tmp_path / "stderr").read_text()
        address = said[said.index("http://") :].split("/metrics")[0]
        for path in ("/readyz", "/livez", "/metrics"):
            with urllib.request.urlopen(address + path, timeout=5) as answer:
                assert answer.status == 200
        wait_until(lambda: "dedup explain" in (tmp_path / "stderr").read_text(), "how to ask why")
        asked = (tmp_path / "stderr").read_text().split("DEDUP_REDIS__URL=")[1].split()
        why = dedup("explain", asked[3], DEDUP_REDIS__URL=asked[0])
        assert why.stdout.startswith(f"{asked[3]} "), why.stderr
        assert " in signup/default, version " in why.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout.read() == ""
        assert "Traceback" not in (tmp_path / "stderr").read_text()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_demo_that_is_ended_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", "demo", "--records", "100000"],
        env={**clean_environment(), "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  # as if not under nohup
    )
    try:
        wait_until(lambda: "Ready to accept" in "".join(p.read_text() for p in tmp_path.glob("*/redis.log")), "Redis")
        redis_pid = int(next(tmp_path.glob("*/redis.log")).read_text().split(":")[0])
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    finally:
        process.kill()
        process.wait()
    with pytest.raises(ProcessLookupError):
        os.kill(redis_pid, 0)
    assert list(tmp_path.iterdir()) == []
