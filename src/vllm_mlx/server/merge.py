"""Several streams of events as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

E = TypeVar("E")


async def merge(sources: Sequence[AsyncGenerator[E, None]]) -> AsyncGenerator[tuple[int, E], None]:
    """Play all sources at once; yields (place of the source, event) as they come.

    The first failure of a source ends the others and is raised. Closing closes every source.
    """
    # Unbounded: a source ends after so many tokens, and one that waited here would hold its rows for longer.
    queue: asyncio.Queue[tuple[int, E] | BaseException | None] = asyncio.Queue()

    async def play(place: int, source: AsyncGenerator[E, None]) -> None:
        try:
            async for event in source:
                queue.put_nowait((place, event))
        except BaseException as error:
            queue.put_nowait(error)  # raised again below, in the reader's task
            raise
        else:
            queue.put_nowait(None)
        finally:
            await source.aclose()

    players = [asyncio.create_task(play(i, source)) for i, source in enumerate(sources)]
    try:
        playing = len(players)
        while playing:
            item = await queue.get()
            if item is None:
                playing -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        for player in players:
            player.cancel()
        await asyncio.gather(*players, return_exceptions=True)
