"""English words from the commonest to the rare: the order of the vocabulary of the MiniLM tokenizer that is shipped.

BERT's WordPiece vocabulary is sorted by how common its entries are, so a rank in it stands for a frequency (Zipf).
"""

import json
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from random import Random

from export.errors import ExportError

TOKENIZER = Path(__file__).parents[1] / "models" / "onnx" / "all-minilm-l6-v2" / "tokenizer.json"
_OFFSET = 40
"""Added to a rank: in names and titles the commonest words are rarer than in prose."""


@lru_cache(maxsize=1)
def words() -> list[str]:
    """About 20,000 words of letters, commonest first. Raises ExportError when the tokenizer cannot be read."""
    try:
        ranks = json.loads(TOKENIZER.read_bytes())["model"]["vocab"]
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"{TOKENIZER}: not the vocabulary that training samples words from ({error!r})") from error
    return [
        word for word in sorted(ranks, key=ranks.__getitem__) if word.isalpha() and word.isascii() and len(word) > 1
    ]


@lru_cache(maxsize=1)
def shares() -> list[float]:
    """How often each of `words` is drawn, of all draws."""
    weights = [1 / (rank + _OFFSET) for rank in range(len(words()))]
    whole = sum(weights)
    return [weight / whole for weight in weights]


@lru_cache(maxsize=1)
def _cumulative() -> list[float]:
    return list(accumulate(shares()))


def draw(count: int, chance: Random) -> list[str]:
    """`count` words, common ones more often."""
    return chance.choices(words(), cum_weights=_cumulative(), k=count)
