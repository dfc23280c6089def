"""What is common in a scope says less: cosines of some modalities, taken where the directions its records share are shortened.

An inverse document frequency for dense vectors: where every second person is from one town, or every listing is a phone
case, some directions are in most vectors and tell nobody apart. They are the principal ones of the second moments of the
scope's own vectors; dividing by the root of what lies along each (whitening) makes all count alike. Only the first few are
taken, and the rest is one length, so what is kept of a scope is small: no record, no word, and nothing that grows with it.

It is learnt at the turns of blocks, when a scope has twice the records of the last time: the same however rows are batched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgpack
import numpy as np

from consumer.ports import VectorIndex
from consumer.records import Doubles, Floats

LEAST_ROWS = 128
"""Fewer records would be told apart by what they have in common."""
MOST_ROWS = 16_384
"""The newest, beyond which more change nothing that shows, and take time."""
_DIRECTIONS = 32
_STRENGTH = 1000
"""Records that count as having nothing in common, so that few records shorten little."""
_FLOOR = 0.1
"""Of the mean second moment, added to each: what hardly ever occurs is not blown up."""


@dataclass(frozen=True, slots=True)
class Span:
    """The columns of one modality in vectors, where it counts `weight`: its block has that squared length."""

    number: int
    """Of the modality."""
    start: int
    stop: int
    weight: float


@dataclass(frozen=True, slots=True)
class Block:
    """What was learnt of the block of one modality."""

    span: Span
    directions: Doubles
    """[width, d], of float16 numbers, as those of vectors are."""
    gains: Doubles
    """[d], from -1 to 0: how much less than the rest of the block the square along each direction counts."""

    def cosines(self, left: Floats, right: Floats) -> Doubles:
        """Of float32 [..., dim] with another, float64 [...]; 0 where one of the two is missing."""
        # of float16 numbers, as directions are: sums of their products are exact, so they do not depend on the shape of a batch
        ours, theirs = (v[..., self.span.start : self.span.stop].astype(np.float64) for v in (left, right))
        along, across = ours @ self.directions, theirs @ self.directions
        less, lesser = along * self.gains, across * self.gains
        squares = (_inner(ours, ours) + _inner(along, less)) * (_inner(theirs, theirs) + _inner(across, lesser))
        products = _inner(ours, theirs) + _inner(less, across)
        found = np.divide(products, np.sqrt(np.maximum(squares, 0)), out=np.zeros_like(products), where=squares > 0)
        return np.clip(found, -1, 1)


@dataclass(frozen=True, slots=True)
class Whitening:
    """What one scope has learnt; nothing at first, and cosines are plain."""

    rows: int = 0
    """Records that were there when it was learnt."""
    blocks: Sequence[Block] = ()

    def due(self, rows: int) -> bool:
        """Whether a scope of so many records should learn anew."""
        return rows >= max(LEAST_ROWS, 2 * self.rows)

    def pack(self) -> bytes:
        """For a store."""
        blocks = [
            [b.span.number, b.span.start, b.span.stop, b.span.weight, _halves(b.directions), b.gains.tolist()]
            for b in self.blocks
        ]
        return bytes(msgpack.packb([self.rows, blocks]))

    @classmethod
    def unpack(cls, packed: bytes, spans: Sequence[Span]) -> "Whitening":
        """What `pack` gave; nothing, to be learnt anew, where other spans are whitened now."""
        rows, blocks = msgpack.unpackb(packed)
        found = [
            Block(Span(*span), _directions(halves, span[2] - span[1]), np.asarray(gains))
            for *span, halves, gains in blocks
        ]
        return cls(rows, found) if [block.span for block in found] == list(spans) else cls()


def renewed(whitening: Whitening, index: VectorIndex, spans: Sequence[Span]) -> Whitening:
    """The same, or one learnt from the vectors of the scope as they are now."""
    if not spans or not whitening.due(len(index)):
        return whitening
    vectors = index.newest(MOST_ROWS)
    return Whitening(len(index), [learnt(vectors[:, span.start : span.stop], span) for span in spans])


def learnt(vectors: Floats, span: Span) -> Block:
    """From the block's columns of some vectors, float32 [n, width]."""
    there = np.asarray(vectors[np.any(vectors, axis=1)], np.float64)
    width = span.stop - span.start
    moments = there.T @ there / span.weight + _STRENGTH * np.eye(width) / width
    sizes, directions = np.linalg.eigh(moments / (len(there) + _STRENGTH))
    sizes = sizes[::-1] + _FLOOR / width
    count = min(_DIRECTIONS, width - 1)
    kept = np.ascontiguousarray(directions[:, ::-1][:, :count], np.float16)
    return Block(span, kept.astype(np.float64), np.round(sizes[count:].mean() / sizes[:count] - 1, 6))


def _inner(left: Doubles, right: Doubles) -> Doubles:
    return np.asarray(np.einsum("...d,...d->...", left, right), np.float64)


def _halves(directions: Doubles) -> bytes:
    return directions.astype("<f2").tobytes()


def _directions(halves: bytes, width: int) -> Doubles:
    return np.frombuffer(halves, "<f2").reshape(width, -1).astype(np.float64)
