"""The last layer of the image encoder in closed form: directions in which photos of one product differ, and copies do not.

Linear discriminant analysis: the covariance of photos around the mean of their class against that of what attacks
change. A layer trained by its gradient is drawn to what tells products apart, which is what a threshold suffers from.
"""

from random import Random

import numpy as np
import torch

from consumer.adapters.pixels import Pixels
from consumer.records import Doubles
from export.views import Supply
from export.vision import Encoder, cells

_RIDGE = 1.0
_PAIRS = 128


def refit(encoder: Encoder, supply: Supply, pairs: int, seed: int) -> None:
    """Replace the weights of `encoder.join`, in place, by those fitted on all originals and `pairs` copies."""
    encoder.eval()
    pixels, kinds = supply.everything()
    originals = features(encoder, pixels)
    mean = originals.mean(0)
    changes = _changes(encoder, supply, pairs, seed)
    within = changes.T @ changes / len(changes)
    ridge = _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    spread = _around_their_class(originals, kinds)
    dim = encoder.shape.dim
    # Where changes have the same size in every direction, the directions in which photos differ most.
    whitening = np.linalg.inv(np.linalg.cholesky(within + ridge)).T
    seen = spread @ whitening
    values, vectors = np.linalg.eigh(seen.T @ seen / len(seen))
    # Every direction weighs the same: the strongest alone would decide.
    weights = whitening @ vectors[:, -dim:] / np.sqrt(np.maximum(values[-dim:], 1e-12))
    scale = 1 / np.linalg.norm((originals - mean) @ weights, axis=1).mean()
    encoder.join.weight.data = torch.from_numpy((weights * scale).T.astype(np.float32).copy())
    encoder.join.bias.data = torch.from_numpy((-scale * mean @ weights).astype(np.float32))


def features(encoder: Encoder, pixels: Pixels, batch: int = 64) -> Doubles:
    """[n, features]: what the last layer is fed."""
    rows = []
    for start in range(0, len(pixels), batch):
        with torch.inference_mode():
            rows.append(encoder.features(*cells(torch.from_numpy(pixels[start : start + batch]))).numpy())
    return np.concatenate(rows).astype(np.float64)


def _changes(encoder: Encoder, supply: Supply, pairs: int, seed: int) -> Doubles:
    chance = Random(seed)
    made: list[Doubles] = []
    while sum(len(some) for some in made) < pairs:
        first, second = supply.pairs(_PAIRS, chance)
        made.append(features(encoder, second) - features(encoder, first))
    return np.concatenate(made)


def _around_their_class(rows: Doubles, kinds: list[str | None]) -> Doubles:
    """Drawings, and photos without a class, are left out where there are classes; else all rows, around their mean."""
    known = sorted({kind for kind in kinds if kind is not None})
    if not known:
        return np.asarray(rows - rows.mean(0))
    groups = [rows[[at for at, kind in enumerate(kinds) if kind == one]] for one in known]
    return np.concatenate([group - group.mean(0) for group in groups])
