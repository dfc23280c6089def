"""What a scope's own stream has shown so far: how crowded its neighbourhoods are, and how common duplicates are.

A threshold that is right where every second record has a duplicate is wrong where one in twenty has, and a name that has
ten neighbours says less than one that has none, unless ten are usual. Both are estimated as the stream goes, in the
order of its rows, so that batches do not matter; the numbers live beside the assignments and are written with them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgpack
import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_BINS = np.linspace(-12, 12, 97)
"""Log-odds of candidate pairs are counted to the quarter."""
_ROW_DECAY = 0.9995
"""A row counts half after 1,400 more."""
_STEP_ROWS = 256
_STEP_DECAY = 0.98
"""The pairs of 256 rows count half after 9,000 more rows."""
_CROWDING_STRENGTH = 50
"""Rows that the crowding seen in training counts for at the start."""
_PRIOR_STRENGTH = 2_000
"""Pairs that the base rate of training counts for."""
_MOST = 4.0
"""A prior is not believed to be farther from that of training, in log-odds: scores that look like nothing seen in
training would drive it to no duplicates at all, or to nothing else."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What training saw, from which beliefs start."""

    crowding: Sequence[float]
    """Per term: mean logarithm of one more than the near candidates of a record."""
    base_rate: float
    """Share of matches among candidate pairs."""
    damping: float
    """Share of the estimated change of the prior that is believed; 0 keeps the prior of training."""


@dataclass(slots=True)
class Beliefs:
    """Running estimates of one scope. To judge is to change them; a copy first keeps what a failed write needs."""

    decider: str = ""
    """Fingerprint of the one whose log-odds were counted."""
    rows: int = 0
    weight: float = 0.0
    crowding: list[float] = field(default_factory=list)
    """Decayed sum per term."""
    pairs: Doubles = field(default_factory=lambda: np.zeros(len(_BINS)))
    """Decayed counts of candidate pairs by their log-odds before the prior."""
    shift: float = 0.0
    """Log-odds to add to those of training: the prior of this scope."""

    def copy(self) -> "Beliefs":
        return Beliefs(self.decider, self.rows, self.weight, list(self.crowding), self.pairs.copy(), self.shift)

    def belong(self, decider: str) -> None:
        """Start afresh where another decider was at work: its terms and its log-odds mean something else."""
        if decider != self.decider:
            fresh = Beliefs()
            self.decider, self.weight, self.crowding = decider, fresh.weight, fresh.crowding
            self.pairs, self.shift = fresh.pairs, fresh.shift

    def crowded(self, counts: Doubles, expected: Expectations) -> Doubles:
        """How much more crowded than usual each of n rows is, float64 [n, terms]; each row counts as seen."""
        if not self.crowding:
            self.crowding = [mean * _CROWDING_STRENGTH for mean in expected.crowding]
            self.weight = float(_CROWDING_STRENGTH)
        relative = np.zeros_like(counts)
        for row, seen in enumerate(counts.tolist()):
            self.weight = self.weight * _ROW_DECAY + 1
            for term, value in enumerate(seen):
                self.crowding[term] = self.crowding[term] * _ROW_DECAY + value
                relative[row, term] = value - self.crowding[term] / self.weight
        return relative

    def shifts(self, log_odds: Sequence[Doubles], expected: Expectations) -> Doubles:
        """The prior's part in the log-odds of each row, float64 [n], given those of its pairs without it; all count."""
        shifts = np.zeros(len(log_odds))
        for row, values in enumerate(log_odds):
            shifts[row] = self.shift
            bins = np.clip(np.rint((values - _BINS[0]) * 4), 0, len(_BINS) - 1).astype(np.int64)
            np.add.at(self.pairs, bins, 1.0)
            self.rows += 1
            if self.rows % _STEP_ROWS == 0:
                self.shift = self._estimate(expected)
                self.pairs *= _STEP_DECAY
        return shifts

    def _estimate(self, expected: Expectations) -> float:
        """Expectation maximisation over the counted pairs (Saerens, Latinne & Decaestecker 2002), damped."""
        base, total = _logit(expected.base_rate), float(self.pairs.sum()) + _PRIOR_STRENGTH
        shift = 0.0
        for _ in range(100):
            matches = float(self.pairs @ (1 / (1 + np.exp(-(_BINS + shift))))) + _PRIOR_STRENGTH * expected.base_rate
            better = _logit(matches / total) - base
            if abs(better - shift) < 1e-4:
                break
            shift = better
        return round(expected.damping * min(max(shift, -_MOST), _MOST), 5)

    def pack(self) -> bytes:
        """For a store."""
        pairs = self.pairs.astype("<f8").tobytes()
        return bytes(msgpack.packb([self.decider, self.rows, self.weight, self.crowding, pairs, self.shift]))

    @classmethod
    def unpack(cls, packed: bytes) -> "Beliefs":
        decider, rows, weight, crowding, pairs, shift = msgpack.unpackb(packed)
        return cls(decider, rows, weight, list(crowding), np.frombuffer(pairs, "<f8").copy(), shift)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
