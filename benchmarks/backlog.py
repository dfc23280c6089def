"""Memory while a backlog is worked off: the resident size of each stage at every tenth of it, on a real Kafka and Redis.

    python -m benchmarks.backlog [--records 100000] [--large 60]

All of it waits in the input before a stage is started: `--records` invented signups, and among them `--large` messages of 10 MB.
The encoder's memory does not depend on how much waits; the matcher's grows with its index, which is printed beside it. The last
line is JSON. Resident sizes are those of Linux, VmRSS and VmHWM.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import given
from consumer.simulate import signups
from tests import services
from tests.deployment import PERSON, Deployment, clean_environment

_LARGE = b'{"name": "' + b"x" * 10_000_000 + b'"}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=given.count, default=100_000)
    parser.add_argument("--large", type=int, default=60, help="messages of 10 MB among them")
    chosen = parser.parse_args()
    with services.kafka() as kafka, services.redis() as redis, tempfile.TemporaryDirectory() as folder:
        deployment = Deployment("backlog", kafka.address, redis.address, Path(folder), PERSON)
        deployment.environment |= {"DEDUP_TOPICS__PARTITIONS": "4", "DEDUP_LOG__LEVEL": "warning"}
        try:
            deployment.run("topics", "create").check_returncode()
            _fill(deployment, chosen.records, chosen.large)
            stages = {
                "encode": (deployment.input, chosen.records + chosen.large),
                "match": (deployment.vectors, chosen.records + chosen.large),
            }
            print(json.dumps({role: _work_off(deployment, role, *backlog) for role, backlog in stages.items()}))
        finally:
            deployment.close()


def _fill(deployment: Deployment, records: int, large: int) -> None:
    every = max(1, records // max(1, large))
    for n, record in enumerate(signups(records, seed=3)):
        deployment.send(record.id, record.value)
        if n % every == 0 and n // every < large:
            deployment.send(f"large-{n}", _LARGE)
            deployment.flush()
    deployment.flush()


def _work_off(deployment: Deployment, role: str, topic: str, messages: int) -> Mapping[str, object]:
    """MiB by tenths of the backlog that were done, the highest ever, and seconds."""
    environment = {**clean_environment(), **deployment.environment}
    command = [sys.executable, "-m", "consumer", "run", "--role", role]
    started = time.monotonic()
    sizes: dict[int, int] = {}
    with subprocess.Popen(command, env=environment, cwd=services.ROOT) as process:
        try:
            while (done := sum(deployment.committed(role, topic).values())) < messages:
                if process.poll() is not None:
                    raise RuntimeError(f"{role} ended with {process.returncode}")
                tenth = 10 * done // messages
                if tenth not in sizes and done:
                    sizes[tenth] = _memory(process.pid, "VmRSS")
                    print(f"{role}: {done} of {messages} done, {sizes[tenth]} MiB", flush=True)
                time.sleep(0.2)
            sizes[10] = _memory(process.pid, "VmRSS")
            highest = _memory(process.pid, "VmHWM")
        finally:
            process.terminate()
    seconds = round(time.monotonic() - started, 1)
    return {"mib_by_tenth": sizes, "highest_mib": highest, "messages": messages, "seconds": seconds}


def _memory(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    if not Path("/proc/self/status").exists():
        sys.exit("this reads /proc: run it on Linux")
    main()
