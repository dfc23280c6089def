"""The alerts and dashboards that ship, read; and the alerts with their times cut short, so that they can be provoked."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.services import ROOT

FILES = ROOT / "deploy" / "helm" / "dedup-consumer" / "files"
RULES = FILES / "alerts.yaml"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))
WINDOW, DAY_WINDOW, STEP = "20s", "200s", "1s"
"""What windows of less than a day, windows of a day, and the steps of subqueries become."""
_WINDOW = re.compile(r"\[(?:\d+[smh]|(\d+d))(:\w+)?\]")


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of a dashboard that asks something."""

    dashboard: str
    title: str
    content: Mapping[str, Any]

    @property
    def queries(self) -> list[str]:
        return [target["expr"] for target in self.content["targets"]]

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.title}"


def rule_file() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return content


def alerts(content: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    return {rule["alert"]: rule for group in (content or rule_file())["groups"] for rule in group["rules"]}


def panels() -> Iterator[Panel]:
    """Every panel that is no heading."""
    for path in DASHBOARDS:
        for content in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            if content["type"] != "row":
                yield Panel(path.stem, content["title"], content)


def shortened(limits: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The rules with `for: 1s`, and windows of WINDOW or DAY_WINDOW; in the expression of the alerts named, a limit is another."""
    content = rule_file()
    for name, rule in alerts(content).items():
        rule["expr"] = _WINDOW.sub(_short, rule["expr"])
        if "for" in rule:
            rule["for"] = "1s"
        if name in limits:
            before, after = limits[name]
            if rule["expr"].count(before) != 1:
                raise ValueError(f"{name}: the limit `{before}` is not in the expression, or not once")
            rule["expr"] = rule["expr"].replace(before, after)
    return content


def _short(window: re.Match[str]) -> str:
    day, step = window.groups()
    return f"[{DAY_WINDOW if day else WINDOW}{':' + STEP if step else ''}]"
