"""A proxy before a server, where connections can be cut, held up, and robbed of a commit's answer."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self

from tests.servers.process import free_port

_AT_ONCE = 64 << 10
_COMMIT = b"COMMIT"
_ANSWER_TIME = 30.0
"""Seconds for the answer to a commit that is then withheld."""
_MYSQL_COMMIT = b"\x07\x00\x00\x00\x03COMMIT"
_MYSQL_ROLLBACK = b"\x09\x00\x00\x00\x03ROLLBACK"
_WSREP_WORDS = (
    b"Deadlock found when trying to get lock; try restarting transaction",
    b"WSREP detected deadlock/conflict and aborted the transaction. Try restarting the transaction",
)
"""What clients of Galera are told with error 1213: by a brute-force abort, and by failed certification."""


class _Connection:
    """One client, and the server that it believes to be talking to."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_answered = asyncio.Event()
        self.withholds_answer = False
        self.answer_instead: bytes | None = None

    def abort(self) -> None:
        """End both sides without a word."""
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Runs in a thread of its own, from entering to leaving a `with` block."""

    def __init__(self, server_port: int) -> None:
        """server_port: on loopback."""
        self.port = free_port()
        self._server_port = server_port
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._to_lose = 0
        self._to_reject = 0
        self._words = itertools.cycle(_WSREP_WORDS)
        self.lost_commits = 0
        """Commits that the server did and the client was never told of."""
        self.rejected_commits = 0

    def cut(self) -> int:
        """Cut all connections; gives how many there were."""
        return int(self._run(self._cut()))

    def hold(self) -> None:
        """Let nothing through, until `release`."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def release(self) -> None:
        """Let everything through again."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def lose_commits(self, count: int) -> None:
        """Cut the connection of each of the next commits after the server has done it, before its client learns it."""
        self._to_lose = count

    def reject_commits(self, count: int) -> None:
        """Answer the next commits of MariaDB's clients as Galera does where another node was first."""
        self._to_reject = count

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._flows.set()
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _cut(self) -> int:
        count = len(self._connections)
        for connection in list(self._connections):
            connection.abort()
        return count

    async def _end(self) -> None:
        self._flows.set()
        self._listening.close()
        await self._cut()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()  # As it looks to a client whose server is not there.
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        connection = _Connection(writer, to_server)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pump(reader, to_server, lambda data: self._ask(connection, data)),
                self._pump(from_server, writer, lambda data: self._answer(connection, data)),
            )
        finally:
            self._connections.discard(connection)
            connection.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        change: Callable[[bytes], Coroutine[Any, Any, bytes]],
    ) -> None:
        with suppress(OSError):
            while data := await source.read(_AT_ONCE):
                await self._flows.wait()
                target.write(await change(data))
                await target.drain()
        target.transport.abort()

    async def _ask(self, connection: _Connection, data: bytes) -> bytes:
        """What goes to the server in place of what the client says."""
        if self._to_reject and data == _MYSQL_COMMIT:
            self._to_reject -= 1
            self.rejected_commits += 1
            connection.answer_instead = _mysql_error(1213, b"40001", next(self._words))
            return _MYSQL_ROLLBACK
        if self._to_lose and _COMMIT in data:
            self._to_lose -= 1
            connection.withholds_answer = True
            self._loop.create_task(self._cut_when_answered(connection))
        return data

    async def _answer(self, connection: _Connection, data: bytes) -> bytes:
        """What goes to the client in place of what the server says."""
        if connection.answer_instead is not None:
            data, connection.answer_instead = connection.answer_instead, None
        if connection.withholds_answer:
            connection.is_answered.set()
            return b""
        return data

    async def _cut_when_answered(self, connection: _Connection) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(connection.is_answered.wait(), _ANSWER_TIME)
            self.lost_commits += 1
        connection.abort()


def _mysql_error(number: int, state: bytes, words: bytes) -> bytes:
    """An error packet of the protocol, the first answer to a command."""
    body = b"\xff" + number.to_bytes(2, "little") + b"#" + state + words
    return len(body).to_bytes(3, "little") + b"\x01" + body
