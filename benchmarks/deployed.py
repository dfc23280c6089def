"""A command beside a Kafka and a Redis of its own, and beside the service, where that is asked for.

    python -m benchmarks.deployed -- python -m loadtest ceiling --records 10000,1000000
    python -m benchmarks.deployed --service all -- python -m loadtest run steady --rate 300
    python -m benchmarks.deployed --service encode,match -- python -m loadtest run steady --rate 300
    python -m benchmarks.deployed --delay 5 -- python -m loadtest ceiling --records 10000

The command finds where they are in its environment, as `DEDUP_KAFKA__BOOTSTRAP_SERVERS` and `DEDUP_REDIS__URL`; where the
service runs it is given `--metrics` with the address of its metrics. All is gone when the command ends; the exit code is
the command's.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import services
from tests.chaos.proxy import Proxy
from tests.deployment import Process
from tests.kafka_servers import kafka_cluster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", default="", help="roles of `dedup run`, a process each; DEDUP_* tell it the rest")
    parser.add_argument("--delay", type=float, default=0, metavar="MS", help="how far the broker is, each way")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    roles: list[str] = chosen.service.split(",") if chosen.service else []
    if unknown := set(roles) - {"all", "encode", "match"}:
        parser.error(f"--service {', '.join(sorted(unknown))}: all, encode or match is wanted, with a comma between")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else what was started here would stay
    with tempfile.TemporaryDirectory() as name, _broker(chosen.delay) as broker, services.redis() as store:
        told = {
            "DEDUP_KAFKA__BOOTSTRAP_SERVERS": broker,
            "DEDUP_REDIS__URL": store.address,
            "DEDUP_STATE__DIRECTORY": name,
            "DEDUP_TOPICS__CREATE": "true",
            "DEDUP_HTTP__HOST": "127.0.0.1",
            "DEDUP_HTTP__PORT": "0",
        }
        own = {key: value for key, value in os.environ.items() if key.startswith("DEDUP_")}
        command: list[str] = chosen.command
        started = [Process({**own, **told}, Path(name) / role, "run", "--role", role) for role in roles]
        for service in started:
            port = service.wait_ready().port
            command = [*command, "--metrics", f"http://127.0.0.1:{port}/metrics"]
        try:
            code = subprocess.run(command, env={**os.environ, **told}, check=False).returncode
        finally:
            for service in started:
                service.stop()
    sys.exit(code)


@contextmanager
def _broker(delay_ms: float) -> Iterator[str]:
    """The bootstrap servers of one broker, to which everything takes so long, and from it."""
    if not delay_ms:
        with services.kafka(brief=False) as near:
            yield near.address
        return
    with Proxy() as proxy, kafka_cluster(1, ["FAR"], lambda name, where: proxy.link(name, where).address) as far:
        for link in proxy.links.values():
            link.delay(delay_ms / 1000)
        yield far.doors["FAR"]


if __name__ == "__main__":
    main()
