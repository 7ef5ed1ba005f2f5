"""A stored answer as the stream of events that it once was, each item in one piece."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import UNSET

from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.writers import (
    CallWriter,
    McpCallWriter,
    MessageWriter,
    SummaryWriter,
    ThoughtWriter,
    Writer,
)


def replay(data: bytes) -> Iterator[wire.Event]:
    """The events of a stored answer, given as JSON."""
    response = _decoder.decode(data)
    begun = msgspec.structs.replace(
        response, status="in_progress", output=(), usage=None, completed_at=None, incomplete_details=None
    )
    yield wire.Created(response=begun)
    yield wire.InProgress(response=begun)
    for index, item in enumerate(response.output):
        yield from _item(index, item)
    if response.status == "incomplete":
        yield wire.Incomplete(response=response)
    else:
        yield wire.Completed(response=response)


_decoder = msgspec.json.Decoder(wire.Response)


def _item(index: int, item: wire.Item) -> Iterator[wire.Event]:
    if isinstance(item, wire.McpCallItem):
        run = McpCallWriter(
            index, msgspec.structs.replace(item, status="in_progress", output=None, error=None)
        )
        yield from (*run.begin(), *run.end(item))
        return
    writer: Writer
    match item:
        case wire.MessageItem(content=(part,)):
            writer = message = MessageWriter(index, item.id)
            more = message.write(part.text, part.logprobs)
        case wire.FunctionCallItem(arguments=arguments):
            writer = CallWriter(index, msgspec.structs.replace(item, arguments="", status="in_progress"))
            more = writer.write(arguments)
        case wire.ReasoningItem(summary=summary):
            sealed = item.encrypted_content is not UNSET
            if summary:
                writer = SummaryWriter(index, item.id, sealed=sealed)
                more = writer.write(summary[0].text)
            else:
                writer = ThoughtWriter(index, item.id, sealed=sealed)
                more = writer.write("".join(part.text for part in item.content or ()))
        case _:
            raise RuntimeError("a stored item has a form that this server does not write")
    yield from writer.begin()
    yield more
    events, _ = writer.end(item.status)
    yield from events
