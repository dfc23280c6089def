"""The custom resources of KEDA and of the Prometheus operator, as their Go modules carry them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.services import MissingServiceError

_MODULES: Final = {
    "github.com/kedacore/keda/v2@v2.21.0": ("config/crd/bases", ("scaledobjects", "triggerauthentications")),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd",
        ("podmonitors", "prometheusrules", "servicemonitors"),
    ),
}


@contextmanager
def installed() -> Iterator[None]:
    """Those that the cluster lacks are there meanwhile. Raises MissingServiceError where Go cannot fetch them."""
    there = _kubectl("get", "customresourcedefinitions", "-o", "name")
    missing = [file for file in _files() if _name(file) not in there]
    for file in missing:
        # the largest do not fit the annotation of a client-side apply
        _kubectl("create", "-f", str(file))
    try:
        for file in missing:
            _kubectl("wait", "--for=condition=Established", f"customresourcedefinition/{_name(file)}", "--timeout=60s")
        yield
    finally:
        for file in missing:
            _kubectl("delete", "-f", str(file), "--wait=false")


def _files() -> Iterator[Path]:
    for module, (folder, kinds) in _MODULES.items():
        for kind in kinds:
            (file,) = (_fetched(module) / folder).glob(f"*_{kind}.yaml")
            yield file


def _name(file: Path) -> str:
    group, _, kind = file.stem.partition("_")
    return f"{kind}.{group}"


def _fetched(module: str) -> Path:
    go = shutil.which("go")
    if go is None:
        raise MissingServiceError(f"no go to fetch {module} with: install Go")
    environment = {**os.environ, "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        [go, "mod", "download", "-json", module], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise MissingServiceError(f"Go could not fetch {module}: {done.stderr[-500:]}")
    return Path(json.loads(done.stdout)["Dir"])


def _kubectl(*arguments: str) -> str:
    return subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=True).stdout
