"""Names from one script to another, sound by sound, with the variants that people and registries produce.

Rules of thumb with chance in them; common knowledge, copied from no data set.
"""

# ruff: noqa: RUF001  # letters that look like Latin ones are what this file is about

import re
from collections.abc import Mapping
from random import Random

from anyascii import anyascii

from export.hangul import hangul

# Longest first. Several letters in one string: one of them is drawn; "_" is none.
_CYRILLIC = {
    "shch": "щ", "sch": "ш", "sh": "ш", "tch": "ч", "ch": "ч", "zh": "ж", "kh": "х", "ts": "ц", "tz": "ц", "ya": "я",
    "yu": "ю", "yo": "ё", "ye": "е", "ph": "ф", "th": "т", "ck": "к", "oo": "у", "ee": "и", "ai": "ай", "ay": "ей",
    "a": "а", "b": "б", "c": "кс", "d": "д", "e": "еэ", "f": "ф", "g": "г", "h": "хг", "i": "и", "j": "дй", "k": "к",
    "l": "л", "m": "м", "n": "н", "o": "о", "p": "п", "q": "к", "r": "р", "s": "с", "t": "т", "u": "ую", "v": "в",
    "w": "ву", "x": "к", "y": "йи", "z": "з",
}  # fmt: skip
_GREEK = {
    "th": "θ", "ph": "φ", "ch": "χ", "ps": "ψ", "sh": "σ", "ou": "υ", "ck": "κ", "oo": "υ", "ee": "ι",
    "a": "α", "b": "β", "c": "κ", "d": "δ", "e": "εη", "f": "φ", "g": "γ", "h": "χ_", "i": "ι", "j": "τ", "k": "κ",
    "l": "λ", "m": "μ", "n": "ν", "o": "οω", "p": "π", "q": "κ", "r": "ρ", "s": "σ", "t": "τ", "u": "υ", "v": "β",
    "w": "β", "x": "ξ", "y": "υι", "z": "ζ",
}  # fmt: skip
_ARABIC = {
    "sh": "ش", "ch": "تش", "th": "ثت", "kh": "خ", "gh": "غ", "dh": "ذ", "ph": "ف", "ee": "ي", "oo": "و", "ou": "و",
    "ck": "ك", "aa": "ا", "ai": "ي", "ay": "ي",
    "a": "ا_اع", "b": "ب", "c": "كس", "d": "دض", "e": "_ي_", "f": "ف", "g": "جغ", "h": "هح", "i": "ي_", "j": "ج",
    "k": "كق", "l": "ل", "m": "م", "n": "ن", "o": "و_", "p": "ب", "q": "ق", "r": "ر", "s": "سص", "t": "تط", "u": "و_",
    "v": "ف", "w": "و", "x": "ك", "y": "ي", "z": "زظ",
}  # fmt: skip
_HEBREW = {
    "sh": "ש", "ch": "חצ", "tz": "צ", "ts": "צ", "th": "ת", "kh": "ח", "ph": "פ", "ee": "י", "oo": "ו", "ou": "ו",
    "ck": "ק", "ai": "י", "ay": "י",
    "a": "א__ע", "b": "ב", "c": "קכ", "d": "ד", "e": "__אי", "f": "פ", "g": "ג", "h": "הח", "i": "י_", "j": "גי",
    "k": "קכ", "l": "ל", "m": "מ", "n": "נ", "o": "ו_", "p": "פ", "q": "ק", "r": "ר", "s": "ס", "t": "טת", "u": "ו",
    "v": "ובו", "w": "ו", "x": "ק", "y": "י", "z": "ז",
}  # fmt: skip
_FINAL = {"σ": "ς", "מ": "ם", "נ": "ן", "צ": "ץ", "כ": "ך"}

