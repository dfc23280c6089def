"""All that Redis holds of a profile: read whole, wiped, and marked while it is being rebuilt.

One key beside those of `redis_layout`, `<prefix>:{<profile>}:rebuild`, a hash: `running`, there while a rebuild has begun
and not ended; `generation`, with which ids of clusters are minted since a rebuild that could not know all older ones.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from consumer.adapters import redis_layout as layout
from consumer.adapters.redis_connection import RedisConnection
from consumer.errors import SettingsError
from consumer.recovery.contents import Contents

_AT_ONCE = 500


class RedisInventory:
    """Implements `consumer.recovery.contents.Inventory`; see `RedisClusters` for the arguments. It connects at the first call.

    Its user needs SCAN and UNLINK beside what the service needs; the service itself uses `require_whole` and
    `generation` only. Calls raise StoreError.
    """

    def __init__(
        self,
        url: str,
        *,
        profile: str,
        key: bytes,
        prefix: str = "dedup",
        cluster: bool = False,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._redis = RedisConnection(url, cluster=cluster, timeout_seconds=timeout_seconds)
        self._prefix = prefix
        self._profile = profile
        self._key = key

    # reading

    def scopes(self, partition: int) -> Sequence[str]:
        return sorted(
            scope.decode() for scope in self._redis.execute("SMEMBERS", self._of_profile("scopes", partition))
        )

    def contents(self, partition: int) -> Mapping[str, Contents]:
        names = {scope: self._names(scope) for scope in self.scopes(partition)}
        roots = {own.root for own in names.values()}
        # a scan goes through all keys that Redis has: one a kind, and not one a scope
        members, edges = (self._keys_by_root(roots, kind) for kind in ("members", "edges"))
        return {scope: self._contents(own, members[own.root], edges[own.root]) for scope, own in names.items()}

    def _keys_by_root(self, roots: Collection[str], kind: str) -> Mapping[str, Sequence[str]]:
        keys: dict[str, list[str]] = {root: [] for root in roots}
        for key in self._redis.scan(f"{layout.scopes_pattern(self._prefix, self._profile)}}}:{kind}:*"):
            name = key.decode()
            root = name[: name.index("}:") + 2]
            if root in keys:
                keys[root].append(name)
        return keys

    def _contents(self, names: layout.Names, members_keys: Sequence[str], edges_keys: Sequence[str]) -> Contents:
        found = Contents(applied=self._applied(names))
        found.beliefs, found.whitening = self._redis.execute("HMGET", names.head, layout.BELIEFS, layout.WHITENING)
        found.records = {r: layout.state(value) for r, value in self._hash(names.records)}
        found.assignments = {r: value.decode() for r, value in self._hash(names.assignments)}
        found.verdicts = {r: layout.verdicts(r, value) for r, value in self._hash(names.verdicts)}
        entries = dict(self._hash(names.clusters))
        members = dict(zip(members_keys, self._hashes(members_keys), strict=True))
        for cid, value in entries.items():
            found.clusters[cid] = layout.cluster(cid, value, members.get(names.members(cid), ()))
        owned = {names.members(cid) for cid in found.live}
        found.strays = [key for key in members_keys if key not in owned]
        for key, near in zip(edges_keys, self._hashes(edges_keys), strict=True):
            record_id = key.removeprefix(names.edges(""))
            # each by itself: whether both sides of an edge say the same is for `dedup verify` to see
            found.edges.update(layout.edges([(record_id, near)]))
        found.redo = [r.decode() for r in self._redis.execute("ZRANGE", names.redo, 0, -1)]
        members_of_outbox = self._redis.execute("ZRANGE", names.outbox, 0, -1)
        found.outbox = [layout.outbox_entry(member)[1] for member in members_of_outbox]
        return found

    def mark(self, scope: str) -> object:
        names = self._names(scope)
        head = self._redis.execute("HGETALL", names.head)
        sizes = self._redis.pipeline([("ZCARD", names.outbox), ("ZCARD", names.redo)])
        return sorted(head.items()), list(sizes)

    # a rebuild

    def is_empty(self) -> bool:
        """Whether nothing of the profile is here that `wipe` would remove."""
        return next(self._keys(), None) is None

    def begin(self, now_ms: int) -> None:
        """Mark the profile as being rebuilt; no matcher starts on it until `finish`."""
        self._redis.execute("HSET", self._of_profile("rebuild"), "running", now_ms)

    def wipe(self) -> None:
        """Remove everything but epochs, which keep out whoever held a partition before, the mark of a rebuild, and the
        digests of erased records, which no topic has for so long.
        """
        for keys in _chunks(self._keys()):
            self._redis.pipeline([("UNLINK", key) for key in keys])

    def finish(self, generation: str | None) -> None:
        """Take the mark away; with a `generation`, note it for all ids that are minted from now on."""
        name = self._of_profile("rebuild")
        if generation is not None:
            self._redis.execute("HSET", name, "generation", generation)
        self._redis.execute("HDEL", name, "running")

    def require_whole(self) -> None:
        """Raise SettingsError while a rebuild is under way, or when one was interrupted."""
        if self._redis.execute("HGET", self._of_profile("rebuild"), "running") is not None:
            raise SettingsError(
                f"a rebuild of {self._profile} under redis.prefix {self._prefix} is under way or was interrupted, so what "
                "is there is not whole: let it end, or run it again: `dedup rebuild --replace`"
            )

    def generation(self) -> str:
        """What ids are minted with beside the key; empty at first."""
        found = self._redis.execute("HGET", self._of_profile("rebuild"), "generation")
        return "" if found is None else str(found, "utf-8")

    def close(self) -> None:
        self._redis.close()

    def _keys(self) -> Iterator[bytes]:
        kept = {self._of_profile("epochs").encode(), self._of_profile("rebuild").encode()}
        for pattern in (layout.scopes_pattern(self._prefix, self._profile), self._of_profile("*")):
            yield from (key for key in self._redis.scan(pattern) if key not in kept and b"}:erased:" not in key)

    def _names(self, scope: str) -> layout.Names:
        return layout.Names(self._prefix, self._profile, scope, self._key)

    def _of_profile(self, *parts: str | int) -> str:
        return layout.partition_name(self._prefix, self._profile, *parts)

    def _applied(self, names: layout.Names) -> dict[int, int]:
        head: Mapping[bytes, bytes] = self._redis.execute("HGETALL", names.head)
        fields = ((name.decode().partition(":"), value) for name, value in head.items())
        return {int(partition): int(value) for (name, _, partition), value in fields if name == "applied"}

    def _hash(self, name: str) -> Iterator[tuple[str, bytes]]:
        """The pairs of a hash, in pieces: a large one would hold Redis up."""
        cursor: Any = 0
        while True:
            cursor, found = self._redis.execute("HSCAN", name, cursor, "COUNT", 2 * _AT_ONCE)
            yield from ((field.decode(), value) for field, value in found.items())
            if not int(cursor):
                return

    def _hashes(self, names: Sequence[str]) -> Iterator[Sequence[bytes]]:
        """The fields and values of each, by turns."""
        for chunk in _chunks(iter(names)):
            for found in self._redis.pipeline([("HGETALL", name) for name in chunk]):
                yield [part for pair in found.items() for part in pair]


def _chunks(values: Iterator[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == _AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
