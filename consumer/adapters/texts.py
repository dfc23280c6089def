"""What the text encoders share: the text of a row, and its batches by length."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from consumer.records import FieldValue, Integers

Ids = Sequence[int] | Integers
"""Of one text, as a model reads it."""
JOINER = ", "
MAX_CHARACTERS = 2_000
"""Of a text that are read. A model of 64 tokens sees less, and a title of 10 MB is no reason to tokenise 10 MB."""
MAX_ROWS = 256
"""In a batch, whatever their length: bounds the shapes that an engine of TensorRT is built for."""


def text_of(row: Mapping[str, FieldValue], fields: Sequence[str]) -> str:
    """The text of a row as it is tokenised: valid Unicode of at most MAX_CHARACTERS, empty where there is none."""
    parts = (_text(row[field]).strip() for field in fields if field in row)
    text = JOINER.join(part for part in parts if part)[:MAX_CHARACTERS]
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON may carry half a surrogate pair, which no tokenizer takes. Two halves that meet become one character.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _text(value: FieldValue) -> str:
    if isinstance(value, str):
        return value[:MAX_CHARACTERS]
    if isinstance(value, Sequence):
        return " ".join(str(part)[:MAX_CHARACTERS] for part in itertools.islice(value, MAX_CHARACTERS))
    return f"{value:g}"


def batches(ordered: Sequence[tuple[int, Ids]], budget: int) -> Iterator[Sequence[tuple[int, Ids]]]:
    """Runs of (row, ids), which come shortest first, whose padded size is within the budget; one row to MAX_ROWS each."""
    start = 0
    for at, (_, ids) in enumerate(ordered):
        if at > start and ((at - start + 1) * len(ids) > budget or at - start == MAX_ROWS):
            yield ordered[start:at]
            start = at
    if start < len(ordered):
        yield ordered[start:]
