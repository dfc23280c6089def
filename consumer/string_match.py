"""The baseline of the CRM paper that duplicates are measured against: records whose texts are spelt alike."""

import difflib
from collections.abc import Mapping

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from consumer.pairs import PairTable
from consumer.profile import LexicalModality, Profile, TextModality

RATIO = 0.85
"""From which two records are taken for one."""


def string_match(table: PairTable, values: Mapping[str, Mapping[str, object]], profile: Profile) -> dict[str, int]:
    """Record → cluster: texts joined, alike by `difflib` from RATIO on, closed transitively.

    Only candidate pairs are compared: all pairs would take days on a large file.
    """
    fields = _text_fields(profile)
    texts = [" ".join(str(values[r].get(f) or "") for f in fields).lower() for r in table.ids]
    alike = np.zeros(len(table.later), bool)
    for pair, (later, earlier) in enumerate(zip(table.later.tolist(), table.earlier.tolist(), strict=True)):
        matcher = difflib.SequenceMatcher(None, texts[later], texts[earlier])
        quick = matcher.real_quick_ratio() >= RATIO and matcher.quick_ratio() >= RATIO
        alike[pair] = quick and matcher.ratio() >= RATIO
    size = len(table.ids)
    edges = coo_array((np.ones(alike.sum()), (table.later[alike], table.earlier[alike])), shape=(size, size))
    _, labels = connected_components(edges, directed=False)
    return dict(zip(table.ids, labels.tolist(), strict=True))


def _text_fields(profile: Profile) -> list[str]:
    """The fields whose words are compared, in the profile's order."""
    modalities = [m for m in profile.modalities.values() if isinstance(m, LexicalModality | TextModality)]
    return list(dict.fromkeys(field for m in modalities for field in m.fields))
