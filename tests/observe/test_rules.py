"""The alerts: valid, each tested both ways by `promtool`, each with a paragraph that says what to do."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.observe.promql import grouped_by
from tests.observe.rules import RULES, alerts
from tests.services import ROOT

TESTS = sorted(Path(__file__).parent.glob("*_test.yaml"))
RUNBOOK = ROOT / "docs" / "alerts.md"
TARGET_LABELS = {"job", "instance"}
ALERTS = alerts()


def proofs() -> dict[str, list[str]]:
    """Alert → what its tests of `promtool` wait for: a series as it fires, or nothing."""
    found: dict[str, list[str]] = {}
    for path in TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for asked in test["promql_expr_test"]:
                assert f'alertname="{test["name"]}"' in asked["expr"]
                fires = [sample["labels"] for sample in asked.get("exp_samples", [])]
                found.setdefault(test["name"], []).extend(fires or [""])
    return found


@pytest.mark.parametrize(("verb", "files"), [("check", [RULES]), ("test", TESTS)])
def test_promtool_agrees(promtool: str, verb: str, files: list[Path]) -> None:
    done = subprocess.run([promtool, verb, "rules", *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_silent_and_firing() -> None:
    assert proofs().keys() == ALERTS.keys()
    for name, outcomes in proofs().items():
        assert "" in outcomes, f"{name} is never silent"
        assert any(outcomes), f"{name} never fires"


@pytest.mark.parametrize("name", ALERTS)
def test_what_an_alert_says_is_filled_in(name: str) -> None:
    """A label that the expression has aggregated away would leave a hole in the text."""
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    said = " ".join(rule["annotations"][key] for key in ("summary", "description"))
    there = set.intersection(*(set(re.findall(r"(\w+)=", labels)) for labels in proofs()[name] if labels))
    assert set(re.findall(r"\$labels\.(\w+)", said)) <= there


@pytest.mark.parametrize("name", ALERTS)
def test_deployments_are_kept_apart(name: str) -> None:
    """What is aggregated is aggregated for each deployment: two in one Prometheus do not hide one another's faults."""
    expression = ALERTS[name]["expr"]
    assert not re.search(r"\b(?:sum|max|min|count|avg|group)\s*\(", expression), "an aggregation over everything"
    assert {"namespace", "job"} <= grouped_by(expression) or not re.search(r"\bby\b", expression)


@pytest.mark.parametrize("name", ALERTS)
def test_the_runbook_has_a_paragraph_of_each_alert(name: str) -> None:
    path, _, anchor = ALERTS[name]["annotations"]["runbook_url"].partition("#")
    assert (path, anchor) == ("docs/alerts.md", name.lower())
    _, _, rest = RUNBOOK.read_text(encoding="utf-8").partition(f"\n### {name}\n")
    paragraph = rest.split("\n### ")[0].split("\n## ")[0]
    assert "**Means.**" in paragraph
    assert "**Do.**" in paragraph


def test_the_runbook_has_no_paragraph_of_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^### (Dedup\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)) == ALERTS.keys()
