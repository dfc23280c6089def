"""Python's search for garbage in reference cycles, told what kind of process this is."""

import gc

_YOUNG = 50_000
"""A batch makes very many short-lived objects, none of them in a cycle: 700, which is usual, looks at each several times."""


def collect_rarely() -> None:
    """Call once what stays as long as the process is there: modules and models.

    A full collection that looks at these again stands still for .1 s.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 100)
