"""Families of things with a title that are easily taken for each other, made up from a seed: products, books, songs."""

from random import Random

from export import corpus, vocabulary
from export.codes import code, size
from export.titles import sibling, title

_SYLLABLES = (  # of invented brands
    "ka", "ni", "so", "te", "lu", "vi", "ro", "ma", "do", "pi", "zen", "tra", "bel", "cor", "fen", "gra", "hal",
    "jun", "kor", "lin", "mor", "nex", "pan", "qua", "ras", "sol", "tan", "ur", "vex", "wil", "yam", "zor",
)  # fmt: skip


def family(members: int, chance: Random) -> list[tuple[str, str]]:
    """`members` things, the second to last near variants of the first; two titles of each."""
    text = _product(chance) if chance.random() < 0.7 else _work(chance)
    texts = {text: None}
    while len(texts) < members:
        texts[sibling(text if chance.random() < 0.7 else _like(text, chance), chance)] = None
    return [(one, title(one, chance)) for one in texts]


def _product(chance: Random) -> str:
    words = [_brand(chance)] if chance.random() < 0.85 else []
    words += [code(chance) for _ in range(chance.choice((0, 1, 1, 1, 2)))]
    words += vocabulary.draw(chance.randrange(1, 6), chance)
    if chance.random() < 0.5:
        words.append(chance.choice(corpus.THINGS))
    words += [size(chance) for _ in range(chance.choice((0, 0, 1, 1, 2, 3)))]
    if chance.random() < 0.3:
        words.append(chance.choice(corpus.TRAITS))
    if chance.random() < 0.4:
        chance.shuffle(words)
    text = " ".join(words)
    return text if chance.random() < 0.5 else text.title() if chance.random() < 0.7 else text.lower()


def _work(chance: Random) -> str:
    """A book, a paper, a film or a song; now and then with who made it."""
    words = vocabulary.draw(chance.choice((1, 2, 2, 3, 4, 5, 6, 8, 10)), chance)
    if chance.random() < 0.4:
        words = [*vocabulary.draw(2, chance), *words]
    if chance.random() < 0.15:
        words.append(f"{chance.choice(('part', 'vol.', 'season', '#', 'no.'))} {chance.randrange(1, 30)}")
    return " ".join(words)


def _brand(chance: Random) -> str:
    kind = chance.random()
    if kind < 0.2:
        return chance.choice(corpus.BRANDS)
    if kind < 0.6:
        return vocabulary.draw(1, chance)[0].capitalize()
    return "".join(chance.choices(_SYLLABLES, k=chance.randrange(2, 4))).capitalize()


def _like(text: str, chance: Random) -> str:
    """The same kind of thing under the same brand: half of its words are others."""
    words = text.split()
    for at in range(1, len(words)):
        if chance.random() < 0.5:
            words[at] = code(chance) if any(map(str.isdigit, words[at])) else vocabulary.draw(1, chance)[0]
    return " ".join(words)
