"""Two reports beside each other."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from consumer.errors import SettingsError
from loadtest.comparison import compared, load_report


def report(p99_ms: float = 100, **changes: Any) -> dict[str, Any]:
    latency = {"p50_ms": 10, "p99_ms": p99_ms, "p999_ms": 2 * p99_ms}
    content: dict[str, Any] = {
        "workload": {"name": "steady", "fill": 0},
        "environment": {"cores": 2},
        "steps": [{"intended_rate": 300, "achieved_rate": 300, "events": latency, "vectors": latency}],
        "quality": {"pairwise": {"f1": 0.8}},
        "costs": [{"stage": "match", "step": "apply", "milliseconds_per_record": 0.5}],
        "faults": [],
    }
    return content | changes


def rows(a: dict[str, Any], b: dict[str, Any], *, force: bool = False) -> dict[str, str]:
    return {what: ratio for what, _, _, ratio in compared(a, b, force=force)}


def test_ratios_are_of_the_second_to_the_first() -> None:
    found = rows(report(100), report(150))
    assert found["300/s: events p99_ms"] == "1.50"
    assert found["F1"] == "1.00"
    assert found["match apply, ms a record"] == "1.00"
    assert found["cores"] == "same"


def test_operating_points_are_compared_where_both_have_one() -> None:
    one, other = (report(operating=report(p99_ms)["steps"][0]) for p99_ms in (100, 120))
    assert rows(one, other)["operating point: events p99_ms"] == "1.20"
    assert "operating point: events p99_ms" not in rows(one, report())


def test_another_machine_shows() -> None:
    assert rows(report(), report(environment={"cores": 8}))["cores"] == "different"


def test_what_one_of_them_lacks_has_no_ratio() -> None:
    assert rows(report(), report(quality=None, costs=[]))["F1"] == "-"


def test_different_workloads_are_refused_unless_forced() -> None:
    other = report(workload={"name": "steady", "fill": 10})
    with pytest.raises(SettingsError, match="they differ in fill"):
        compared(report(), other)
    assert rows(report(), other, force=True)["F1"] == "1.00"


def test_a_report_is_read_from_its_folder_and_what_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(orjson.dumps(report()))
    assert load_report(tmp_path) == report()
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(SettingsError, match="not a report"):
        load_report(other)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_report(tmp_path / "none.json")
