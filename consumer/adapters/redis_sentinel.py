"""A Redis whose Sentinels say which node is the primary: `redis+sentinel://user:password@s1:26379,s2:26379/<primary>/0`.

User, password, database and options are those of the nodes; `rediss+sentinel://` means TLS to nodes and Sentinels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.connection import ConnectionPool
from redis.sentinel import Sentinel

_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_PORT: Final = 26379


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """The parts of such a URL."""

    sentinels: tuple[tuple[str, int], ...]
    primary: str
    """The name that the Sentinels know the primary by."""
    node: str
    """A URL of redis-py for a node, with a host that stands for whichever is the primary."""

    @classmethod
    def parse(cls, url: str) -> "SentinelUrl | None":
        """None for any other URL. Raises ValueError for one that lacks a part."""
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            return None
        user, at, hosts = parts.netloc.rpartition("@")
        primary, _, database = parts.path.removeprefix("/").partition("/")
        named = (host.partition(":") for host in hosts.split(",") if host)
        sentinels = tuple((host, int(port or _PORT)) for host, _, port in named)
        if not sentinels or not primary:
            raise ValueError("no Sentinel, or no name of a primary")
        node = urlunsplit((_SCHEMES[parts.scheme], f"{user}{at}primary", f"/{database}", parts.query, parts.fragment))
        return cls(sentinels, primary, node)

    def client(self, options: Mapping[str, Any]) -> Any:
        """A client that asks the Sentinels whenever it connects, so that it follows a failover."""
        node = dict(ConnectionPool.from_url(self.node, **options).connection_kwargs)
        node.pop("host")
        secure = {"ssl": True} if self.node.startswith("rediss:") else {}
        waits = {name: value for name, value in options.items() if name.startswith("socket_")}
        shared = {name: value for name, value in node.items() if name.startswith("ssl_")}
        kind: Any = Sentinel
        asked = kind(list(self.sentinels), sentinel_kwargs={**waits, **shared, **secure})
        return asked.master_for(self.primary, Redis, **node, **secure)