_KANA = {
    consonant: row.split()
    for consonant, row in {
        "": "ア イ ウ エ オ", "k": "カ キ ク ケ コ", "s": "サ シ ス セ ソ", "t": "タ チ ト テ ト", "n": "ナ ニ ヌ ネ ノ",
        "h": "ハ ヒ フ ヘ ホ", "m": "マ ミ ム メ モ", "y": "ヤ イ ユ イェ ヨ", "r": "ラ リ ル レ ロ", "w": "ワ ウィ ウ ウェ ウォ",
        "g": "ガ ギ グ ゲ ゴ", "z": "ザ ジ ズ ゼ ゾ", "d": "ダ ディ ド デ ド", "b": "バ ビ ブ ベ ボ", "p": "パ ピ プ ペ ポ",
        "f": "ファ フィ フ フェ フォ", "j": "ジャ ジ ジュ ジェ ジョ", "ch": "チャ チ チュ チェ チョ", "sh": "シャ シ シュ シェ ショ",
    }.items()
}  # fmt: skip
_VOWELS = "aiueo"
_SILENT = re.compile(r"(?<=[aeiou])h(?![aeiouy])")
_AS_KANA = {"l": "r", "v": "b", "c": "k", "q": "k", "x": "k"}


def foreign(name: str, chance: Random) -> str:
    """A Latin name in another script, most often in Hangul; the words keep their order."""
    words = _SILENT.sub("", anyascii(name).lower()).split()
    script = chance.choices(("hangul", "kana", "cyrillic", "greek", "arabic", "hebrew"), (8, 2, 4, 1, 3, 3))[0]
    if script == "hangul":
        return " ".join(hangul(word, chance) for word in words)
    if script == "kana":
        return chance.choice((" ", "・")).join(_kana(word) for word in words)
    letters = {"cyrillic": _CYRILLIC, "greek": _GREEK, "arabic": _ARABIC, "hebrew": _HEBREW}[script]
    written = [_written(word, letters, chance) for word in words]
    return " ".join(word.capitalize() for word in written if word) or name


def chinese(surname: str, given: str, chance: Random) -> str:
    """A Chinese name in Latin letters: pinyin, or nearly Wade-Giles; either order."""
    family, syllables = anyascii(surname), [anyascii(one) for one in given]
    name = chance.choice(("", "", "", "-", " ")).join(syllables).capitalize()
    if chance.random() < 0.25:
        for old, new in (("zh", "ch"), ("x", "hs"), ("q", "ch"), ("c", "ts"), ("b", "p"), ("d", "t"), ("g", "k")):
            if chance.random() < 0.6:
                family, name = (one.lower().replace(old, new).capitalize() for one in (family, name))
    return f"{family} {name}" if chance.random() < 0.6 else f"{name} {family}"


def _written(word: str, letters: Mapping[str, str], chance: Random) -> str:
    written, at = "", 0
    while at < len(word):
        for length in (4, 3, 2, 1):
            piece = word[at : at + length]
            if len(piece) == length and piece in letters:
                written += letters[piece] if length > 1 and len(letters[piece]) > 1 else chance.choice(letters[piece])
                at += length
                break
        else:
            at += 1
    written = written.replace("_", "")
    return written[:-1] + _FINAL.get(written[-1:], written[-1:])


def _kana(word: str) -> str:
    written, at = "", 0
    word = word.replace("th", "s").replace("ck", "k").replace("ph", "f")
    while at < len(word):
        piece = word[at : at + 2] if word[at : at + 2] in _KANA else word[at]
        at += len(piece)
        piece = _AS_KANA.get(piece, piece)
        if piece in _VOWELS:
            written += _KANA[""][_VOWELS.index(piece)]
        elif piece == "n" and word[at : at + 1] not in _VOWELS:
            written += "ン"
        elif piece in _KANA:
            vowel = word[at : at + 1]
            known = bool(vowel) and vowel in _VOWELS
            written += _KANA[piece][_VOWELS.index(vowel) if known else 2]
            at += known
    return written or word
