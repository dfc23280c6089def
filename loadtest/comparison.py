"""Two reports beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from consumer.errors import SettingsError

Row = tuple[str, str, str, str]
_ENVIRONMENT = ("processor", "cores", "memory_gib", "python", "dedup-consumer", "kafka", "redis")


def load_report(path: Path) -> Mapping[str, Any]:
    """A `report.json`, or the one in a folder. Raises SettingsError."""
    file = path / "report.json" if path.is_dir() else path
    try:
        content = dict(orjson.loads(file.read_bytes()))
        content["steps"][0]["intended_rate"]
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise SettingsError(f"{file}: not a report of `python -m loadtest run`: {error!r}") from error
    return content


def compared(a: Mapping[str, Any], b: Mapping[str, Any], *, force: bool = False) -> list[Row]:
    """(what, of A, of B, B ÷ A) a line; where a value is no number, whether they are the same.

    Raises SettingsError when the two did not send the same workload, unless `force`.
    """
    if a["workload"] != b["workload"] and not force:
        names = sorted(key for key in a["workload"] if a["workload"][key] != b["workload"].get(key))
        raise SettingsError(
            f"the reports are of different workloads (they differ in {', '.join(names)}): their ratio means nothing; "
            "--force shows it all the same"
        )
    rows = [_fact(name, a["environment"].get(name), b["environment"].get(name)) for name in _ENVIRONMENT]
    for one, other in zip(a["steps"], b["steps"], strict=False):
        rows += _step(one, other, f"{one['intended_rate']:g}/s")
    if a.get("operating") and b.get("operating"):
        rows += _step(a["operating"], b["operating"], "operating point")
    rows.append(_ratio("F1", _f1(a), _f1(b)))
    rows += _costs(a["costs"], b["costs"])
    rows.append(_fact("faults", a["faults"], b["faults"]))
    return rows


def _step(a: Mapping[str, Any], b: Mapping[str, Any], at: str) -> list[Row]:
    latencies = [(of, name) for of in ("events", "vectors") for name in ("p50_ms", "p99_ms", "p999_ms")]
    return [
        _ratio(f"{at}: achieved", a["achieved_rate"], b["achieved_rate"]),
        *(_ratio(f"{at}: {of} {name}", a[of][name], b[of][name]) for of, name in latencies),
    ]


def _costs(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> list[Row]:
    others = {(cost["stage"], cost["step"]): cost["milliseconds_per_record"] for cost in b}
    return [
        _ratio(
            f"{cost['stage']} {cost['step']}, ms a record",
            cost["milliseconds_per_record"],
            others.get((cost["stage"], cost["step"])),
        )
        for cost in a
    ]


def _f1(report: Mapping[str, Any]) -> float | None:
    return report["quality"]["pairwise"]["f1"] if report["quality"] else None


def _ratio(what: str, a: float | None, b: float | None) -> Row:
    ratio = f"{b / a:.2f}" if a and b is not None else "-"
    return (what, "-" if a is None else f"{a:g}", "-" if b is None else f"{b:g}", ratio)


def _fact(what: str, a: object, b: object) -> Row:
    return (what, str(a), str(b), "same" if a == b else "different")
