"""The subword encoder in torch: its sum, its loss and its training."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from consumer.adapters.subword_tokens import IDS, KINDS, features
from export import vocabulary
from export.families import SIZE, Family
from export.labelled import LabelledSet

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32] | Sequence[int]
Member = tuple[Ids, Ids, object]
"""Features of two spellings of one entity, and what tells it from the others of a batch."""

_TEMPERATURE = 0.06
_NEIGHBOURS = 25
_PROSE = 200_000
"""Words of English that rarity is counted on, beside the texts of training, by their share in `vocabulary`."""
_PROSE_WORDS = 5
"""Of a text."""
_FAMILIES = 64
_GENERATED_SHARE = 0.45
_CORRUPTED_SHARE = 0.15
_TABLE_RATE, _WEIGHT_RATE, _REST_RATE = 2e-4, 2.8e-3, 3e-3
_WARM_UP = 50
_MEMORY, _LONG, _LEAST = 0.9, 0.999, 1e-8
_NOTHING = (0,)
# Where the worth of each kind starts: codes over words, letters over words, since a typo spoils a word whole.
_WORTH = (1.6, 1.1, 0.7, 0.65, 1.6, 3.0, 0.9, 0.8, 0.7, 0.8, 0.7, 1.2, 1.2)


class Network(torch.nn.Module):
    """A row per feature, times its weight, times the worth of its kind; summed; scaled to length 1.

    Rows start at random, so features that training never meets still tell spellings apart, as a random projection.
    """

    def __init__(self, dim: int, rarity: Floats, seed: int) -> None:
        super().__init__()
        start = functional.normalize(torch.randn(IDS, dim, generator=torch.Generator().manual_seed(seed)), dim=1)
        self.table = torch.nn.Embedding(IDS, dim)
        self.table.weight.data = start
        self.weight = torch.nn.Embedding(IDS, 1)
        self.weight.weight.data = torch.from_numpy(rarity)[:, None].clone()
        self.worth = torch.nn.Parameter(torch.tensor(_WORTH).log())
        # How much rarity counts within a kind: what was never seen may be a rare name, or a slip of the keyboard. Not
        # for codes: those that are generated are all equally rare, and what is learned from them is wrong elsewhere.
        self.bend = torch.nn.Parameter(torch.zeros(len(KINDS)))
        self.register_buffer("bends", torch.tensor([0.0 if "code" in kind else 1.0 for kind in KINDS]))
        self.register_buffer("rarity", torch.from_numpy(rarity).log())
        self.later = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("kind", torch.repeat_interleave(torch.arange(len(KINDS)), torch.tensor([*KINDS.values()])))
        self.slope = torch.nn.Parameter(torch.tensor(2.7))
        self.offset = torch.nn.Parameter(torch.tensor(-9.0))

    def forward(self, ids: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Features int64 [m] of all texts in a row, and where each text starts, int64 [n], to float32 [n, dim]."""
        which, places = torch.unique(ids % IDS, return_inverse=True)
        return self.pooled(ids, places, starts, self.table.weight[which], self.weight.weight[which])

    def pooled(
        self,
        ids: torch.Tensor,
        places: torch.Tensor,
        starts: torch.Tensor,
        table: torch.Tensor,
        weight: torch.Tensor,
    ) -> torch.Tensor:
        """The same, from the rows that the features meet: `places` is where each feature finds its row in them."""
        later = torch.where(ids >= IDS, self.later.exp(), 1.0)
        weights = weight[places].squeeze(1) * self.factors(ids % IDS) * later
        sums = functional.embedding_bag(places, table, starts, mode="sum", per_sample_weights=weights)
        return functional.normalize(sums, dim=1)

    def factors(self, ids: torch.Tensor) -> torch.Tensor:
        """What features weigh before each has learned its own."""
        kind = self.kind[ids]
        return (self.worth[kind] + (self.bend * self.bends)[kind] * self.rarity[ids]).exp()

    def rows(self) -> Floats:
        """float32 [IDS, dim]: everything learned about a feature in one row."""
        with torch.no_grad():
            rows = self.table.weight * self.weight.weight * self.factors(torch.arange(IDS))[:, None]
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
    rows = [_Rows(network.table.weight.data, _TABLE_RATE), _Rows(network.weight.weight.data, _WEIGHT_RATE)]
    rest = torch.optim.Adam([network.worth, network.bend, network.later, network.slope, network.offset], lr=_REST_RATE)
    started = time.monotonic()
    for step in range(steps):
        pace = min(1.0, (step + 1) / _WARM_UP) * (1 - 0.9 * step / steps)
        loss = _step(network, next(batches), rows, rest, pace)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss:.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return network


