"""Pure: what a threshold on the scores of candidate pairs would give, against the truth."""

from dataclasses import dataclass

import numpy as np

from consumer.records import Bools, Doubles


@dataclass(frozen=True, slots=True)
class Curve:
    """One point a distinct score, highest first; float64 [n] each. Pairs alone: nothing is joined transitively."""

    thresholds: Doubles
    precision: Doubles
    recall: Doubles

    @property
    def f1(self) -> Doubles:
        """Harmonic means, float64 [n]."""
        total = self.precision + self.recall
        return np.where(total > 0, 2 * self.precision * self.recall / np.where(total > 0, total, 1.0), 0.0)

    def best(self) -> tuple[float, float]:
        """The highest F1 and its threshold, picked on the truth itself; (0, 1) where there is no pair."""
        if not len(self.thresholds):
            return 0.0, 1.0
        at = int(np.argmax(self.f1))
        return round(float(self.f1[at]), 4), round(float(self.thresholds[at]), 5)

    def recall_at(self, precision: float) -> float:
        """The highest recall among thresholds that hold at least this precision; 0 where none does."""
        return round(float(self.recall[self.precision >= precision].max(initial=0.0)), 4)


def curve(scores: Doubles, same: Bools, true_pairs: float) -> Curve:
    """Precision and recall of the pairs at or above each score. `true_pairs` counts those no search found, too."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(same[order])
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])  # equal scores pass together
    return Curve(ordered[last], hits[last] / (last + 1), hits[last] / max(true_pairs, 1))
