"""Names in and out of Hangul: how Latin names sound in it, and the many ways Korean names are spelled in Latin letters.

Rules of thumb with chance in them; common knowledge, copied from no data set.
"""

import re
from collections.abc import Sequence
from random import Random

from anyascii import anyascii

# Jamo in the order of Unicode, romanised.
_ONSETS = "g gg n d dd l m b bb s ss - j jj ch k t p h".split()
_VOWELS = "a ae ya yae eo e yeo ye o wa wae oe yo u weo we wi yu eu ui i".split()
_CODAS = {"": 0, "k": 1, "n": 4, "l": 8, "m": 16, "p": 17, "s": 19, "ng": 21, "t": 19}

# First what is heard: spelling → sounds, of which the first that fits is taken; options are drawn.
_HEARD: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tsch|tch|tch|cz|č|ch", ("ch", "ch", "ch", "k", "sy")), ("sch|sh", ("sy",)), ("ph|ff|f", ("p",)),
    ("th", ("s", "t", "d")), ("ck|kk|q", ("k",)), ("x", ("ks",)), ("ngs?$", ("ng",)), ("ts|tz", ("ch", "j")),
    ("zh|j|dj|dg", ("j", "j", "j", "h")), ("z", ("j", "s")), ("kh", ("h", "k")), ("gh", ("", "g")),
    ("c(?=[eiy])", ("s",)), ("c", ("k",)), ("g(?=[eiy])", ("j", "g")), ("v", ("b",)), ("w", ("w", "b")),
    ("er$|or$|ar$", ("eo", "e", "a")), ("h(?=[^aeiouy]|$)", ("",)), ("rr|r$|r(?=[^aeiouy])", ("", "l")), ("r", ("l",)), ("(.)\\1", ("\\1",)), ("e$", ("", "", "e")), ("y$", ("i",)),
    ("ee|ea", ("i", "e")), ("oo|ou", ("u", "au")), ("ai|ay|ei|ey", ("ei", "ai", "i")), ("ow|au", ("o", "au")),
    ("a(?=.e$)", ("ei", "a")), ("a", ("a", "a", "ae", "eo")), ("i(?=.e$)", ("ai",)),
    ("o", ("o", "o", "eo")), ("u", ("u", "eo", "yu")), ("e", ("e", "e", "eo", "i")),
)  # fmt: skip
_SOUND = re.compile(
    "|".join(sorted((*_VOWELS, *filter(str.isalpha, _ONSETS), "ng", "sy", "w", "y"), key=len, reverse=True))
)

_SURNAMES = dict(
    line.split(" ", 1)
    for line in """김 Kim Kim Kim Gim
이 Lee Lee Yi Rhee Li I Ri
박 Park Park Pak Bak
최 Choi Choi Choe
정 Jung Jeong Chung Chong Jong
강 Kang Gang
조 Cho Jo
윤 Yoon Yun
장 Jang Chang
임 Lim Im Rim
오 Oh O
한 Han
신 Shin Sin
서 Seo Suh So
권 Kwon Gwon
황 Hwang Whang
안 An Ahn
송 Song
유 Yoo Yu Ryu You
류 Ryu Yoo
홍 Hong
전 Jeon Jun Chun
고 Ko Go Koh
문 Moon Mun
손 Son Sohn
양 Yang
배 Bae Pae
백 Baek Paik Paek
허 Heo Hur Huh
남 Nam
심 Shim Sim
노 Noh No Roh Ro
하 Ha
주 Joo Ju Chu
구 Koo Gu Ku
곽 Kwak Gwak
우 Woo Wu U
나 Na Ra
민 Min
진 Jin Chin
지 Ji Chi
엄 Um Eom
채 Chae
원 Won
천 Chun Cheon
방 Bang Pang
공 Kong Gong
현 Hyun Hyeon
함 Ham
변 Byun Byeon
염 Yeom Yum
여 Yeo Yuh
추 Choo Chu
도 Do To
소 So
석 Seok Suk
선 Sun Seon
설 Seol Sul
마 Ma
길 Gil Kil
연 Yeon Youn
위 Wi
표 Pyo
명 Myung Myeong
기 Ki Gi
반 Ban Pan
라 Ra
왕 Wang
금 Geum Keum
옥 Ok
육 Yook Yuk
인 In
맹 Maeng
제 Je
모 Mo
탁 Tak
국 Kook Guk""".splitlines()
)

