"""The programs that look at the chart: pinned, and built by Go once, into `.cache/tools/bin`."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from tests.services import ROOT, MissingServiceError

FOLDER: Final = ROOT / ".cache" / "tools" / "bin"
PINNED: Final = {
    "helm": ("helm.sh/helm/v3", "cmd/helm", "v3.22.0"),
    "helm-docs": ("github.com/norwoodj/helm-docs", "cmd/helm-docs", "v1.14.2"),
    "kube-score": ("github.com/zegl/kube-score", "cmd/kube-score", "v1.20.0"),
}
"""Name → module, package in it, version."""


@cache
def tool(name: str) -> Path:
    """The program of the pinned version. Raises MissingServiceError without Go to build it, or where Go cannot fetch it."""
    program = FOLDER / name
    module, package, version = PINNED[name]
    # Go writes into a program what it was built from.
    if program.exists() and f"{module}\t{version}".encode() in program.read_bytes():
        return program
    go = shutil.which("go")
    if go is None:
        raise MissingServiceError(f"no {name} {version} and no go to build it with: install Go (Debian: golang)")
    built = subprocess.run(
        [go, "install", f"{module}/{package}@{version}"],
        cwd=ROOT.anchor,
        env={**os.environ, "GOBIN": str(FOLDER), "GOFLAGS": "-trimpath"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    if built.returncode != 0:
        raise MissingServiceError(f"Go could not build {name} {version}: {built.stderr[-500:]}")
    return program
