"""Streams of several dialects in one process, a few steps of each in turn, and what each of them costs.

The speed of a shared machine changes within seconds, and by more than dialects differ. Taking turns of some
milliseconds they all meet the same machine.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.types import ASGIApp

from benchmarks.host_cost import Bench, InstantRunner, post, serving

STEPS = 8
"""Of a dialect in one turn, once all of its streams have begun."""
STALL_S = 0.1
_TURNS_OF_THE_LOOP = 4
"""In so many the event loop is through with what the clients' newest frames have left to do."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A name, its route, and the body of a row's request for so many tokens."""

    name: str
    path: str
    body: Callable[[int, int], dict[str, object]]


class Player:
    """One dialect's pace: its model waits for its clients, and after some steps for its next turn.

    Attributes:
        begins: set at the first turn.
        runner: computes nothing at this pace.
        spent_s: processor time of all its turns.
    """

    def __init__(self, bench: Bench, turns: Turns) -> None:
        self._all_rows = bench.rows + 1  # and the request before
        self._turns = turns
        self._frames = 0
        self._awaited = 0
        self._there = threading.Event()
        self._turn = threading.Event()
        self._steps = 0
        self.begins = asyncio.Event()
        self.runner: InstantRunner = bench.runner(self)
        self.spent_s = 0.0

    def hear(self) -> None:
        """A client got a frame."""
        self._frames += 1
        if self._frames >= self._awaited:
            self._there.set()

    def wait(self, frames: int, rows: int) -> None:
        """Wait for the clients and, every few steps, for the others. On the engine's thread."""
        self._there.clear()
        self._awaited = frames
        if self._frames < frames:
            self._there.wait(STALL_S)  # what a stream that has ended still computed comes in no frame
        self._steps += rows == self._all_rows
        if self._steps >= STEPS:
            self._steps = 0
            self._turn.clear()
            self._turns.give_up(self)
            self._turn.wait()

    def go(self) -> None:
        """It is this one's turn, or all of its streams have ended."""
        self.begins.set()
        self._turn.set()


class Turns:
    """Whose turn it is. Lives on the event loop."""

    def __init__(self, bench: Bench, dialects: Sequence[Dialect]) -> None:
        self._bench = bench
        self._dialects = dialects
        self._loop = asyncio.get_running_loop()
        self._players: deque[Player] = deque()  # whose turn it is first
        self._since = 0.0

    async def play(self, tokens: int) -> dict[str, float]:
        """Seconds of processor time of all streams of each dialect."""
        players = [Player(self._bench, self) for _ in self._dialects]
        async with AsyncExitStack() as stack:
            streams = []
            for player, dialect in zip(players, self._dialects, strict=True):
                app = await stack.enter_async_context(serving(player.runner))
                # Some things an application does once in its life.
                await post(app, dialect.path, dialect.body(self._bench.rows, 1), player.hear)
                player.runner.spent_s = 0.0
                streams.append(self._streams(player, app, dialect, tokens))
            self._players.extend(players)
            self._since = time.process_time()
            players[0].go()
            await asyncio.gather(*streams)
        return {
            dialect.name: player.spent_s - player.runner.spent_s
            for player, dialect in zip(players, self._dialects, strict=True)
        }

    def give_up(self, player: Player) -> None:
        """The player's turn is over. From any thread."""
        self._loop.call_soon_threadsafe(self._next, player, _TURNS_OF_THE_LOOP)

    async def _streams(self, player: Player, app: ASGIApp, dialect: Dialect, tokens: int) -> None:
        await player.begins.wait()
        bodies = [dialect.body(row, tokens) for row in range(self._bench.rows)]
        counts = await asyncio.gather(*(post(app, dialect.path, body, player.hear) for body in bodies))
        assert min(counts) >= tokens, "not every token came in a frame of its own"
        self._account(player)
        self._players.remove(player)
        player.go()
        if self._players:
            self._players[0].go()

    def _next(self, player: Player, turns_of_the_loop: int) -> None:
        if player not in self._players:
            player.go()
        elif turns_of_the_loop:
            self._loop.call_soon(self._next, player, turns_of_the_loop - 1)
        else:
            self._account(player)
            self._players.rotate(-1)
            self._players[0].go()

    def _account(self, player: Player) -> None:
        now = time.process_time()
        player.spent_s += now - self._since
        self._since = now