# Revised romanisation → what people write instead.
_WRITTEN = (
    ("weo", ("wo",)), ("yeo", ("yeo", "you", "yu", "yo")), ("eo", ("eo", "u", "o", "uh")), ("eu", ("eu", "u")),
    ("ui", ("ui", "ee", "i", "hee")), ("u", ("u", "oo")), ("i", ("i", "i", "i", "ee")), ("^g", ("k", "g")),
    ("^d", ("d", "d", "t")), ("^b", ("b", "b", "p")), ("^j", ("j", "j", "ch")), ("^l", ("r", "l")), ("g$", ("k",)),
    ("d$|s$", ("t",)), ("b$", ("p",)), ("ae", ("ae", "ae", "ai")),
)  # fmt: skip


def hangul(word: str, chance: Random) -> str:
    """A Latin word as it is written in Hangul; the word itself where nothing of it can be."""
    text = "".join(filter(str.isalpha, anyascii(word).lower()))
    for pattern, options in _HEARD:
        text = _heard(text, pattern, options, chance)
    return _composed(_SOUND.findall(text)) or word


def _heard(text: str, pattern: str, options: Sequence[str], chance: Random) -> str:
    return re.sub(pattern, lambda found: found.expand(chance.choice(options)), text)


def _composed(sounds: list[str]) -> str:
    """Sounds into syllables: a consonant without a vowel closes the one before, or gets the vowel that is none."""
    syllables: list[list[int]] = []
    onset = ""
    for at, sound in enumerate(sounds):
        after = sounds[at + 1] if at + 1 < len(sounds) else ""
        if sound in _VOWELS:
            vowel = "y" + sound if onset in {"y", "sy"} and "y" + sound in _VOWELS else sound
            if onset == "w":
                vowel = {"a": "wa", "ae": "wae", "eo": "weo", "o": "weo", "e": "we", "i": "wi"}.get(sound, "u")
            first = _ONSETS.index({"sy": "s", "y": "-", "w": "-", "": "-"}.get(onset, onset))
            syllables.append([first, _VOWELS.index(vowel), 0])
            onset = ""
            continue
        if onset:
            syllables.append([_ONSETS.index({"sy": "s", "w": "-", "y": "-"}.get(onset, onset)), _silent(onset), 0])
            onset = ""
        open_before = bool(syllables) and syllables[-1][2] == 0
        if sound == "l" and open_before and after in _VOWELS:
            # Between vowels l is long, r is not; which it was is not known here.
            syllables[-1][2] = _CODAS["l"] if at % 2 else 0
        if open_before and after not in _VOWELS and sound in _CODAS and sound not in {"s", "t", ""}:
            syllables[-1][2] = _CODAS[sound]
        elif sound == "ng":
            syllables.append([_ONSETS.index("-"), _VOWELS.index("eu"), _CODAS["ng"]])
        else:
            onset = sound
    if onset:
        syllables.append([_ONSETS.index({"sy": "s", "w": "-", "y": "-"}.get(onset, onset)), _silent(onset), 0])
    return "".join(chr(0xAC00 + (first * 21 + vowel) * 28 + coda) for first, vowel, coda in syllables)


def _silent(onset: str) -> int:
    return _VOWELS.index({"ch": "i", "j": "i", "sy": "i", "w": "u", "y": "i"}.get(onset, "eu"))


def romanised(surname: str, given: str, chance: Random) -> str:
    """A Korean name in Latin letters, as its bearer might write it: variants, order, hyphen or not."""
    family = chance.choice(_SURNAMES.get(surname, anyascii(surname)).split())
    syllables = [_written(anyascii(syllable).lower(), chance) for syllable in given]
    name = chance.choice(("-", "-", " ", "")).join(syllables).capitalize()
    if chance.random() < 0.3:
        name = name.title()
    return f"{family} {name}" if chance.random() < 0.7 else f"{name} {family}"


def _written(syllable: str, chance: Random) -> str:
    for pattern, options in _WRITTEN:
        changed = re.sub(pattern, chance.choice(options), syllable)
        if changed != syllable:
            syllable = changed
            if chance.random() < 0.5:
                break
    return syllable
