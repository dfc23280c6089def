"""A Redis or Redis Cluster that speaks of its troubles in errors of ours, and never of its password."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha1
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis, RedisCluster
from redis import exceptions as vendor
from redis.backoff import ExponentialBackoff
from redis.connection import ConnectionPool
from redis.retry import Retry

from consumer.adapters.redis_sentinel import SentinelUrl
from consumer.errors import SettingsError, StoreError

Command = tuple[Any, ...]

_ADVICE: Final = {
    "unreachable": "check that it runs and that this host may connect to it",
    "timeout": "it is overloaded, or the network drops packets; a larger timeout helps only if it answers at all",
    "LOADING": "it is reading its files after a start; wait",
    "OOM": "it is out of memory and nothing was written: raise maxmemory or give the scopes more nodes",
    "READONLY": "this is a replica: point the URL at the primary",
    "MISCONF": "it cannot write to its disk and refuses changes: look at its log and its disk",
    "NOREPLICAS": "too few replicas follow it: see min-replicas-to-write",
    "MASTERDOWN": "this replica lost its primary: wait for the failover or point the URL at the primary",
    "CLUSTERDOWN": "some hash slots have no node: see CLUSTER INFO",
    "TRYAGAIN": "a hash slot is moving between nodes; wait",
    "MOVED": "this is a Redis Cluster: switch cluster mode on",
    "CROSSSLOT": "this is a Redis Cluster: switch cluster mode on",
    "BUSY": "a long script holds it; wait, or see SCRIPT KILL",
    "NOAUTH": "the user name or password in the URL is wrong or missing",
    "NOPERM": "the ACL of this user lacks a command or the key prefix",
    "WRONGTYPE": "other software writes under this key prefix: choose another prefix",
    "standalone": "this is no Redis Cluster: switch cluster mode off",
}
_CODES: Final = (
    (vendor.BusyLoadingError, "LOADING"),
    (vendor.AuthenticationError, "NOAUTH"),
    (vendor.AuthorizationError, "NOPERM"),
    (vendor.OutOfMemoryError, "OOM"),
    (vendor.ReadOnlyError, "READONLY"),
    (vendor.NoPermissionError, "NOPERM"),
    (vendor.MasterDownError, "MASTERDOWN"),
    (vendor.ClusterDownError, "CLUSTERDOWN"),
    (vendor.MovedError, "MOVED"),
    (vendor.ClusterCrossSlotError, "CROSSSLOT"),
    (vendor.TryAgainError, "TRYAGAIN"),
    (vendor.TimeoutError, "timeout"),
    (vendor.ConnectionError, "unreachable"),
)
# An error inside a script arrives as text that quotes it.
_QUOTED_CODE: Final = re.compile(
    r"\b(OOM|READONLY|MISCONF|NOREPLICAS|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|CROSSSLOT|BUSY|NOAUTH|NOPERM"
    r"|WRONGTYPE)\b"
)
_STANDALONE: Final = re.compile("cluster mode is not enabled|cluster support disabled", re.IGNORECASE)
_NO_PERMISSION: Final = re.compile("can't run this command|no permissions", re.IGNORECASE)


class Script:
    """A Lua script, sent once to a server and named by its digest from then on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisConnection:
    """Commands, pipelines and scripts on one Redis, or on the Redis Cluster that `url` is a node of.

    `url` is redis://, rediss://, unix:// or redis+sentinel:// (see `SentinelUrl`), with an ACL user and the query
    options of redis-py where needed. It connects at the first call. Each call waits at most `timeout_seconds` to connect, and for an answer, and tries a second time on a
    new connection, so whatever is sent must bear to be done twice.

    Raises SettingsError for a URL that cannot be used. Calls raise StoreError.
    """

    def __init__(self, url: str, *, cluster: bool, timeout_seconds: float) -> None:
        self._url = url
        self._cluster = cluster
        self._options: dict[str, Any] = {
            "socket_connect_timeout": timeout_seconds,
            "socket_timeout": timeout_seconds,
            "health_check_interval": 30,
            "decode_responses": False,
            "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 3 if cluster else 1),
        }
        self.address = _address(url)
        _check(url, self._options, cluster=cluster)
        self._client: Any = None

    def execute(self, *command: Any) -> Any:
        """The reply to one command."""
        return self._guard(lambda: self._connected().execute_command(*command))

    def pipeline(self, commands: Sequence[Command]) -> Sequence[Any]:
        """The replies to many commands, sent together; not a transaction."""
        return self._guard(lambda: self._pipeline(commands)) if commands else ()

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """The reply of a script, which a server that lost it (a restart, a failover) is sent again."""

        def call() -> Any:
            client = self._connected()
            try:
                return client.execute_command("EVALSHA", script.digest, len(keys), *keys, *args)
            except vendor.NoScriptError:
                return client.execute_command("EVAL", script.text, len(keys), *keys, *args)

        return self._guard(call)

    def scan(self, pattern: str) -> Iterator[bytes]:
        """The keys that match a glob, of every node, each once; one that comes or goes meanwhile may be missed."""
        keys = self._guard(lambda: self._connected().scan_iter(pattern, count=1000))
        seen: set[bytes] = set()
        while (key := self._guard(lambda: next(keys, None))) is not None:
            if key not in seen:
                seen.add(key)
                yield key

    def info(self) -> Mapping[str, Any]:
        """What a server (in a cluster: one of its nodes) says of itself, with its CONFIG where that is allowed."""

        def call() -> Mapping[str, Any]:
            client = self._connected()
            target = {"target_nodes": client.get_random_node()} if self._cluster else {}
            facts = dict(client.info(**target))
            try:
                for name in ("save", "appendfsync"):
                    facts |= client.config_get(name, **target)
            except vendor.ResponseError:
                pass  # hosted Redis forbids CONFIG
            return {_text(name): _text(value) for name, value in facts.items()}

        facts: Mapping[str, Any] = self._guard(call)
        return facts

    def close(self) -> None:
        if self._client is not None:
            if self._cluster:
                self._client.disconnect_connection_pools()  # closing a cluster's client leaves its sockets open
            self._client.close()
            self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            if (sentinel := SentinelUrl.parse(self._url)) is not None:
                self._client = sentinel.client(self._options)
                return self._client
            kind: Any = RedisCluster if self._cluster else Redis
            self._client = kind.from_url(self._url, **self._options)  # a cluster client asks for the slots at once
        return self._client

    def _pipeline(self, commands: Sequence[Command]) -> Sequence[Any]:
        with self._connected().pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            # Raised by redis-py, an error would quote the command: record ids do not belong in logs.
            replies: list[Any] = pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _guard(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (vendor.RedisError, vendor.RedisClusterException, OSError) as error:
            said = str(error).split(", with args", maxsplit=1)[0].strip().rstrip(".")
            code = _code(error, said)
            if code == "READONLY" and not self._cluster:
                # a primary that became a replica keeps its connections: the next call asks anew where the name leads
                self._connected().connection_pool.disconnect(inuse_connections=False)
            raise StoreError(self._explain(said, code)) from error

    def _explain(self, said: str, code: str | None) -> str:
        where = f"{'Redis Cluster' if self._cluster else 'Redis'} at {self.address}"
        what = "" if code is None or code in said or not code.isupper() else f"{code} "
        advice = _ADVICE.get(code or "")
        return f"{where}: {what}{said}" + (f"; {advice}" if advice else "")


def _code(error: Exception, said: str) -> str | None:
    """What kind of trouble it is, as a key of the advice."""
    if _STANDALONE.search(said):
        return "standalone"
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    quoted = _QUOTED_CODE.search(said)
    if quoted:
        return quoted.group()
    if _NO_PERMISSION.search(said):
        return "NOPERM"
    return "unreachable" if isinstance(error, OSError | vendor.RedisClusterException) else None


def _address(url: str) -> str:
    """The URL without what may hold a secret: user, password and query."""
    try:
        if (sentinel := SentinelUrl.parse(url)) is not None:
            return f"{sentinel.primary} of " + ",".join(f"{host}:{port}" for host, port in sentinel.sentinels)
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the given URL"
    path = parts.path if parts.scheme == "unix" or parts.path[1:].isdigit() else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{path}"


def _check(url: str, options: Mapping[str, Any], *, cluster: bool) -> None:
    try:
        sentinel = SentinelUrl.parse(url)
        url = url if sentinel is None else sentinel.node
        pool = ConnectionPool.from_url(url, **options)
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, AttributeError, vendor.RedisError):
        # What redis-py says quotes the part it stumbled over, which may be the password.
        raise SettingsError(
            f"Redis URL: {_address(url)} cannot be used; write redis://user:password@host:6379/0 (rediss:// for TLS, "
            "unix:// for a socket, redis+sentinel://user:password@s1:26379,s2:26379/primary/0), special characters of the password percent-encoded, options as redis-py names them"
        ) from None
    parts = urlsplit(url)
    faults = []
    if pool.connection_kwargs.get("decode_responses"):
        faults.append("decode_responses cannot be set: values are bytes")
    if parts.scheme != "unix" and parts.path not in {"", "/"} and not parts.path[1:].isdigit():
        faults.append("the path must be a database number; a / in the password is written %2F")
    if parts.fragment:
        faults.append("a # in the password is written %23")
    if cluster and sentinel is not None:
        faults.append("a Redis Cluster has no Sentinels: name a node of it")
    if cluster and pool.connection_kwargs.get("db"):
        faults.append("a Redis Cluster has only database 0")
    if faults:
        raise SettingsError("Redis URL: " + "; ".join(faults))


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
