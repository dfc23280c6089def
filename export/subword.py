"""The subword encoder in torch: its sum, its loss, its training, and the ONNX graph that it becomes."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

from consumer.adapters.subword_tokens import IDS, KINDS, features
from export.families import SIZE, Family, LabelledSet

Floats = npt.NDArray[np.float32]
Ids = Sequence[int]
Member = tuple[Ids, Ids, object]
"""Features of two spellings of one entity, and what tells it from the others of a batch."""

OPSET = 20
INT8 = 127

_TEMPERATURE = 0.06
_NEIGHBOURS = 25
_FAMILIES = 64
_GENERATED_SHARE = 0.45
_CORRUPTED_SHARE = 0.15
_TABLE_RATE, _WEIGHT_RATE, _REST_RATE = 7e-4, 2.8e-3, 3e-3
_WARM_UP = 50
_NOTHING = (0,)
# Where the worth of each kind starts: codes over words, letters over words, since a typo spoils a word whole.
_WORTH = (1.6, 1.1, 0.7, 0.65, 1.6, 3.0, 0.9, 0.8, 0.7, 1.2, 1.2)


class Network(torch.nn.Module):  # type: ignore[misc]  # torch is not there when types are checked
    """A row per feature, times its weight, times the worth of its kind; summed; scaled to length 1.

    Rows start at random, so features that training never meets still tell spellings apart, as a random projection.
    """

    def __init__(self, dim: int, rarity: Floats, seed: int) -> None:
        super().__init__()
        start = torch.randn(IDS, dim, generator=torch.Generator().manual_seed(seed)) / math.sqrt(dim)
        self.table = torch.nn.EmbeddingBag(IDS, dim, mode="sum", sparse=True)
        self.table.weight.data = start
        self.weight = torch.nn.Embedding(IDS, 1, sparse=True)
        self.weight.weight.data = torch.from_numpy(rarity)[:, None].clone()
        self.worth = torch.nn.Parameter(torch.tensor(_WORTH).log())
        self.register_buffer("kind", torch.repeat_interleave(torch.arange(len(KINDS)), torch.tensor([*KINDS.values()])))
        self.slope = torch.nn.Parameter(torch.tensor(2.7))
        self.offset = torch.nn.Parameter(torch.tensor(-9.0))

    def forward(self, ids: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        weights = self.weight(ids).squeeze(1) * self.worth.exp()[self.kind[ids]]
        return functional.normalize(self.table(ids, starts, per_sample_weights=weights), dim=1)

    def rows(self) -> Floats:
        """float32 [IDS, dim]: everything learned about a feature in one row."""
        with torch.no_grad():
            rows = self.table.weight * self.weight.weight * self.worth.exp()[self.kind][:, None]
        return np.asarray(rows.numpy(), np.float32)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A labelled set as features."""

    spellings: Sequence[Ids]
    corrupted: Sequence[Ids]
    entities: Sequence[str]
    members: dict[str, list[int]]


