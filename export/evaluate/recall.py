"""Recall at a precision, over the scores of all pairs of a query and an original."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scores:
    """Similarities of one method: of each query with its original [n], and of all others [n, others], -inf to ignore."""

    own: Floats
    others: Floats


def scored(similarity: Floats, originals: npt.NDArray[np.intp], ignored: npt.NDArray[np.bool_]) -> Scores:
    rows = np.arange(len(similarity))
    own = similarity[rows, originals].copy()
    others = np.where(ignored[originals], np.float32(-np.inf), similarity)
    others[rows, originals] = -np.inf
    return Scores(own, others)


def recalls(scores: Scores, tasks: npt.NDArray[np.str_], precision: float) -> tuple[dict[str, float], dict[str, float]]:
    """Per task, strengths pooled, and per strength: at the threshold of all queries together, and at the task's own."""
    bar = threshold(scores.own, scores.others.ravel(), precision)
    shared, own = {"all": float((scores.own >= bar).mean())}, {}
    kinds = [name.rsplit(", ", 1)[0] for name in tasks.tolist()]
    for name in [*dict.fromkeys(kinds), *dict.fromkeys(tasks.tolist())]:
        chosen = (tasks == name) | (np.array(kinds) == name)
        shared[name] = float((scores.own[chosen] >= bar).mean())
        best = threshold(scores.own[chosen], scores.others[chosen].ravel(), precision)
        own[name] = float((scores.own[chosen] >= best).mean())
    return shared, own


def threshold(positives: Floats, negatives: Floats, precision: float) -> float:
    """The lowest score s such that of all pairs that score s or more at least `precision` are true; inf if none is."""
    steps = np.unique(positives)
    true = len(positives) - np.searchsorted(np.sort(positives), steps)
    near = np.sort(negatives[negatives >= steps[0]])
    false = len(near) - np.searchsorted(near, steps)
    good = true >= precision * (true + false)
    return float(steps[good][0]) if good.any() else float("inf")
