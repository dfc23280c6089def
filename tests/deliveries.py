"""Executors that fix when a delivery happens that a loop has sent on its way: at once, or not before it is waited for."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class AtOnce(Executor):
    """Deliveries are through before the next batch is touched."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # the future's to raise
            future.set_exception(error)
        return future


class AtLast(Executor):
    """Deliveries begin when the loop has nothing else to do."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return _Waiting(lambda: fn(*args, **kwargs))


class _Waiting(Future[Any]):
    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            try:
                self.set_result(self._call())
            except BaseException as error:  # noqa: BLE001  # raised below
                self.set_exception(error)
        return super().result(timeout)
