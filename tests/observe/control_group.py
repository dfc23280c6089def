"""A control group of the kernel with a memory limit, as a container has."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from consumer.container import groups


class NotHereError(Exception):
    """This machine does not allow it; the message says what."""


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[None]:
    """What is started inside may use so much, and has to have ended before this does.

    Raises NotHereError where no group can be made.
    """
    home = next((group for group in groups("memory") if (group / "cgroup.procs").exists()), None)
    if home is None:
        raise NotHereError("there are no control groups")
    group = home / f"dedup-test-{secrets.token_hex(4)}"
    limit = "memory.limit_in_bytes" if (home / "memory.limit_in_bytes").exists() else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(limit_bytes))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        raise NotHereError(f"needs the right to make control groups: {error.strerror}") from error
    try:
        yield
    finally:
        (home / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()
