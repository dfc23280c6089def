"""How another shop or library words the title of the same thing, and what a near variant is called."""

import string
from random import Random

from export import vocabulary
from export.codes import code, has_digit, reformatted, size
from export.slips import slip

# Of shops in several languages: what says nothing about the thing.
_NOISE = """new original free shipping wholesale price sale hot best quality genuine used refurbished oem retail box promo
cheap official buy online in stock warranty kit pack bundle black white with for by the and nuevo envio gratis oferta
original barato neu versandkostenfrei angebot kaufen neuf livraison gratuite pas cher nuovo offerta spedizione gratuita
murah termurah terbaru ready stok promo grosir garansi resmi bisa cod pria wanita anak import premium terlaris bonus
novo frete barato nowy tanio nieuw goedkoop gratis women men kids fashion style hq 2019 2020 limited edition""".split()
_OTHER = ("ii", "pro", "max", "mini", "red", "blue", "part 2", "plus", "2", "iii", "black", "xl", "s", "lite")


def title(text: str, chance: Random) -> str:
    """Another wording of the same. Words with a digit mostly stay: they are what the thing is."""
    words = text.split()
    for _ in range(chance.choice((1, 2, 3, 4, 6, 8)) if words else 0):
        words = _changed(words, chance)
    changed = " ".join(words) or text
    return changed.lower() if chance.random() < 0.3 else changed


def sibling(text: str, chance: Random) -> str:
    """Another thing of the same family: one digit of a code or a size differs, or a word."""
    words = text.split()
    codes = [at for at, word in enumerate(words) if has_digit(word)]
    if codes and chance.random() < 0.85:
        at = chance.choice(codes)
        digit = chance.choice([place for place, letter in enumerate(words[at]) if letter.isdigit()])
        other = chance.choice([letter for letter in string.digits if letter != words[at][digit]])
        words[at] = words[at][:digit] + other + words[at][digit + 1 :]
    elif words:
        words[chance.randrange(len(words))] = chance.choice((chance.choice(_OTHER), *vocabulary.draw(1, chance)))
    changed = " ".join(words)
    return changed if changed != text else f"{text} 2"


def _more(chance: Random) -> str:
    kind = chance.random()
    if kind < 0.5:
        return chance.choice(_NOISE)
    return vocabulary.draw(1, chance)[0] if kind < 0.93 else _number(chance)


def _number(chance: Random) -> str:
    """One that says nothing about the thing: the shop's own, a price, a size that the other shop leaves out."""
    return chance.choice((code(chance), size(chance), str(chance.randrange(1, 1000)), f"{chance.randrange(1, 100)}%"))


def _changed(words: list[str], chance: Random) -> list[str]:
    words = list(words)
    at = chance.randrange(len(words))
    change = chance.random()
    if change < 0.17:
        word = _more(chance)
        words.insert(chance.randrange(len(words) + 1), word)
    elif change < 0.42:
        if len(words) > 2 and (not has_digit(words[at]) or chance.random() < 0.12):
            words.pop(at)
    elif change < 0.52:
        words.insert(chance.randrange(len(words)), words.pop(at))
    elif change < 0.6:
        words = words[at:] + words[:at]
    elif change < 0.72:
        words[at] = slip(words[at], chance) if words[at].isalpha() else words[at]
    elif change < 0.93:
        words = reformatted(" ".join(words), chance).split()
    elif words[at].isalpha() and len(words[at]) > 4:
        words[at] = words[at][: chance.randrange(3, 5)] + chance.choice(("", "."))
    return words or ["x"]
