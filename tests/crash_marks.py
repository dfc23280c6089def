"""Crashes as data: a mark names a step of a matcher, and a trap has it die or fail the n-th time it comes there."""

from collections.abc import Callable, Sequence
from pathlib import PosixPath
from typing import Any, ClassVar, TypeVar, cast

from consumer.adapters.memory import MemoryBroker, MemoryPublisher
from consumer.records import Outgoing

T = TypeVar("T")
Fuse = Callable[[str], None]

STORE = (
    "epochs",
    "take_epoch",
    "scopes",
    "claim",
    "known",
    "read",
    "apply",
    "outbox",
    "clusters",
    "acknowledge",
)
STEPS = {
    "source": ("poll", "commit"),
    "store": STORE,
    "index": ("search", "add", "remove"),
    "publisher": ("publish", "message", "flush"),
    "delivery": ("send", "wait"),
    "snapshots": ("load", "save", "rename"),
}
MARKS = [f"{when} {port}.{step}" for port, steps in STEPS.items() for step in steps for when in ("before", "after")]
OF_ONE_MODE = {"at_least_once": (" publisher.", " source.commit"), "exactly_once": (" delivery.",)}
"""Parts of marks that a matcher of the other mode never comes to."""
MODES = tuple(OF_ONE_MODE)
MARKS_OF = {
    mode: [m for m in MARKS if not any(p in m for other in MODES if other != mode for p in OF_ONE_MODE[other])]
    for mode in MODES
}
STORE_MARKS = [mark for mark in MARKS if " store." in mark]


class Died(BaseException):
    """The end of a process: nothing may catch it."""


class _Marked:
    """A port whose calls come to marks, before and after."""

    def __init__(self, inner: Any, port: str, fuse: Fuse) -> None:
        self._inner = inner
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name not in STEPS[self._port]:
            return value

        def call(*args: Any, **options: Any) -> Any:
            self._fuse(f"before {self._port}.{name}")
            answer = value(*args, **options)
            self._fuse(f"after {self._port}.{name}")
            return answer

        return call

    def __len__(self) -> int:
        return len(self._inner)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._inner


class MarkedPublisher(MemoryPublisher):
    """Comes to a mark around every message, so that it can die with a part of a batch sent."""

    def __init__(self, broker: MemoryBroker, fuse: Fuse) -> None:
        super().__init__(broker)
        self._fuse = fuse

    def publish(self, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            self._fuse("before publisher.message")
            super().publish([message])
            self._fuse("after publisher.message")


class MarkedPath(PosixPath):
    """A folder in which renaming comes to marks."""

    fuses: ClassVar[Sequence[Fuse]]

    def rename(self, target: Any) -> Any:
        for fuse in self.fuses:
            fuse("before snapshots.rename")
        renamed = super().rename(target)
        for fuse in self.fuses:
            fuse("after snapshots.rename")
        return renamed


def marked(inner: T, port: str, fuse: Fuse) -> T:
    return cast("T", _Marked(inner, port, fuse))


def unharmed(mark: str) -> None:
    """A fuse that never blows."""


class Trap:
    """A fuse that raises the n-th time it comes to the mark, once."""

    def __init__(self, mark: str, n: int, error: BaseException) -> None:
        self.sprung = False
        self._mark = mark
        self._left = n
        self._error = error

    def __call__(self, mark: str) -> None:
        if mark == self._mark and not self.sprung:
            self._left -= 1
            if not self._left:
                self.sprung = True
                raise self._error


def nth(mark: str) -> tuple[int, ...]:
    """Which comings to the mark are tried: some steps happen once in a life."""
    step = mark.split(".")[1]
    return {"take_epoch": (1, 2), "scopes": (1, 2), "load": (1, 2), "claim": (1, 3), "rename": (1, 2)}.get(
        step, (1, 4) if step in {"save", "remove"} else (1, 5)
    )
