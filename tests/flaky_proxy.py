"""A TCP proxy that drops, delays or withholds what it carries, for tests of what a bad network does."""

import asyncio
import contextlib
import socket
from typing import Self


class FlakyProxy:
    """Listens on a free port of 127.0.0.1 and passes everything on to `port`; TLS goes through as it is.

    Withheld bytes are not lost: `resume` delivers them, however late, even if the sender has gone meanwhile.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._delay = 0.0
        self._refuses = False
        self._connections: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        # Not asyncio's own server: one that is closed in the moment of an accept leaves the socket open (Python 3.11).
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await self._end_connections()

    def hang(self) -> None:
        """Nothing arrives any more, in either direction; connections are accepted."""
        self._flows.clear()

    def delay(self, seconds: float) -> None:
        """Everything arrives that much later."""
        self._delay = seconds

    async def drop(self) -> None:
        """All connections end, new ones at once."""
        self._refuses = True
        await self._end_connections()

    def resume(self) -> None:
        """All is well again."""
        self._delay, self._refuses = 0.0, False
        self._flows.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            if self._refuses:
                client.close()
                return
            client.setblocking(False)
            connection = asyncio.create_task(self._serve(client))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)
            # Here, because a task that is cancelled before its first turn does nothing at all.
            connection.add_done_callback(lambda _: client.close())

    async def _end_connections(self) -> None:
        connections = tuple(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        # A closed transport lets go of its socket in the loop's next turn.
        await asyncio.sleep(0)

    async def _serve(self, client: socket.socket) -> None:
        sides: list[asyncio.StreamWriter] = []
        try:
            questions, back = await asyncio.open_connection(sock=client)
            sides.append(back)
            answers, forth = await asyncio.open_connection("127.0.0.1", self._target)
            sides.append(forth)
            async with asyncio.TaskGroup() as pipes:
                pipes.create_task(self._pipe(questions, forth))
                pipes.create_task(self._pipe(answers, back))
        except OSError:
            return
        finally:
            for side in sides:
                side.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
            writer.write_eof()
