"""Ids of clusters."""

import hashlib
from dataclasses import dataclass

from consumer.records import Cause


def generation_key(key: bytes, generation: str) -> bytes:
    """The key that ids of clusters are minted with in a generation; the first one, empty, has the key itself.

    A rebuild that cannot know all ids that were ever used begins a new one: none of its ids was used before.
    """
    return hashlib.blake2b(generation.encode(), key=key[:64]).digest() if generation else key


@dataclass(frozen=True, slots=True)
class Minter:
    """Makes cluster ids: keyed digests, so that an id does not reveal the record it was minted from."""

    key: bytes
    profile: str
    scope: str

    def __call__(self, record_id: str, cause: Cause | None = None, again: int = 0) -> str:
        """The id of the cluster that `record_id` founds; with `cause`, another one, when that id was used before.

        `again` counts what was minted for this record and cause before.
        """
        parts = [self.profile, self.scope, record_id]
        if cause is not None:
            parts += [cause.position.topic, str(cause.position.partition), str(cause.position.offset)]
        if again:
            parts.append(str(again))
        return "c" + hashlib.blake2b("\0".join(parts).encode(), key=self.key[:64], digest_size=10).hexdigest()
