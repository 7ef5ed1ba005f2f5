"""One answer on its way out: its events numbered and framed, or the last of them alone; kept at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

from vllm_mlx.core.chance import fresh_hex
from vllm_mlx.core.errors import AppError
from vllm_mlx.core.events import Completed, ServedEvent
from vllm_mlx.server import sse
from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.encode import ResponsesEncoder

Keep = Callable[[wire.Response], None]
"""Takes an answer that has come to its end."""

_HEADS = {
    kind: b"event: " + str(kind.__struct_config__.tag).encode() + b"\n" + sse.DATA
    for kind in get_args(wire.Event)
}
_DELTAS = get_args(wire.Delta)
_PADDED_TO = 16


class Framer:
    """Frames of server-sent events, numbered from 0.

    Args:
        padded: deltas get `obfuscation`, which makes their lengths alike for those who watch the wire.
        after: events up to this number are left out.
    """

    def __init__(self, *, padded: bool = False, after: int = -1) -> None:
        self._padded = padded
        self._after = after
        self._number = 0

    def frames(self, events: Sequence[wire.Event]) -> bytes:
        """The next events, joined."""
        parts: list[bytes] = []
        for event in events:
            event.sequence_number = self._number
            self._number += 1
            if event.sequence_number <= self._after:
                continue
            if self._padded and isinstance(event, _DELTAS):
                missing = -len(event.delta.encode()) % _PADDED_TO
                event.obfuscation = fresh_hex(missing)
            parts += (_HEADS[type(event)], wire.to_json(event), sse.END)
        return b"".join(parts)


class StreamedAnswer:
    """The frames of each event, as it comes."""

    def __init__(self, encoder: ResponsesEncoder, framer: Framer, keep: Keep) -> None:
        self._encoder = encoder
        self._framer = framer
        self._keep = keep

    def frames(self, event: ServedEvent) -> bytes:
        """The frames of one event, joined; empty if it has none."""
        events = self._encoder.encode(event)
        if isinstance(event, Completed):
            # Before the client hears of it: it may ask for the answer at once.
            self._keep(self._encoder.response)
        return self._framer.frames(events)

    def failed(self, error: AppError) -> bytes:
        """The frames that end a stream which met an error."""
        return self._framer.frames(self._encoder.fail(error))


class WholeAnswer:
    """The answer as its last event has it."""

    def __init__(self, encoder: ResponsesEncoder, keep: Keep) -> None:
        self._encoder = encoder
        self._keep = keep

    def add(self, event: ServedEvent) -> None:
        """Take the next event."""
        self._encoder.encode(event)

    def body(self) -> bytes:
        """The answer as JSON."""
        if not self._encoder.whole:
            raise RuntimeError("the events of a request must end with Completed")
        self._keep(self._encoder.response)
        return wire.to_json(self._encoder.response)
