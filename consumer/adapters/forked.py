"""Calls in a copy of the process as it is now, while this one goes on and changes: how Redis writes itself down, too.

Memory is shared until one of the two writes to it, so the copy takes milliseconds and next to no room (fork(2)). It has one
thread, and what others of them held stays held there: a call may read memory and write files, and nothing else.
"""

import os
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from signal import SIGKILL
from typing import Final

import structlog

_STEP_SECONDS: Final = 0.02
_NICE: Final = 10
"""The stream goes first where processors are few: to a copy they give a tenth as much."""
_LONGEST_SECONDS: Final = 600.0
"""A copy that takes longer stands still."""
_FAILED: Final = 255
_log = structlog.get_logger()


class Forked:
    """Begins at once; dropped, it is ended.

    Where no copy can be made, the calls are made here and now, and raise what they raise.
    """

    def __init__(self, calls: Sequence[Callable[[], None]]) -> None:
        self._pid = _fork(calls)
        self._end = weakref.finalize(self, _kill, self._pid)

    def wait(self) -> None:
        """Until all is done. Raises OSError when it failed."""
        if self._pid is None:
            return
        status = _status(self._pid, time.monotonic() + _LONGEST_SECONDS)
        if status is None:
            self._end()
            raise OSError(f"a copy of the process was not done after {_LONGEST_SECONDS:.0f} s")
        self._end.detach()
        code = os.waitstatus_to_exitcode(status)
        if 0 < code < _FAILED:
            raise OSError(code, os.strerror(code))
        if code:
            raise OSError(f"a copy of the process ended with {code}")


def _fork(calls: Sequence[Callable[[], None]]) -> int | None:
    """The process that makes the calls; None where they are made."""
    if sys.platform == "linux":  # elsewhere the system's own libraries do not bear it
        try:
            pid = os.fork()
        except OSError as error:
            _log.warning("no copy of the process, so the stream waits", reason=str(error))
        else:
            if pid == 0:
                _make(calls)
            return pid
    for call in calls:
        call()
    return None


def _make(calls: Sequence[Callable[[], None]]) -> None:
    """In the copy: never returns."""
    code = _FAILED
    try:
        os.nice(_NICE)
        # a port or a connection must not outlive its process
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        for call in calls:
            call()
        code = 0
    except OSError as error:
        code = error.errno or _FAILED
    finally:
        os._exit(code)


def _status(pid: int, deadline: float) -> int | None:
    """How the copy ended; None where it has not."""
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(_STEP_SECONDS)
    return None


def _kill(pid: int | None) -> None:
    if pid is None:
        return
    try:
        os.kill(pid, SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
