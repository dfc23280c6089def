"""What recovery takes: `dedup verify` and `rebuild` of a stream, and for how long nothing is decided in a `migrate switch`.

    python -m benchmarks.recovery [--records 5000]

Runs the service as processes on a Kafka and Redis of its own. Seconds of processor time, user's, and the peak of memory are
those of each command as a whole, the start of the program included. The last line is all of it as JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks import given
from consumer.simulate import signups
from tests import services
from tests.deployment import PERSON, Deployment, clean_environment

_FOR_EVER = {"DEDUP_TOPICS__PARTITIONS": "1", "DEDUP_TOPICS__RETENTION_HOURS": "-1"}


class _Bench:
    """A deployment, what it is measured by, and the deployment to come."""

    def __init__(self, broker: str, store: str, folder: Path) -> None:
        self.deployment = Deployment("bench", broker, store, folder, PERSON)
        self.deployment.environment |= _FOR_EVER
        content = yaml.safe_load(Path(self.deployment.environment["DEDUP_PROFILE"]).read_text())
        profile = folder / "coming.yaml"
        profile.write_text(yaml.safe_dump({**content, "vectors": "vectors.bench.2"}, sort_keys=False))
        self.coming = {
            "DEDUP_PROFILE": str(profile),
            "DEDUP_REDIS__PREFIX": "bench-2",
            "DEDUP_STATE__DIRECTORY": str(folder / "coming"),
        }
        self.figures: dict[str, Any] = {}

    def until(self, stage: str, topic: str) -> None:
        """Wait until a group has committed all of a topic, however long that takes."""
        while self.deployment.committed(stage, topic) != self.deployment.ends(topic):
            time.sleep(0.2)

    def command(self, name: str, *arguments: str, **environment: str) -> dict[str, Any]:
        """Run a command and note what it took; returns what it printed."""
        timed = ["/usr/bin/time", "-f", "%U %M", sys.executable, "-m", "consumer", *arguments, "--json"]
        own = {**clean_environment(), **self.deployment.environment, **environment}
        started = time.monotonic()
        done = subprocess.run(timed, env=own, capture_output=True, text=True, check=True)
        seconds = round(time.monotonic() - started, 1)
        processor, peak = done.stderr.splitlines()[-1].split()
        self.figures[name] = {
            "seconds": seconds,
            "processor_seconds": float(processor),
            "peak_mb": round(int(peak) / 1000),
        }
        print(name, self.figures[name], file=sys.stderr)
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed

    def run(self, records: int) -> None:
        deployment = self.deployment
        service = deployment.start().wait_ready()
        deployment.send_signups(list(signups(records, 7)))
        deployment.flush()
        self.until("encode", deployment.input)
        self.until("match", deployment.vectors)
        assert service.stop() == 0
        self.figures["records"] = self.command("verify", "verify")["records"]
        self.command("rebuild", "rebuild", "--replace")
        matchers = deployment.start("match").wait_ready()
        deployment.start("encode", **self.coming).wait_ready()
        self.until("vectors.bench.2.encode", deployment.input)
        self.command("report", "migrate", "report", "--from", deployment.vectors, **self.coming)
        waited: list[dict[str, Any]] = []
        arguments = "migrate", "switch", "--from", deployment.vectors
        switch = threading.Thread(target=lambda: waited.append(self.command("switch", *arguments, **self.coming)))
        switch.start()
        time.sleep(self.figures["report"]["seconds"])  # about as long as the switch prepares
        stopping = time.monotonic()
        assert matchers.stop() == 0
        switch.join()
        deployment.start("match", **self.coming).wait_ready()
        self.figures["still_seconds"] = round(time.monotonic() - stopping, 1)
        self.figures["of_these_the_switch"] = waited[0]["stopped_seconds"]
        self.command("verify_then", "verify", **self.coming)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=given.count, default=5_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, services.kafka() as broker, services.redis() as store:
        bench = _Bench(broker.address, store.address, Path(name))
        try:
            bench.run(chosen.records)
        finally:
            bench.deployment.close()
    print(json.dumps(bench.figures))


if __name__ == "__main__":
    main()
