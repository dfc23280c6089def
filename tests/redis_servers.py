"""A Redis with a replica, and a Sentinel that puts the replica in its place when it is gone."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis as redis_client

from tests.services import Server, _free_port, _redis_command, _redis_program, _redis_serves

_NAME = "dedup"
_WAIT_SECONDS = 30.0


class RedisPair:
    """Two nodes, of which one is the primary. Addresses are `host:port`."""

    def __init__(self, nodes: Sequence[Server], sentinel: Server) -> None:
        self.nodes = {server.address: server for server in nodes}
        self.sentinel = sentinel.address
        self._sentinel: Any = redis_client.Redis.from_url(f"redis://{sentinel.address}", decode_responses=True)

    def primary(self) -> str:
        """Whom Sentinel names."""
        host, port = self._sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", _NAME)
        return f"{host}:{port}"

    def replica(self) -> str:
        """The other one."""
        primary = self.primary()
        return next(address for address in self.nodes if address != primary)

    def follow(self) -> None:
        """Make a replica of the node that is not the primary, and return once it has caught up."""
        primary, replica = self.primary(), self.replica()
        host, port = primary.split(":")
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                with client_of(replica) as client:
                    client.execute_command("REPLICAOF", host, port)
                    info = client.info("replication")
                if info["role"] == "slave" and info["master_link_status"] == "up":
                    return
            except redis_client.RedisError:
                pass
            if time.monotonic() > deadline:
                msg = f"{replica} does not follow {primary}"
                raise RuntimeError(msg)
            time.sleep(0.1)

    def deafen(self) -> None:
        """Let the replica hear nothing of the primary any more, until `follow`.

        A replica that is only stopped would read what its kernel took in for it once it goes on.
        """
        with client_of(self.replica()) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")

    def await_successor(self, lost: str) -> bool:
        """Wait until Sentinel names another primary than the lost one; False when it does not, whose time is then long up."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while self.primary() == lost:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def close(self) -> None:
        self._sentinel.close()


def client_of(address: str) -> Any:
    return redis_client.Redis.from_url(f"redis://{address}", socket_timeout=2, socket_connect_timeout=2)


@contextmanager
def redis_pair() -> Iterator[RedisPair]:
    """A primary, its replica and one Sentinel, all on this machine. Neither node loses anything when killed."""
    program = _redis_program()
    with tempfile.TemporaryDirectory(prefix="dedup-redis-pair-") as root, ExitStack() as stack:
        nodes = [_node(program, Path(root) / name) for name in ("one", "two")]
        for node in nodes:
            stack.callback(node.kill)
            node.start()
        host, port = nodes[0].address.split(":")
        with client_of(nodes[1].address) as client:
            client.execute_command("REPLICAOF", host, port)
        sentinel = _sentinel(program, Path(root) / "sentinel", nodes[0].address)
        stack.callback(sentinel.kill)
        sentinel.start()
        pair = RedisPair(nodes, sentinel)
        stack.callback(pair.close)
        pair.follow()
        yield pair


def _node(program: str, folder: Path) -> Server:
    folder.mkdir()
    port = _free_port()
    command = [*_redis_command(program, port), "--repl-diskless-sync-delay", "0", "--repl-timeout", "5"]
    return Server(f"127.0.0.1:{port}", command, folder / "redis.log", lambda: _redis_serves(port))


def _sentinel(program: str, folder: Path, primary: str) -> Server:
    folder.mkdir()
    port = _free_port()
    host, primary_port = primary.split(":")
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\n"
        f"sentinel monitor {_NAME} {host} {primary_port} 1\n"
        f"sentinel down-after-milliseconds {_NAME} 1500\n"
        f"sentinel failover-timeout {_NAME} 4000\n"
    )
    found = shutil.which(program) or program
    return Server(
        f"127.0.0.1:{port}", [found, str(config), "--sentinel"], folder / "sentinel.log", lambda: _redis_serves(port)
    )
