"""How much memory this process may use before its container is killed for it."""

from collections.abc import Iterator
from pathlib import Path

from consumer.container import CONTROL_GROUPS, OWN_GROUPS, groups, read

_NO_LIMIT_BYTES = 2**60
"""Version 1 says a number near 2^63 for none."""


def memory_limit_bytes(control_groups: Path = CONTROL_GROUPS, own_groups: Path = OWN_GROUPS) -> int:
    """The least limit of its control group and all groups above; 0 where there is none."""
    return min((limit for group in groups("memory", control_groups, own_groups) for limit in _limit(group)), default=0)


def _limit(group: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        content = read(group / name) or ""
        if content.isdecimal() and int(content) < _NO_LIMIT_BYTES:
            yield int(content)