def encode(network: Network, spellings: Sequence[Ids], batch: int = 2_000) -> Floats:
    """float32 unit rows [n, dim]; every spelling has a feature."""
    with torch.no_grad():
        parts = [network(*_packed(spellings[at : at + batch])).numpy() for at in range(0, len(spellings), batch)]
    return np.concatenate(parts)


def _prepare(labelled: LabelledSet, chance: Random) -> Prepared:
    members: dict[str, list[int]] = {}
    for row, entity in enumerate(labelled.entities):
        members.setdefault(entity, []).append(row)
    corrupted = [_ids(labelled.corrupt(text, chance)) for text in labelled.texts]
    return Prepared([_ids(text) for text in labelled.texts], corrupted, labelled.entities, members)


def _ids(text: str) -> Ids:
    return np.array(features(text) or _NOTHING, np.int32)


def _rarity(prepared: Sequence[Prepared], drawn: Sequence[Sequence[Member]]) -> Floats:
    """Inverse document frequency of each feature, 1 for one that was never seen."""
    spellings = [ids for one in prepared for ids in one.spellings]
    spellings += [ids for family in drawn for pair in family for ids in pair[:2]]
    counts = np.ones(IDS)
    for word, share in zip(vocabulary.words(), vocabulary.shares(), strict=True):
        counts[features(word)] += share * _PROSE
    for ids in spellings:
        counts[np.asarray(ids) % IDS] += 1
    rarity = np.log(1 + (len(spellings) + _PROSE / _PROSE_WORDS) / counts)
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


class _Rows:
    """Adam over the rows of a table that a batch meets, with one second moment a row: the table itself is too large."""

    def __init__(self, table: torch.Tensor, rate: float) -> None:
        self.table, self._rate = table, rate
        self._mean, self._square = torch.zeros_like(table), torch.zeros(len(table), 1)
        self._steps = 0

    def step(self, which: torch.Tensor, gradient: torch.Tensor, pace: float) -> None:
        self._steps += 1
        mean = self._mean[which].mul_(_MEMORY).add_(gradient, alpha=1 - _MEMORY)
        square = self._square[which].mul_(_LONG).add_(gradient.square().mean(1, keepdim=True), alpha=1 - _LONG)
        self._mean[which], self._square[which] = mean, square
        scale = self._rate * pace * math.sqrt(1 - _LONG**self._steps) / (1 - _MEMORY**self._steps)
        self.table.index_add_(0, which, mean.div_(square.sqrt_().add_(_LEAST)), alpha=-scale)


def _step(
    network: Network, batch: Sequence[Member], rows: Sequence[_Rows], rest: torch.optim.Optimizer, pace: float
) -> float:
    """One step on the rows that the batch meets; the loss before it."""
    ids, starts = _packed([first for first, _, _ in batch] + [second for _, second, _ in batch])
    which, places = torch.unique(ids % IDS, return_inverse=True)
    table, weight = (one.table[which].requires_grad_() for one in rows)
    loss = _loss(network, network.pooled(ids, places, starts, table, weight), batch)
    rest.zero_grad()
    loss.backward()
    rest.step()
    for one, met in zip(rows, (table, weight), strict=True):
        one.step(which, met.grad, pace)
    return float(loss.item())


def _loss(network: Network, vectors: torch.Tensor, batch: Sequence[Member]) -> torch.Tensor:
    """InfoNCE both ways, and a logistic loss that puts all pairs on one scale, as one threshold will judge them."""
    numbers: dict[object, int] = {}
    entity = torch.tensor([numbers.setdefault(name, len(numbers)) for _, _, name in batch])
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
    return torch.from_numpy(np.concatenate([np.asarray(ids, np.int64) for ids in spellings])), torch.from_numpy(starts)
