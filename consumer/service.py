"""The running service: its loops in threads, its health port, and an orderly end."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self

import structlog

from consumer.errors import DedupError, SettingsError
from consumer.health import HealthServer
from consumer.indexes import StandbyWorker
from consumer.loop import Pulse
from consumer.memory import memory_limit_bytes
from consumer.metrics import METRICS
from consumer.profile import load_profile
from consumer.settings import Settings
from consumer.wiring import build_encoders, check_brokers, create_topics, require_brokers
from consumer.workers import KafkaWorker, encode_worker, match_worker

Role = Literal["all", "encode", "match"]
_log = structlog.get_logger()


class Service:
    """Starts on entering, drains on leaving. A loop that fails stops the others; `failure` is what it raised."""

    def __init__(self, settings: Settings, role: Role) -> None:
        require_brokers(settings)
        self._settings = settings
        self._profile = load_profile(settings.profile)
        self._role = role
        self._stop = threading.Event()
        self._pulses: dict[str, Pulse] = {}
        self._threads: list[threading.Thread] = []
        self.failure: BaseException | None = None
        self._health = HealthServer(
            settings.http.host, settings.http.port, self._pulses, settings.limits.stalled_seconds
        )

    @property
    def port(self) -> int:
        """Port of metrics and health."""
        return self._health.port

    @property
    def ready(self) -> bool:
        """True once every loop does its work."""
        return bool(self._pulses) and all(pulse.ready and not pulse.waiting for pulse in self._pulses.values())

    def __enter__(self) -> Self:
        METRICS.memory_limit.set(memory_limit_bytes())
        self._health.__enter__()
        try:
            self._start()
        except BaseException:
            self._health.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._settings.limits.drain_seconds)
        if any(thread.is_alive() for thread in self._threads):
            _log.error("not drained in time", seconds=self._settings.limits.drain_seconds)
        self._health.__exit__(kind, error, trace)

    def stop(self) -> None:
        """Ask the loops to end; may be called from a signal handler."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until stopped or failed; False when `seconds` went by before."""
        return self._stop.wait(seconds)

    def _start(self) -> None:
        settings, profile = self._settings, self._profile
        if settings.topics.create:
            faults = [f"{name}: {outcome}" for name, outcome in create_topics(settings, profile) if "error" in outcome]
            if faults:
                raise SettingsError("topics are not as they should be:\n  " + "\n  ".join(faults))
        else:
            check_brokers(settings)  # a consumer would wait for them without end
        encoders = build_encoders(settings, profile)
        makers: Sequence[tuple[str, Callable[[], KafkaWorker]]] = [
            ("encode", lambda: encode_worker(settings, encoders, self._stop)),
            ("match", lambda: match_worker(settings, encoders, self._stop)),
        ]
        workers: list[tuple[str, KafkaWorker]] = []
        try:
            workers += ((name, make()) for name, make in makers if self._role in ("all", name))
        except BaseException:
            for _, worker in workers:
                worker.close()  # a consumer left open would hang the interpreter at its end
            raise
        for name, worker in workers:
            self._begin(name, worker)
            if worker.standby is not None:
                self._begin("standby", worker.standby)
        _log.info("started", role=self._role, profile=profile.name, models=encoders.fingerprint, port=self.port)

    def _begin(self, name: str, worker: KafkaWorker | StandbyWorker) -> None:
        self._pulses[name] = worker.loop.pulse
        thread = threading.Thread(target=self._work, args=(name, worker), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, name: str, worker: KafkaWorker | StandbyWorker) -> None:
        try:
            try:
                worker.loop.run()
            finally:
                worker.close()
        except DedupError as error:
            self._fail(name, error)
        except BaseException as error:  # noqa: BLE001  # a thread's end must be seen by the process
            _log.exception("defect", stage=name)
            self._fail(name, error)

    def _fail(self, name: str, error: BaseException) -> None:
        _log.error("stopped", stage=name, reason=str(error))
        self.failure = self.failure or error
        self._stop.set()
