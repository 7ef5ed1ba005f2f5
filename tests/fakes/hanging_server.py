"""A server whose one stream never ends by itself: `python -m tests.fakes.hanging_server [stubborn]`."""

from __future__ import annotations

import asyncio
import sys

from tests.fakes.service import HANG, FakeModelService
from vllm_mlx.config import ServerConfig
from vllm_mlx.core.errors import Unavailable
from vllm_mlx.core.events import Started, TextDelta
from vllm_mlx.server.run import serve


class Stubborn(FakeModelService):
    """Does not even end when it is told to."""

    async def drain(self, timeout_s: float) -> None:
        await asyncio.Event().wait()


if __name__ == "__main__":
    kind = Stubborn if sys.argv[1:] == ["stubborn"] else FakeModelService
    service = kind([Started(0, 5), TextDelta(0, "once upon a time"), HANG])
    service.at_the_deadline = Unavailable("The server is stopping.")
    sys.exit(serve(service, ServerConfig(port=0, shutdown_timeout=1, log_level="error")))
