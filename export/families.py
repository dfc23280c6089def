"""What to train on besides labelled sets: families of four entities that are easily taken for each other."""

from collections.abc import Sequence
from random import Random

from export import goods, people

SIZE = 4

Pair = tuple[str, str]
"""Two spellings of one entity."""

Family = Sequence[Pair]

PEOPLE = 0.6


def generated(count: int, seed: int, share_of_people: float = PEOPLE) -> list[Family]:
    """`count` families, a share of them of people in 28 locales, the others of things."""
    chance = Random(seed)
    pools = people.pools(seed)
    weights = people.weights(pools)
    return [
        people.family(chance.choices(pools, weights)[0], SIZE, chance)
        if chance.random() < share_of_people
        else goods.family(SIZE, chance)
        for _ in range(count)
    ]
