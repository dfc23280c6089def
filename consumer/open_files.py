"""How many files this process may have open: a scope of more than `index.exact_below` records has four, and each client some."""

import resource
from contextlib import suppress


def open_as_many_as_allowed() -> int:
    """Raise the soft limit to the hard one, as it is meant for programs that know no select(2); what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS has no hard limit, and allows less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft
