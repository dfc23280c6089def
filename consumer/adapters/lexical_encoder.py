"""Spelling as a vector: character n-grams under a secret key, projected to a few dimensions.

Two texts that share most of their n-grams have a cosine near 1, whatever their script; a typo touches a few n-grams
and costs little. Which dimensions an n-gram falls into is decided by a keyed hash, so whoever reads vectors without
the key cannot encode a guessed name and look for it.

The projection is a count sketch with several non-zeros per n-gram (Charikar, Chen, Farach-Colton 2002; Kane and
Nelson 2014): unbiased inner products, error about 1/sqrt(dim), no vocabulary, nothing to fit on the stream.
"""

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from consumer.errors import SettingsError
from consumer.records import Embeddings, FieldValue, Floats

_REVISION = "lexical-1"
"""Part of the fingerprint; raised when the numbers change for the same options."""

_NON_ZEROS = 4
"""Columns per n-gram: four 32-bit words of the digest."""

_MAX_CHARS = 1_000
_CACHED_TOKENS = 20_000
_CACHED_TOKEN_CHARS = 48
_CACHED_GRAMS = 20_000
_CACHED_GRAM_CHARS = 3
_KEY_BYTES = (16, 64)

# Letters that no decomposition folds, though people type them both ways.
_UNDECOMPOSED = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)
# Typewriter, grave, acute, both single quotation marks, and the modifier letter.
_APOSTROPHES = re.compile("['`\u00b4\u2018\u2019\u02bc]")

_Sketch = tuple[bytes, bytes]
"""Digests (16 bytes an n-gram) and weights (float32 an n-gram) of one token."""
_NGRAMS = (1, 2, 3)


class LexicalEncoder:
    """Encode the spelling of some text fields. Implements `consumer.ports.Encoder`.

    `key` is a secret of 16 to 64 bytes, one per deployment: vectors under different keys are unrelated.
    Of each word, padded with its boundaries, it counts the n-grams; `words` is the weight of a whole word beside an
    n-gram's 1; `digits` the factor for n-grams that hold a digit, since codes and sizes tell products apart. The fields are
    read in order and their words counted together.

    Only the first 1,000 characters of a field are read. A row without a letter or a digit is absent.
    Raises SettingsError for an option that makes no sense.
    """

    def __init__(
        self,
        fields: Sequence[str],
        dim: int,
        key: bytes,
        *,
        words: float = 1.0,
        digits: float = 1.0,
    ) -> None:
        _check(fields, dim, key, words, digits)
        self._fields = tuple(fields)
        self._dim = dim
        self._key = bytes(key)
        self._words = words
        self._digits = digits
        self._cached = lru_cache(maxsize=_CACHED_TOKENS)(self._sketch)
        self._cached_digest = lru_cache(maxsize=_CACHED_GRAMS)(self._digest)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Digest of the options and, through a keyed digest, of the key; the key cannot be read from it."""
        digest = hashlib.blake2b(digest_size=16, key=self._key)
        options = (_REVISION, self._fields, self._dim, _NGRAMS, self._words, self._digits)
        digest.update(repr(options).encode())
        return digest.hexdigest()

    def encode(self, rows: Sequence[Mapping[str, FieldValue]]) -> Embeddings:
        """float32 [n, dim] unit rows. A row costs about a microsecond per distinct word once words repeat."""
        digests: list[bytes] = []
        weights: list[bytes] = []
        lengths: list[int] = []
        scales: list[float] = []
        owners: list[int] = []
        for i, row in enumerate(rows):
            counts: dict[str, int] = {}
            for token in self._tokens(row):
                counts[token] = counts.get(token, 0) + 1
            for token, count in counts.items():
                digest, weight = self._cached(token) if len(token) <= _CACHED_TOKEN_CHARS else self._sketch(token)
                digests.append(digest)
                weights.append(weight)
                lengths.append(len(weight) // 4)
                scales.append(1.0 + math.log(count) if count > 1 else 1.0)
                owners.append(i)
        return self._project(len(rows), b"".join(digests), b"".join(weights), lengths, scales, owners)

    def _tokens(self, row: Mapping[str, FieldValue]) -> list[str]:
        tokens: list[str] = []
        for name in self._fields:
            value = row.get(name)
            if isinstance(value, str):
                tokens += value[:_MAX_CHARS].split()
        return tokens

    def _sketch(self, token: str) -> _Sketch:
        grams: dict[str, float] = {}
        for word in fold(token):
            for gram, weight in self._grams(word):
                grams[gram] = grams.get(gram, 0.0) + weight
        digests = [
            self._cached_digest(gram) if len(gram) <= _CACHED_GRAM_CHARS else self._digest(gram) for gram in grams
        ]
        return b"".join(digests), np.fromiter(grams.values(), dtype="<f4", count=len(grams)).tobytes()

    def _digest(self, gram: str) -> bytes:
        content = gram.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=4 * _NON_ZEROS, key=self._key).digest()

    def _grams(self, word: str) -> list[tuple[str, float]]:
        # The start is marked in full: people abbreviate at the end and misspell there.
        padded = f"^{word}$"
        grams = [padded[i : i + n] for n in _NGRAMS for i in range(len(padded) - n + 1)]
        coded = self._weight(word) != 1.0
        weighted = [(gram, self._weight(gram) if coded else 1.0) for gram in grams]
        if self._words:
            weighted.append((f"={word}", self._words * self._weight(word)))
        return weighted

    def _weight(self, text: str) -> float:
        return self._digits if any(map(str.isdigit, text)) else 1.0

    def _project(
        self,
        n: int,
        digests: bytes,
        weights: bytes,
        lengths: Sequence[int],
        scales: Sequence[float],
        owners: Sequence[int],
    ) -> Embeddings:
        bits = np.frombuffer(digests, dtype="<u4").reshape(-1, _NON_ZEROS)
        weight = np.frombuffer(weights, dtype="<f4") * np.repeat(scales, lengths)
        row = np.repeat(np.asarray(owners, dtype=np.int64), lengths)
        # The lowest bit is the sign, the others the column.
        cells = row[:, None] * self._dim + (bits >> 1) % self._dim
        signed = np.where(bits & 1, weight[:, None], -weight[:, None])
        # bincount adds in the order of its input, so a row's sum is the same whatever rows surround it.
        sums = np.bincount(cells.ravel(), weights=signed.ravel(), minlength=n * self._dim)
        return unit_rows(sums.astype(np.float64, copy=False).reshape(n, self._dim))


def fold(token: str) -> list[str]:
    """The words of a token: compatibility forms and case folded, accents of alphabets dropped, punctuation split at.

    Apostrophes join (O'Hara is ohara). Vowel signs, nuktas and tone marks of Indic, Thai and Japanese script stay:
    they are letters there, not accents.
    """
    if token.isascii():
        folded = token.lower()
    else:
        composed = unicodedata.normalize("NFKC", token).casefold().translate(_UNDECOMPOSED)
        letters = (c for c in unicodedata.normalize("NFKD", composed) if not _is_accent(c))
        folded = unicodedata.normalize("NFC", "".join(letters))
    folded = _APOSTROPHES.sub("", folded)
    return "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded).split()


def _is_accent(character: str) -> bool:
    # Classes 10-36 are the optional points of Hebrew, Arabic and Syriac; 200 and up the accents of Latin, Greek and
    # Cyrillic. Others (7-9 nukta, kana voicing, virama; 103-132 Thai to Tibetan) change the letter.
    combining = unicodedata.combining(character)
    return 10 <= combining <= 36 or combining >= 200


def unit_rows(sums: npt.NDArray[np.float64]) -> Embeddings:
    """Rows scaled to length 1; rows that are all but zero are absent."""
    norms = np.sqrt(np.einsum("ij,ij->i", sums, sums))
    present = norms > 1e-9
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=present)
    vectors: Floats = (sums * scale[:, None]).astype(np.float32)
    return Embeddings(vectors, present)


def _check(fields: Sequence[str], dim: int, key: bytes, words: float, digits: float) -> None:
    faults: list[str] = []
    if not fields:
        faults.append("fields: at least one is needed")
    if dim < 8:
        faults.append(f"dim: {dim} is too small to tell texts apart; use 32 or more")
    if not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
        faults.append(f"key: {len(key)} bytes; use {_KEY_BYTES[0]} to {_KEY_BYTES[1]} random bytes")
    if words < 0 or digits <= 0:
        faults.append("words must be 0 or more and digits above 0")
    if faults:
        raise SettingsError("lexical encoder: " + "\n".join(faults))
