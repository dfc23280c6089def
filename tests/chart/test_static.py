"""The chart under the eyes of helm, kube-score and helm-docs, and its generated parts against what they are made from."""

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from consumer.health import HealthServer
from consumer.loop import Pulse
from tests.chart import values_schema
from tests.chart.render import CHART, KUBERNETES, rendered
from tests.services import ROOT

WAIVED: Final = {
    "container-image-pull-policy": "tags of releases do not move, and a digest can be given; Always would make a registry that is away an outage",
    "deployment-has-host-podantiaffinity": "topologySpreadConstraints spread over zones and nodes, for any number of pods",
    "statefulset-has-host-podantiaffinity": "the same",
}
"""What kube-score is not asked → why."""
WAIVED_WITH_KEDA: Final = {"deployment-replicas": "kube-score does not know that a ScaledObject sets them"}


def test_helm_lint_has_nothing_to_say(values: Path, helm: Path) -> None:
    command: list[str | Path] = [helm, "lint", "--strict", "--quiet", CHART, "-f", values, "--kube-version", KUBERNETES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_kube_score_has_nothing_to_say(values: Path, helm: Path, kube_score: Path) -> None:
    manifests = rendered(values)
    tests = [*WAIVED, *(WAIVED_WITH_KEDA if "kind: ScaledObject" in manifests else ())]
    waived = [part for test in tests for part in ("--ignore-test", test)]
    asked = ["--enable-optional-test", "container-seccomp-profile", "--enable-optional-test", "container-ports-check"]
    command = [kube_score, "score", "--kubernetes-version", KUBERNETES[:5], "-o", "json", *waived, *asked, "-"]
    done = subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
    scored = json.loads(done.stdout)
    found = [
        (each["object_name"], check["check"]["id"], comment["summary"])
        for each in scored
        for check in each["checks"]
        if not check["skipped"] and check["grade"] < 10
        for comment in check["comments"] or [{"summary": ""}]
    ]
    assert scored
    assert found == []


# --- what is generated ------------------------------------------------------------------------------------------------


def test_the_readme_is_what_helm_docs_makes_of_the_values(tmp_path: Path, helm_docs: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / CHART.name)
    options = ["--sort-values-order", "file", "--log-level", "error"]
    subprocess.run([helm_docs, "--chart-search-root", copy, *options], check=True)
    made, kept = ((folder / "README.md").read_text(encoding="utf-8") for folder in (copy, CHART))
    assert made == kept, "run helm-docs --chart-search-root deploy/helm --sort-values-order file"


def test_every_value_is_documented() -> None:
    table = (CHART / "README.md").read_text(encoding="utf-8").partition("## Values")[2]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 100
    assert [row[0] for row in rows if not row[-1].strip(" |")] == []


def test_the_settings_in_the_schema_are_those_of_the_service() -> None:
    kept = values_schema.FILE.read_text(encoding="utf-8")
    assert kept == values_schema.written(values_schema.current()), "run python -m tests.chart.values_schema"


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == project["project"]["version"]


# --- the schema -------------------------------------------------------------------------------------------------------


def _schemas(part: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object schema of the values, by its place."""
    if isinstance(part, dict):
        if part.get("type") == "object":
            yield at, part
        for name, inner in part.items():
            yield from _schemas(inner, f"{at}/{name}")


def test_the_schema_lets_no_unknown_name_pass() -> None:
    passed_on = {"/properties/global", "/$defs/objects/items"}
    for at, schema in _schemas(values_schema.current()):
        open_to_all = schema.get("additionalProperties", True) is True
        of_kubernetes = at in passed_on or at.endswith(("/affinity", "/behavior"))
        assert open_to_all == of_kubernetes, at


def test_the_schema_describes_everything() -> None:
    for at, schema in _schemas(values_schema.current()):
        for name, inner in schema.get("properties", {}).items():
            assert "description" in inner or "$ref" in inner, f"{at}/{name}"


def test_every_value_of_the_schema_has_a_default() -> None:
    schema = values_schema.current()
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert values.keys() == schema["properties"].keys() - {"global"}
    for name, value in values.items():
        inner = schema["properties"][name].get("properties", {})
        assert name == "config" or not inner or inner.keys() == value.keys(), name


# --- helm test --------------------------------------------------------------------------------------------------------


def test_the_readiness_test_asks_the_real_endpoint() -> None:
    pulse = Pulse()
    pulse.ready = True
    with HealthServer("127.0.0.1", 0, {"match": pulse}, 60.0) as served:
        assert _ready(served.port, "localhost") == (0, 'localhost at 127.0.0.1: {"match":"ok"}\n')
        pulse.ready = False
        assert _ready(served.port, "localhost") == (1, 'localhost at 127.0.0.1: {"match":"catching up"}\n')
        code, said = _ready(served.port, "nobody.invalid")
    assert code == 1
    assert said.startswith("nobody.invalid: ")


def test_the_readiness_test_fails_where_nobody_answers() -> None:
    with HealthServer("127.0.0.1", 0, {}, 60.0) as served:
        port = served.port
    code, said = _ready(port, "127.0.0.1")
    assert code == 1
    assert "refused" in said


def _ready(port: int, *services: str) -> tuple[int, str]:
    command = [sys.executable, "-c", (CHART / "files" / "ready.py").read_text(encoding="utf-8"), str(port), *services]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout
