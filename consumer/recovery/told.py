"""What subscribers were told of clusters: the compacted topic and the events, folded.

Feed the compacted topic first, then the events, each partition in its order. Where a crash left the two apart, or a topic
got more partitions and a cluster moved to another one, the newer version counts.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from consumer.records import Message


@dataclass(frozen=True, slots=True)
class ToldCluster:
    """A cluster as it was told last."""

    version: int
    members: Sequence[str]
    """Oldest first, as far as the topics say; empty when it ended."""
    keep: str | None
    merged_into: str | None = None
    told_ms: int = 0
    """Timestamp of the message."""
    uncertain: bool = False
    """It ended by a null value, which bears no version."""

    @property
    def live(self) -> bool:
        return bool(self.members)


@dataclass(slots=True)
class Versions:
    """The events of one cluster that the topic still has."""

    first: int
    digests: list[bytes] = field(default_factory=list)
    """Of each version from the first on."""

    @property
    def last(self) -> int:
        return self.first + len(self.digests) - 1


@dataclass(frozen=True, slots=True)
class Fault:
    """Something about events that a subscriber must not see."""

    kind: str
    """`event_gap`, `event_repeated` or `event_rewritten`."""
    scope: str
    subject: str
    detail: str


class Told:
    """What was told of the clusters of one profile, by scope. Memory: about 100 bytes a member and 100 an event."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self.scopes: dict[str, dict[str, ToldCluster]] = {}
        self.versions: dict[str, Versions] = {}
        self.faults: list[Fault] = []
        self.stated: dict[str, int] = {}
        """Cluster → its version in the compacted topic; nothing where a null value ended it."""
        self._home: dict[str, str] = {}
        """Cluster → scope."""
        self._nulls: set[str] = set()
        """Clusters that a null value ended. No id lives again, so whatever else is stated of them is older."""

    def of(self, scope: str) -> Mapping[str, ToldCluster]:
        return self.scopes.get(scope, {})

    def state(self, message: Message) -> None:
        """Take in a message of the compacted topic; what is of another profile, or unreadable, is passed over."""
        cid = _text(message.key)
        if message.value is None:
            self._nulls.add(cid)
            self._end(cid, message.timestamp_ms)
            return
        said = _ours(message.value, self._profile)
        if said is None or not {"cluster_id", "version", "members", "record_to_keep"} <= said.keys():
            return
        before = self.scopes[self._home[cid]][cid] if cid in self._home else None
        if before is not None and said["version"] <= before.version - before.uncertain:
            return
        keep, heir = said["record_to_keep"], said.get("merged_into")
        told = ToldCluster(said["version"], tuple(said["members"]), keep, heir, message.timestamp_ms)
        self.stated[cid] = told.version
        self._put(said["scope"], cid, told)
        if cid in self._nulls:
            self._end(cid, message.timestamp_ms)

    def _end(self, cid: str, at_ms: int) -> None:
        """What a null value says of a cluster, if anything is known of it."""
        self.stated.pop(cid, None)
        if (scope := self._home.get(cid)) is not None:
            before = self.scopes[scope][cid]
            version = before.version + before.live
            self.scopes[scope][cid] = ToldCluster(version, (), None, None, at_ms, uncertain=True)

    def event(self, message: Message) -> None:
        """Take in a message of the events topic; what is of another profile, or unreadable, is passed over."""
        event = _object(message.value)
        said = _ours_of(event.get("data"), self._profile)
        if said is None or not {"cluster_id", "version", "added", "removed", "size"} <= said.keys():
            return
        cid, scope, version = said["cluster_id"], said["scope"], said["version"]
        if not self._count(scope, cid, version, message.value or b""):
            return
        before = self.scopes.get(scope, {}).get(cid)
        if before is not None and (said["size"] > 0 if before.uncertain else before.version >= version):
            return  # no id lives again: of a cluster that ended by a null value only its last event is news
        stayed = [r for r in (before.members if before else ()) if r not in set(said["removed"])]
        members = said.get("members", [*stayed, *(r for r in said["added"] if r not in set(stayed))])
        heir = said.get("merged_into")
        told = ToldCluster(version, tuple(members), said["record_to_keep"], heir, message.timestamp_ms)
        self._put(scope, cid, told)

    def _count(self, scope: str, cid: str, version: int, content: bytes) -> bool:
        """Note a version of a cluster; False when it was seen before."""
        digest = hashlib.blake2b(content, digest_size=8).digest()
        seen = self.versions.get(cid)
        if seen is None:
            self.versions[cid] = Versions(version, [digest])
            return True
        if seen.first <= version <= seen.last:
            same = seen.digests[version - seen.first] == digest
            kind = "event_repeated" if same else "event_rewritten"
            self.faults.append(Fault(kind, scope, cid, f"version {version} comes twice"))
            return False
        if version != seen.last + 1:
            self.faults.append(Fault("event_gap", scope, cid, f"version {version} follows version {seen.last}"))
            self.versions[cid] = Versions(version, [digest])
        else:
            seen.digests.append(digest)
        return True

    def _put(self, scope: str, cid: str, told: ToldCluster) -> None:
        self._home[cid] = scope
        self.scopes.setdefault(scope, {})[cid] = told


def _ours(value: bytes, profile: str) -> dict[str, Any] | None:
    return _ours_of(_object(value), profile)


def _ours_of(said: object, profile: str) -> dict[str, Any] | None:
    if isinstance(said, dict) and said.get("profile") == profile and isinstance(said.get("scope"), str):
        return said
    return None


def _object(value: bytes | None) -> dict[str, Any]:
    try:
        content = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _text(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")
