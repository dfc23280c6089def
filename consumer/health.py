"""`/metrics`, `/livez` and `/readyz` on one port."""

import threading
import time
from collections.abc import Iterable, Mapping
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import TYPE_CHECKING, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import make_wsgi_app

from consumer.errors import SettingsError
from consumer.loop import Pulse
from consumer.metrics import METRICS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Probes come every few seconds; they are no news."""


class HealthServer:
    """Serves from a thread of its own. `port` is the one in use, also when 0 was asked for.

    Live: every loop turned within `stalled_seconds`; also while models load. Ready: every loop does its work, and none waits for a service.
    Raises SettingsError when the address is taken.
    """

    def __init__(self, host: str, port: int, pulses: Mapping[str, Pulse], stalled_seconds: float) -> None:
        self._pulses = pulses
        self._stalled_seconds = stalled_seconds
        self._metrics = make_wsgi_app(METRICS.registry)
        try:
            self._server = make_server(host, port, self._answer, _Server, _Quiet)
        except OSError as error:
            raise SettingsError(
                f"http: cannot listen on {host}:{port} ({error.strerror}); set http.port or http.host; `dedup demo` takes --port"
            ) from error
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start)
            return answer
        if path == "/livez":
            return _report(start, {name: self._stalled(pulse) for name, pulse in self._pulses.items()})
        if path == "/readyz":
            return _report(start, {n: _unready(p) for n, p in self._pulses.items()} or {"service": "starting"})
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"try /metrics, /livez or /readyz\n"]

    def _stalled(self, pulse: Pulse) -> str:
        still = time.monotonic() - pulse.beat
        return f"no turn for {still:.0f} s" if still > self._stalled_seconds else ""


def _unready(pulse: Pulse) -> str:
    if pulse.waiting:
        return f"waiting: {pulse.waiting}"
    return "" if pulse.ready else "catching up"


def _report(start: "StartResponse", faults: Mapping[str, str]) -> Iterable[bytes]:
    status = "503 Service Unavailable" if any(faults.values()) else "200 OK"
    start(status, [("Content-Type", "application/json")])
    return [orjson.dumps({name: fault or "ok" for name, fault in faults.items()})]
