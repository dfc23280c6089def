"""A TCP proxy whose links can be held, cut, slowed down and turned to another target while connections run through them.

Each link listens on a port of its own. All links share one thread and its event loop.
"""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65_536
_CALL_SECONDS = 10.0


class Link:
    """One listening port and what it leads to. Its methods may be called from any thread."""

    def __init__(self, name: str, target: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.address = ""
        self._target = target
        self._loop = loop
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_seconds = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def hold(self) -> None:
        """A network that carries nothing: connections stay, and what is in them arrives after `restore`."""
        self._tell(self._flowing.clear)

    def cut(self) -> None:
        """Reset every connection, and each new one, until `restore`."""

        def now() -> None:
            self._refusing = True
            self._reset()

        self._tell(now)

    def delay(self, seconds: float) -> None:
        """Every piece of data, in both directions, takes so much longer."""

        def now() -> None:
            self._delay_seconds = seconds

        self._tell(now)

    def restore(self) -> None:
        def now() -> None:
            self._refusing = False
            self._delay_seconds = 0.0
            self._flowing.set()

        self._tell(now)

    def turn_to(self, target: str) -> None:
        """Lead to another address, `host:port`; connections to the former one are reset."""

        def now() -> None:
            if target != self._target:
                self._target = target
                self._reset()

        self._tell(now)

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    def close(self) -> None:
        """In the thread of the loop."""
        if self._server is not None:
            self._server.close()

    def _tell(self, what: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(what)

    def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._refusing:
            to_client.transport.abort()
            return
        self._writers.add(to_client)
        try:
            host, port = self._target.split(":")
            server, to_server = await asyncio.open_connection(host, int(port))
        except OSError:
            to_client.transport.abort()
            self._writers.discard(to_client)
            return
        self._writers.add(to_server)
        try:
            await asyncio.gather(self._pump(client, to_server), self._pump(server, to_client))
        finally:
            for writer in (to_client, to_server):
                writer.transport.abort()
                self._writers.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass  # the other side is gone, which is what a proxy hands on
        writer.close()


class Proxy:
    """All links. Leaving it ends their connections."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.links: dict[str, Link] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CALL_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    def link(self, name: str, target: str) -> Link:
        """A new link to `host:port`; its `address` is where it listens."""
        link = Link(name, target, self._loop)
        asyncio.run_coroutine_threadsafe(link.listen(), self._loop).result(_CALL_SECONDS)
        self.links[name] = link
        return link

    async def _end(self) -> None:
        for link in self.links.values():
            link.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
