"""A text encoder as it was trained, in torch: the truth that an export is measured against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, normalizers
from transformers import AutoModel, AutoTokenizer

from export import pooling
from export.errors import ExportError
from export.projection import Floats
from export.weights import UNREADABLE, complete

ATTENTION_FLOOR = torch.finfo(torch.float32).min


@dataclass(frozen=True, slots=True)
class Source:
    """A loaded encoder: token vectors, pooling, dense layers, L2."""

    model: torch.nn.Module
    layout: pooling.Layout
    tokenizer: Tokenizer
    """Cuts at `max_tokens`, special tokens counted; does not pad."""
    pad_id: int
    unknown_id: int
    """-1 where the tokenizer knows every text, as those over bytes do."""
    max_tokens: int
    additive_mask: bool
    """Whether the model takes a mask of four dimensions as it is, which keeps its own mask building out of a graph."""

    @property
    def width(self) -> int:
        """Length of an unreduced vector."""
        last = self.layout.dense[-1].linear.out_features if self.layout.dense else self.model.config.hidden_size
        return int(last)

    def feed(self, texts: Sequence[str]) -> Mapping[str, npt.NDArray[np.int64]]:
        """`input_ids` and `attention_mask`, int64 [n, longest]."""
        encodings = self.tokenizer.encode_batch(list(texts))
        width = max(len(encoding.ids) for encoding in encodings)
        ids = np.full((len(texts), width), self.pad_id, np.int64)
        mask = np.zeros((len(texts), width), np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def encode(self, texts: Sequence[str], batch: int = 64) -> Floats:
        """float32 unit rows [n, width], by the model's own forward pass and mask."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        rows = np.empty((len(texts), self.width), np.float32)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            fed = {name: torch.from_numpy(ids) for name, ids in self.feed([texts[row] for row in chosen]).items()}
            with torch.inference_mode():
                pooled = pooling.pool(self.model(**fed).last_hidden_state, fed["attention_mask"], self.layout.pooling)
                for layer in self.layout.dense:
                    pooled = layer(pooled)
                rows[chosen] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return rows


class Graph(torch.nn.Module):
    """The same as `Source.encode`, in a form that exports well: `input_ids`, `attention_mask` → unit rows."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.encoder = source.model
        self.pooling = source.layout.pooling
        self.dense = torch.nn.ModuleList(source.layout.dense)
        self.additive_mask = source.additive_mask

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = _additive(attention_mask) if self.additive_mask else attention_mask
        hidden = self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        pooled = pooling.pool(hidden, attention_mask, self.pooling)
        for layer in self.dense:
            pooled = layer(pooled)
        return torch.nn.functional.normalize(pooled, dim=1)


def load(folder: Path, max_tokens: int, pooled_by: str | None = None) -> Source:
    """Read an encoder from `folder`, offline. Raises ExportError when transformers cannot, or it is of another kind."""
    layout = pooling.read(folder, pooled_by)
    try:
        # Eager attention is plain MatMul and Softmax in the graph, which every runtime fuses as it likes.
        model = complete(
            AutoModel.from_pretrained(
                layout.transformer, attn_implementation="eager", local_files_only=True, output_loading_info=True
            ),
            folder,
        )
        backend = AutoTokenizer.from_pretrained(layout.transformer, local_files_only=True)
    except (*UNREADABLE, ImportError) as error:
        raise ExportError(f"transformers cannot load {layout.transformer}: {error}") from error
    if model.config.is_encoder_decoder or getattr(model.config, "is_decoder", False):
        raise ExportError(f"{folder}: {model.config.model_type} is no encoder of the BERT family")
    model = model.float().eval()
    if max_tokens > (longest := _longest(model, max_tokens)):
        raise ExportError(f"--max-tokens {max_tokens}: the model reads {longest} at most")
    tokenizer = _tokenizer(layout, backend)
    tokenizer.enable_truncation(max_tokens)
    pad = tokenizer.token_to_id(str(backend.pad_token)) if backend.pad_token else None
    unknown = tokenizer.token_to_id(str(backend.unk_token)) if backend.unk_token else None
    return Source(
        model=model,
        layout=layout,
        tokenizer=tokenizer,
        # Padding is masked, so any id will do for a model that has none.
        pad_id=0 if pad is None else pad,
        unknown_id=-1 if unknown is None or not _has_unknown(tokenizer) else unknown,
        max_tokens=max_tokens,
        additive_mask=_takes_additive(model),
    )


def _tokenizer(layout: pooling.Layout, backend: Any) -> Tokenizer:
    saved = layout.transformer / "tokenizer.json"
    if not saved.is_file() and not hasattr(backend, "backend_tokenizer"):
        raise ExportError(
            f"{layout.transformer}: its tokenizer has no fast form, tokenizer.json, which is what is read"
        )
    try:
        content = saved.read_text("utf-8") if saved.is_file() else backend.backend_tokenizer.to_str()
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # the library raises nothing narrower
        raise ExportError(f"{saved}: cannot be loaded: {error}") from error
    tokenizer.no_padding()
    if layout.lowercase:
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _has_unknown(tokenizer: Tokenizer) -> bool:
    """Whether a character that no vocabulary holds becomes a token that says so, rather than bytes."""
    probe = tokenizer.encode("\U000f1234", add_special_tokens=False)
    return len(probe.ids) <= 2


def _longest(model: torch.nn.Module, otherwise: int) -> int:
    """Tokens that the model reads; in RoBERTa's family the positions begin after that of the padding."""
    longest = int(getattr(model.config, "max_position_embeddings", None) or otherwise)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            longest -= int(module.padding_idx) + 1
    return longest


def _additive(attention_mask: torch.Tensor) -> torch.Tensor:
    """[n, t] of 1 and 0 → [n, 1, 1, t] of 0 and the least number."""
    return (1.0 - attention_mask.to(torch.float32))[:, None, None, :] * ATTENTION_FLOOR


def _takes_additive(model: torch.nn.Module) -> bool:
    """Whether a mask of four dimensions means the same to the model as its own of two: most, not MPNet nor DeBERTa."""
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 8]]).clamp(max=int(model.config.vocab_size) - 1)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.inference_mode():
        truth = model(input_ids=ids, attention_mask=mask).last_hidden_state
        try:
            found = model(input_ids=ids, attention_mask=_additive(mask)).last_hidden_state
        except (RuntimeError, ValueError, IndexError, TypeError):
            return False
    # Only where there is something to read: what stands at the padding is nobody's business.
    return bool(torch.allclose(truth[mask == 1], found[mask == 1], atol=1e-5))
