"""The command line in tests: `dedup` as a person or a script calls it, and what it says where it refuses."""

import subprocess
import sys
from pathlib import Path

from tests.deployment import PATIENCE_SECONDS, clean_environment
from tests.services import ROOT

NOWHERE = "127.0.0.1:9"
"""A port nothing listens on."""
SAY = ("feedback", "r1", "r2", "--same", "--by", "Ann")


def dedup(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consumer", *map(str, arguments)],
        env={**clean_environment(), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *said: str, code: int = 1) -> None:
    """One message on standard error, which says these; nothing on standard output; no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("dedup: " if code == 1 else "Error: ") :]
    assert [part for part in said if part not in message] == []
    others = [line for line in done.stderr.splitlines() if line.startswith("dedup: ")]
    assert len(others) == (1 if code == 1 else 0)