def train(sets: Sequence[LabelledSet], families: Sequence[Family], *, dim: int, steps: int, seed: int) -> Network:
    """Contrastive training on one thread; the same arguments give the same network on the same machine."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    chance = Random(seed)
    prepared = [_prepare(one, chance) for one in sets]
    drawn = [
        [(_ids(a), _ids(b), ("generated", family, row)) for row, (a, b) in enumerate(pairs)]
        for family, pairs in enumerate(families)
    ]
    network = Network(dim, _rarity(prepared, drawn), seed)
    near = [_near(network, one) for one in prepared]
    batches = _batches(prepared, near, drawn, chance)
    tables = torch.optim.SparseAdam([network.table.weight], lr=_TABLE_RATE)
    weights = torch.optim.SparseAdam([network.weight.weight], lr=_WEIGHT_RATE)
    rest = torch.optim.Adam([network.worth, network.slope, network.offset], lr=_REST_RATE)
    started = time.monotonic()
    for step in range(steps):
        pace = min(1.0, (step + 1) / _WARM_UP) * (1 - 0.9 * step / steps)
        tables.param_groups[0]["lr"], weights.param_groups[0]["lr"] = _TABLE_RATE * pace, _WEIGHT_RATE * pace
        loss = _loss(network, next(batches))
        for optimiser in (tables, weights, rest):
            optimiser.zero_grad()
        loss.backward()
        for optimiser in (tables, weights, rest):
            optimiser.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return network


def encode(network: Network, spellings: Sequence[Ids], batch: int = 2_000) -> Floats:
    """float32 unit rows [n, dim]; every spelling has a feature."""
    with torch.no_grad():
        parts = [network(*_packed(spellings[at : at + batch])).numpy() for at in range(0, len(spellings), batch)]
    return np.concatenate(parts)


def graph(network: Network) -> onnx.ModelProto:
    """`feature_ids` and `mask`, int64 [n, t], to `embedding`, float32 [n, dim]. The table is int8, a scale a row."""
    rows = network.rows()
    scale = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-12) / INT8
    constants = {
        "table": np.clip(np.rint(rows / scale), -INT8, INT8).astype(np.int8),
        "scale": scale.astype(np.float32),
        "last": np.array([2], np.int64),
        "middle": np.array([1], np.int64),
        "least": np.array(1e-12, np.float32),
    }
    float32 = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Gather", ["table", "feature_ids"], ["stored"]),
        helper.make_node("Cast", ["stored"], ["rows"], to=float32),
        helper.make_node("Gather", ["scale", "feature_ids"], ["scales"]),
        helper.make_node("Cast", ["mask"], ["present"], to=float32),
        helper.make_node("Unsqueeze", ["present", "last"], ["column"]),
        helper.make_node("Mul", ["scales", "column"], ["weights"]),
        helper.make_node("Mul", ["rows", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceL2", ["sum", "middle"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "least"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], ["embedding"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", "t"]) for name in ("feature_ids", "mask")
    ]
    output = helper.make_tensor_value_info("embedding", float32, ["n", rows.shape[1]])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "subword", inputs, [output], initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model


def _prepare(labelled: LabelledSet, chance: Random) -> Prepared:
    members: dict[str, list[int]] = {}
    for row, entity in enumerate(labelled.entities):
        members.setdefault(entity, []).append(row)
    corrupted = [_ids(labelled.corrupt(text, chance)) for text in labelled.texts]
    return Prepared([_ids(text) for text in labelled.texts], corrupted, labelled.entities, members)


def _ids(text: str) -> Ids:
    return features(text) or _NOTHING


def _rarity(prepared: Sequence[Prepared], drawn: Sequence[Sequence[Member]]) -> Floats:
    """Inverse document frequency of each feature, 1 for one that was never seen."""
    spellings = [ids for one in prepared for ids in one.spellings]
    spellings += [ids for family in drawn for pair in family for ids in pair[:2]]
    counts = np.ones(IDS)
    for ids in spellings:
        counts[np.asarray(ids)] += 1
    rarity = np.log(1 + (len(spellings) + 1) / counts)
    return np.asarray(rarity / rarity.max(), np.float32)


def _near(network: Network, prepared: Prepared, block: int = 1_000) -> npt.NDArray[np.intp]:
    """Of each record, the records that an untrained network takes for it: int [n, k], in no order."""
    vectors = encode(network, prepared.spellings)
    k = min(_NEIGHBOURS, len(vectors))
    return np.concatenate(
        [
            np.argpartition(-(vectors[at : at + block] @ vectors.T), k - 1, axis=1)[:, :k]
            for at in range(0, len(vectors), block)
        ]
    )


def _batches(
    prepared: Sequence[Prepared],
    near: Sequence[npt.NDArray[np.intp]],
    drawn: Sequence[Sequence[Member]],
    chance: Random,
) -> Iterator[list[Member]]:
    # The root, so that a large set does not drown the others.
    shares = [math.sqrt(len(one.spellings)) for one in prepared]
    while True:
        batch: list[Member] = []
        for _ in range(_FAMILIES):
            if not prepared or chance.random() < _GENERATED_SHARE:
                batch += chance.choice(drawn)
            else:
                which = chance.choices(range(len(prepared)), shares)[0]
                batch += _family(which, prepared[which], near[which], chance)
        yield batch


def _family(which: int, prepared: Prepared, near: npt.NDArray[np.intp], chance: Random) -> list[Member]:
    """A record and others near it that are somebody else; rather one of an entity that has several."""
    first = chance.randrange(len(prepared.spellings))
    if len(prepared.members[prepared.entities[first]]) < 2 and chance.random() < 0.7:
        first = chance.randrange(len(prepared.spellings))
    chosen = {prepared.entities[first]: first}
    around = near[first].tolist()
    for row in chance.sample(around, len(around)):
        if len(chosen) < SIZE:
            chosen.setdefault(prepared.entities[row], row)
    return [(prepared.spellings[row], _other(prepared, row, chance), (which, entity)) for entity, row in chosen.items()]


def _other(prepared: Prepared, row: int, chance: Random) -> Ids:
    others = [other for other in prepared.members[prepared.entities[row]] if other != row]
    if not others or chance.random() < _CORRUPTED_SHARE:
        return prepared.corrupted[row]
    other = chance.choice(others)
    return (prepared.corrupted if chance.random() < _CORRUPTED_SHARE else prepared.spellings)[other]


def _loss(network: Network, batch: Sequence[Member]) -> torch.Tensor:
    """InfoNCE both ways, and a logistic loss that puts all pairs on one scale, as one threshold will judge them."""
    numbers: dict[object, int] = {}
    entity = torch.tensor([numbers.setdefault(name, len(numbers)) for _, _, name in batch])
    vectors = network(*_packed([first for first, _, _ in batch] + [second for _, second, _ in batch]))
    similarity = vectors[: len(batch)] @ vectors[len(batch) :].T
    truth = torch.eye(len(batch), dtype=torch.bool)
    # The same entity drawn twice says nothing about telling entities apart.
    unsaid = (entity[:, None] == entity[None, :]) & ~truth
    logits = (similarity / _TEMPERATURE).masked_fill(unsaid, -1e4)
    target = torch.arange(len(batch))
    contrast = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    odds = (network.slope.exp() * similarity + network.offset) * (truth.float() * 2 - 1)
    scale = -functional.logsigmoid(odds).masked_fill(unsaid, 0).sum() / len(batch)
    return contrast + 0.5 * scale


def _packed(spellings: Sequence[Ids]) -> tuple[torch.Tensor, torch.Tensor]:
    starts = np.cumsum([0, *(len(ids) for ids in spellings[:-1])])
    return torch.tensor([feature for ids in spellings for feature in ids]), torch.from_numpy(starts)
