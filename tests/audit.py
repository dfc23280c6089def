"""`python -m tests.audit`: known vulnerabilities of what the locks pin, as pip-audit finds them.

pip-audit calls a package that it cannot look up `skipped`, and ends well when all are: without a way to the service it
says that nothing was found. Here what was not looked up is told, and fails; `--tolerant` is for machines without that way.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-export.lock",
    "deploy/docker/requirements-cpu.lock",
    "deploy/docker/requirements-cuda.lock",
)


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of the pins of a lock."""

    looked_up: int
    skipped: Sequence[str]
    vulnerable: Sequence[str]
    """One line per vulnerability."""


def report(answer: str) -> Report:
    """Read what `pip-audit -f json` printed."""
    looked_up, skipped, vulnerable = 0, [], []
    for found in json.loads(answer)["dependencies"]:
        if "skip_reason" in found:
            skipped.append(found["name"])
            continue
        looked_up += 1
        for known in found["vulns"]:
            mended = ", ".join(known["fix_versions"]) or "no version yet"
            vulnerable.append(f"{found['name']} {found['version']}: {known['id']}, mended in {mended}")
    return Report(looked_up, skipped, vulnerable)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all pins looked up, none vulnerable; 1: vulnerable ones; 3: not all could be looked up."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description=__doc__)
    parser.add_argument("--tolerant", action="store_true", help="end with 0 where the service cannot be reached")
    given = parser.parse_args(arguments)
    code = 0
    for lock in LOCKS:
        found = _ask(lock)
        if found is None or not found.looked_up:
            print(f"{lock}: NOT AUDITED: the vulnerability service was not reachable, so nothing is known of its pins")
            code = max(code, 0 if given.tolerant else 3)
            continue
        print(
            f"{lock}: {found.looked_up} pins looked up, {len(found.vulnerable)} vulnerabilities",
            *found.vulnerable,
            sep="\n  ",
        )
        if found.skipped:
            print(f"  not looked up: {', '.join(found.skipped)}")
            code = max(code, 3)
        code = 1 if found.vulnerable else code
    return code


def _ask(lock: str) -> Report | None:
    command = ["pip-audit", "-r", lock, "--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return report(done.stdout) if done.stdout.startswith("{") else None


if __name__ == "__main__":
    sys.exit(main())
