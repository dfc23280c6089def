"""What to train on besides labelled sets: families of four entities that are easily taken for each other."""

from collections.abc import Sequence
from random import Random

from export import goods, people

SIZE = 4

Pair = tuple[str, str]
"""Two spellings of one entity."""

Family = Sequence[Pair]

_PEOPLE = 0.6


def generated(count: int, seed: int) -> list[Family]:
    """`count` families, three in five of people in 28 locales, the others of things."""
    chance = Random(seed)
    pools = people.pools(seed)
    weights = people.weights(pools)
    return [
        people.family(chance.choices(pools, weights)[0], SIZE, chance)
        if chance.random() < _PEOPLE
        else goods.family(SIZE, chance)
        for _ in range(count)
    ]
