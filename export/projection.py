"""A reduction of vectors to fewer dimensions, fitted on a user's data; folded into an exported graph as its last layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from export.errors import ExportError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Projection:
    """A fitted PCA: `(x - mean) @ components.T`, float32 [width] and [dim, width]."""

    mean: Floats
    components: Floats
    explained_variance: float
    """Share of the variance that is kept, 0 to 1."""

    def apply(self, vectors: Floats) -> Floats:
        """float32 [n, width] → unit rows [n, dim]."""
        return unit((vectors - self.mean) @ self.components.T)


def fit(vectors: Floats, dim: int) -> Projection | None:
    """PCA to `dim` of float32 [n, width]; None where `dim` is 0. Raises ExportError when `dim` is more than there is."""
    if not dim:
        return None
    if dim < 0 or dim > min(vectors.shape):
        raise ExportError(
            f"--dim {dim}: the model's vectors have {vectors.shape[1]}, the data {vectors.shape[0]} rows; "
            "take at most the smaller, or 0 for no reduction"
        )
    pca = PCA(dim, svd_solver="full").fit(vectors.astype(np.float64))
    return Projection(
        mean=np.asarray(pca.mean_, np.float32),
        components=np.ascontiguousarray(pca.components_, np.float32),
        explained_variance=float(pca.explained_variance_ratio_.sum()),
    )


def reduced(vectors: Floats, projection: Projection | None) -> Floats:
    """Unit rows of `vectors`, through the projection where there is one."""
    return unit(vectors) if projection is None else projection.apply(vectors)


def unit(vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    """Rows of length 1; a row of zeros stays."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
