"""Structured logs to standard error. Never a payload, a name or a vector: only counts, positions, reasons of ours."""

import logging
import re
import sys
import time
import warnings

import structlog

from consumer.sections import LogSettings


def configure(settings: LogSettings) -> None:
    """Set up structlog, and standard logging (librdkafka) to join it."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if settings.format == "json" else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Repeats())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    # Odd metadata of a picture, and sizes that are refused anyway: lines of no structure, and the metric counts them.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)


class _Repeats(logging.Filter):
    """Drops what was logged a moment ago: librdkafka tries a broker that is away twenty times a second, and says so."""

    _QUIET_SECONDS = 30.0
    _VARYING = re.compile(r"\d+ms|rdkafka#\w+-\d+")

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text, now = self._VARYING.sub("", record.getMessage()), time.monotonic()
        self._logged = {said: at for said, at in self._logged.items() if now - at < self._QUIET_SECONDS}
        return self._logged.setdefault(text, now) == now
