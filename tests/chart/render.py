"""The chart as objects: what `helm template` makes of a file of values, once for each."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.tools import tool
from tests.services import ROOT

Object = dict[str, Any]
CHART: Final = ROOT / "deploy" / "helm" / "dedup-consumer"
CI: Final = {path.stem.removesuffix("-values"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
"""Name of a file of values → the file."""
MINIMAL: Final = CI["minimal"]
KUBERNETES: Final = "v1.34.0"
"""Without a cluster, helm has to be told."""


class RefusedError(Exception):
    """What helm said when it would not render."""


@cache
def rendered(
    values: Path = MINIMAL, *sets: str, also: Path | None = None, release: str = "dedup", chart: Path = CHART
) -> str:
    """The manifests; `also` is laid over `values`, and `sets`, `key=value` in JSON, over both. Raises RefusedError."""
    files = [part for file in (values, also) if file is not None for part in ("-f", str(file))]
    options = [part for one in sets for part in ("--set-json", one)]
    template: list[str | Path] = [
        tool("helm"),
        "template",
        release,
        chart,
        "-n",
        "duplicates",
        "--kube-version",
        KUBERNETES,
    ]
    done = subprocess.run([*template, *files, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    return done.stdout


def objects(
    values: Path = MINIMAL, *sets: str, kind: str | None = None, also: Path | None = None, release: str = "dedup"
) -> list[Object]:
    """The objects of a kind, or all."""
    return [
        each for each in _parsed(rendered(values, *sets, also=also, release=release)) if kind in (None, each["kind"])
    ]


@cache
def _parsed(text: str) -> Sequence[Object]:
    return tuple(each for each in yaml.load_all(text, yaml.CSafeLoader) if each)


def one(kind: str, values: Path = MINIMAL, *sets: str, name: str = "") -> Object:
    """The only object of a kind whose name ends so."""
    (found,) = [each for each in objects(values, *sets, kind=kind) if each["metadata"]["name"].endswith(name)]
    return found


def pods(found: Sequence[Object]) -> dict[str, Object]:
    """Name of the object → its pod: metadata and spec."""
    templates = {each["metadata"]["name"]: each for each in found if each["kind"] == "Pod"}
    owners = (each for each in found if each["kind"] in {"Deployment", "StatefulSet", "Job"})
    return templates | {each["metadata"]["name"]: each["spec"]["template"] for each in owners}


def containers(found: Sequence[Object]) -> list[Object]:
    return [container for pod in pods(found).values() for container in pod["spec"]["containers"]]


def selected(selector: Object, found: Sequence[Object]) -> set[str]:
    """The pods whose labels a selector asks for."""
    wanted = selector["matchLabels"].items()
    within = selector.get("matchExpressions", [])
    return {
        name
        for name, pod in pods(found).items()
        if wanted <= pod["metadata"]["labels"].items()
        and all(pod["metadata"]["labels"].get(each["key"]) in each["values"] for each in within)
    }


def roles(found: Sequence[Object]) -> dict[str, str]:
    """Role → name of the object that runs it."""
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: name for name, pod in pods(found).items()}


def settings_file(found: Sequence[Object], folder: Path) -> Path:
    """What a pod sees as /etc/dedup, written to a folder; the path of its settings."""
    (config_map,) = [
        each
        for each in found
        if each["kind"] == "ConfigMap" and "settings.yaml" in each["data"] and "annotations" not in each["metadata"]
    ]
    (volume,) = [each for each in pods(found).values() if each["spec"]["containers"][0]["name"] == "matcher"]
    (config,) = [each for each in volume["spec"]["volumes"] if each["name"] == "config"]
    for item in config["projected"]["sources"][0]["configMap"]["items"]:
        path = folder / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(config_map["data"][item["key"]], encoding="utf-8")
    return folder / "settings.yaml"


def notes(values: Path, *sets: str) -> str:
    """NOTES.txt, which `helm template` leaves out: in a copy of the chart it is a ConfigMap."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "chart"
        shutil.copytree(CHART, copy)
        text = (copy / "templates" / "NOTES.txt").read_text(encoding="utf-8")
        (copy / "templates" / "_notes.tpl").write_text(
            f'{{{{- define "notes" }}}}{text}{{{{ end }}}}', encoding="utf-8"
        )
        (copy / "templates" / "notes.yaml").write_text(
            'kind: ConfigMap\nmetadata: {name: notes}\ndata: {notes: {{ include "notes" . | toJson }}}\n',
            encoding="utf-8",
        )
        (told,) = [each for each in _parsed(rendered(values, *sets, chart=copy)) if each["metadata"]["name"] == "notes"]
    return str(told["data"]["notes"])
