"""What a load test leaves behind: `report.json`, its drawings, and one HTML page that holds them."""

import base64
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import jinja2
import orjson

from consumer.errors import SettingsError
from loadtest.drawings import drawings
from loadtest.outcome import Outcome


def write_report(outcome: Outcome, out: Path) -> None:
    """Fill the folder `out`. Raises SettingsError when it cannot be written."""
    images = drawings(outcome)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in images.items():
            (out / name).write_bytes(content)
        (out / "report.json").write_bytes(orjson.dumps(asdict(outcome), option=orjson.OPT_INDENT_2))
        (out / "report.html").write_text(_page(outcome, images), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{error.filename or out}: {error.strerror}") from error


def _page(outcome: Outcome, images: Mapping[str, bytes]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("loadtest"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    inline = {name: base64.b64encode(content).decode() for name, content in images.items()}
    return environment.get_template("report.html").render(
        o=outcome, shown=outcome.knee or outcome.steps[-1], images=inline
    )
