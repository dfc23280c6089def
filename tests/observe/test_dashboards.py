"""The dashboards as Grafana reads them: nothing that it would reject, overlay, or show without a unit or a word."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.observe.rules import DASHBOARDS, Panel, panels

UNITS = {"none", "short", "s", "cps", "percentunit", "bytes"}
"""Those in use, all of them ids of Grafana's."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PANELS = list(panels())


def board(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_there_are_two() -> None:
    assert {path.stem: board(path)["uid"] for path in DASHBOARDS} == {
        "data-owner": "dedup-data-owner",
        "on-call": "dedup-on-call",
    }


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_a_source_and_a_deployment(path: Path) -> None:
    content = board(path)
    assert content["schemaVersion"] >= 39
    source, job = content["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (job["name"], job["datasource"], job["allValue"]) == ("job", SOURCE, ".*")
    assert (job["multi"], job["includeAll"]) == (True, True)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_lie_beside_one_another(path: Path) -> None:
    there = board(path)["panels"]
    assert len({panel["id"] for panel in there}) == len(there)
    places = [panel["gridPos"] for panel in there]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_a_panel_says_what_to_look_for(panel: Panel) -> None:
    content = panel.content
    assert len(content["description"]) > 30
    assert content["datasource"] == SOURCE
    assert content["fieldConfig"]["defaults"]["unit"] in UNITS
    assert content["type"] in {"timeseries", "stat", "table", "heatmap"}
    references = [target["refId"] for target in content["targets"]]
    assert len(set(references)) == len(references) > 0
    assert all(target["legendFormat"] for target in content["targets"] if target.get("format") != "table")


def test_titles_are_unique_in_a_dashboard() -> None:
    names = [str(panel) for panel in PANELS]
    assert len(set(names)) == len(names)
