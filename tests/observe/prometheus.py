"""A real Prometheus on a free port, that asks what it is told to watch every second, with rules of the caller's."""

import json
import math
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.services import MissingServiceError, Server, _free_port, _running

Series = Mapping[str, str]


class Prometheus:
    """What it watches is in a file that it reads again when that changes."""

    def __init__(self, server: Server, targets: Path) -> None:
        self._server = server
        self._targets = targets
        self._watched: dict[str, list[int]] = {}

    def watch(self, job: str, port: int) -> None:
        """From now on a process of 127.0.0.1 too."""
        self._watched.setdefault(job, []).append(port)
        self._tell()

    def forget(self, job: str) -> None:
        self._watched.pop(job, None)
        self._tell()

    def _tell(self) -> None:
        groups = [
            {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"job": job}}
            for job, ports in self._watched.items()
        ]
        written = self._targets.with_suffix(".new")
        written.write_text(json.dumps(groups))
        written.rename(self._targets)

    def ask(self, query: str, at: float | None = None) -> list[tuple[Series, float]]:
        """An instant query, now if no time is given."""
        when = time.time() if at is None else at
        return [(found["metric"], float(found["value"][1])) for found in self._get("query", query=query, time=when)]

    def over(self, query: str, start: float, end: float) -> list[float]:
        """The finite values of a query, of every series, second by second."""
        found = self._get("query_range", query=query, start=start, end=end, step="1s")
        values = (float(value) for series in found for _, value in series["values"])
        return [value for value in values if math.isfinite(value)]

    def firing(self, alert: str) -> list[Mapping[str, Any]]:
        """The alert as often as it fires: labels, annotations."""
        said = self._fetch("alerts")["alerts"]
        return [found for found in said if found["state"] == "firing" and found["labels"]["alertname"] == alert]

    def _get(self, kind: str, **parameters: object) -> list[Any]:
        found: list[Any] = self._fetch(f"{kind}?{urllib.parse.urlencode(parameters)}")["result"]
        return found

    def _fetch(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self._server.address}/api/v1/{path}", timeout=10) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{path}: {error.read().decode()}") from error


@contextmanager
def prometheus(rules: Mapping[str, Any] | None = None) -> Iterator[Prometheus]:
    """Raises MissingServiceError where there is none."""
    program = program_of_prometheus("prometheus")
    with tempfile.TemporaryDirectory(prefix="dedup-prometheus-") as folder:
        targets = Path(folder) / "targets.json"
        config = Path(folder) / "prometheus.yaml"
        (Path(folder) / "rules.yaml").write_text(yaml.safe_dump(rules or {"groups": []}))
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(Path(folder) / "rules.yaml")],
                    "scrape_configs": [
                        {
                            "job_name": "files",
                            "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}],
                        }
                    ],
                }
            )
        )
        port = _free_port()
        address = f"http://127.0.0.1:{port}"
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        server = Server(address, command, Path(folder) / "prometheus.log", lambda: _serves(address))
        for _ in _running(server):
            yield Prometheus(server, targets)


def program_of_prometheus(name: str) -> str:
    """Where `prometheus` or `promtool` is."""
    program = shutil.which(name)
    if program is None:
        msg = f"no {name}: install Prometheus (Debian: prometheus)"
        raise MissingServiceError(msg)
    return program


def _serves(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
