"""A network that can break: TCP proxies that know which process is at the other end of a connection."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import psutil

from sandbox.ports import free_port

CHUNK = 65536
CHUNKS = 64  # so many wait for their time, then the sender waits too

_T = TypeVar("_T")


@dataclass(eq=False)
class Trouble:
    """What one process's connections suffer, whichever end of them it is at, those made later included.

    A cut holds back every byte in both directions and closes nothing, as a network without a route does. What was
    held back arrives when the cut is over, unless its sender has gone by then. `delay` is added to every answer.
    """

    pid: Callable[[], int | None]
    ports: frozenset[int] = frozenset()
    delay: float = 0.0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def concerns(self, client_port: int, server_port: int) -> bool:
        """Whether a connection between these ports is one of this process's."""
        if server_port in self.ports:
            return True
        with suppress(psutil.Error):
            pid = self.pid()
            return pid is not None and any(
                each.laddr and each.laddr.port == client_port for each in psutil.Process(pid).net_connections("tcp")
            )
        return False


@dataclass(eq=False)
class _Connection:
    """One proxied connection, and what it suffers now."""

    client_port: int
    server_port: int
    troubles: list[Trouble] = field(default_factory=list)

    def due(self, *, answer: bool) -> float:
        """When bytes that come now may pass, by the loop's clock."""
        delays = [each.delay for each in self.troubles if answer and not each.over.is_set()]
        return asyncio.get_running_loop().time() + max(delays, default=0.0)

    async def passage(self, due: float = 0.0) -> None:
        """Return when bytes that are due then may pass."""
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        while cuts := [each for each in self.troubles if not each.delay and not each.over.is_set()]:
            await cuts[0].over.wait()


class Network:
    """Proxies on 127.0.0.1 in a thread of their own. Its methods may be called from any thread; they block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._connections: set[_Connection] = set()
        self._troubles: list[Trouble] = []
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def forward(self, port: int) -> int:
        """Another port, by way of which the one given is reached. Nobody need listen there yet."""
        way_in = free_port()
        self._run(self._serve(way_in, port))
        return way_in

    def cut(self, pid: Callable[[], int | None], *ports: int) -> Trouble:
        """Cut a process off: what it connects to, and what connects to it on these ports."""
        return self._run(self._begin(pid, frozenset(ports), 0.0))

    def slow(self, seconds: float, pid: Callable[[], int | None], *ports: int) -> Trouble:
        """Have every answer that the process gets or gives take so much longer."""
        return self._run(self._begin(pid, frozenset(ports), seconds))

    def heal(self, trouble: Trouble) -> None:
        """End it."""
        self._run(self._end(trouble))

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin(self, pid: Callable[[], int | None], ports: frozenset[int], delay: float) -> Trouble:
        trouble = Trouble(pid, ports, delay)
        self._troubles.append(trouble)
        for connection in self._connections:
            if trouble.concerns(connection.client_port, connection.server_port):
                connection.troubles.append(trouble)
        return trouble

    async def _end(self, trouble: Trouble) -> None:
        self._troubles.remove(trouble)
        trouble.over.set()

    async def _serve(self, way_in: int, port: int) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = _Connection(writer.get_extra_info("peername")[1], port)
            connection.troubles = [
                each for each in self._troubles if each.concerns(connection.client_port, connection.server_port)
            ]
            self._connections.add(connection)
            try:
                await self._carry(connection, reader, writer)
            finally:
                self._connections.discard(connection)
                writer.close()

        self._servers.append(await asyncio.start_server(accept, "127.0.0.1", way_in))

    async def _carry(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connection.passage()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", connection.server_port)
        except OSError:
            return
        try:
            # The end of one direction ends both: Kafka's and HTTP's clients never close only half.
            ways = {
                asyncio.ensure_future(_pump(connection, reader, far_writer, answer=False)),
                asyncio.ensure_future(_pump(connection, far_reader, writer, answer=True)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            far_writer.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _pump(
    connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool
) -> None:
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS)

    async def take_in() -> None:
        data = b"..."
        while data:
            try:
                data = await reader.read(CHUNK)
            except ConnectionError:
                data = b""
            await under_way.put((connection.due(answer=answer), data))

    taking_in = asyncio.ensure_future(take_in())
    try:
        while True:
            due, data = await under_way.get()
            # Also for the end of the connection: nobody may hear of it before the network is back.
            await connection.passage(due)
            if not data:
                return
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        taking_in.cancel()
