"""Items of an answer while they are written: the events that open one, add to it and close it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from vllm_mlx.server.logprobs import Logprob
from vllm_mlx.server.responses import wire
from vllm_mlx.server.signatures import seal

Closing = tuple[list[wire.Event], wire.Item]
"""The events that close an item, and the item."""


class _TextWriter:
    """An item of one text."""

    def __init__(self, index: int, item_id: str) -> None:
        self._index = index
        self._id = item_id
        self._texts: list[str] = []


class MessageWriter(_TextWriter):
    """Writes a message."""

    def __init__(self, index: int, item_id: str) -> None:
        super().__init__(index, item_id)
        self._logprobs: list[Logprob] = []

    def begin(self) -> list[wire.Event]:
        """The events that open the item."""
        return [
            wire.ItemAdded(output_index=self._index, item=wire.MessageItem(self._id)),
            wire.PartAdded(output_index=self._index, item_id=self._id, part=wire.OutputText()),
        ]

    def write(self, text: str, logprobs: Sequence[Logprob] = ()) -> wire.Event:
        """The event of the next piece."""
        self._texts.append(text)
        if logprobs:
            self._logprobs += logprobs
        return wire.TextMore(output_index=self._index, item_id=self._id, delta=text, logprobs=tuple(logprobs))

    def end(self, status: wire.ItemStatus) -> Closing:
        text, logprobs = "".join(self._texts), tuple(self._logprobs)
        part = wire.OutputText(text, logprobs)
        item = wire.MessageItem(self._id, status, (part,))
        return [
            wire.TextDone(output_index=self._index, item_id=self._id, text=text, logprobs=logprobs),
            wire.PartDone(output_index=self._index, item_id=self._id, part=part),
            wire.ItemDone(output_index=self._index, item=item),
        ], item


class _ReasoningWriter(_TextWriter):
    """An item of thought.

    Args:
        sealed: the item also carries the thought sealed, for a client that keeps nothing else of it.
    """

    def __init__(self, index: int, item_id: str, *, sealed: bool) -> None:
        super().__init__(index, item_id)
        self._sealed = sealed

    def _seal(self, text: str) -> str | UnsetType:
        return seal(text) if self._sealed else UNSET


class ThoughtWriter(_ReasoningWriter):
    """Writes a thought in the open."""

    def begin(self) -> list[wire.Event]:
        """The events that open the item."""
        return [
            wire.ItemAdded(output_index=self._index, item=wire.ReasoningItem(self._id, content=())),
            wire.PartAdded(output_index=self._index, item_id=self._id, part=wire.ReasoningText()),
        ]

    def write(self, text: str) -> wire.Event:
        """The event of the next piece."""
        self._texts.append(text)
        return wire.ThoughtMore(output_index=self._index, item_id=self._id, delta=text)

    def end(self, status: wire.ItemStatus) -> Closing:
        text = "".join(self._texts)
        part = wire.ReasoningText(text)
        item = wire.ReasoningItem(self._id, status, content=(part,), encrypted_content=self._seal(text))
        return [
            wire.ThoughtDone(output_index=self._index, item_id=self._id, text=text),
            wire.PartDone(output_index=self._index, item_id=self._id, part=part),
            wire.ItemDone(output_index=self._index, item=item),
        ], item


class SummaryWriter(_ReasoningWriter):
    """Writes a thought as its own summary: clients that ask for summaries show nothing else of it."""

    def begin(self) -> list[wire.Event]:
        """The events that open the item."""
        return [
            wire.ItemAdded(output_index=self._index, item=wire.ReasoningItem(self._id)),
            wire.SummaryPartAdded(output_index=self._index, item_id=self._id, part=wire.SummaryText()),
        ]

    def write(self, text: str) -> wire.Event:
        """The event of the next piece."""
        self._texts.append(text)
        return wire.SummaryMore(output_index=self._index, item_id=self._id, delta=text)

    def end(self, status: wire.ItemStatus) -> Closing:
        text = "".join(self._texts)
        part = wire.SummaryText(text)
        item = wire.ReasoningItem(self._id, status, (part,), encrypted_content=self._seal(text))
        return [
            wire.SummaryDone(output_index=self._index, item_id=self._id, text=text),
            wire.SummaryPartDone(output_index=self._index, item_id=self._id, part=part),
            wire.ItemDone(output_index=self._index, item=item),
        ], item


class CallWriter:
    """Writes a call of a function.

    Args:
        call: the call, with no arguments yet.
    """

    def __init__(self, index: int, call: wire.FunctionCallItem) -> None:
        self._index = index
        self._call = call
        self._pieces: list[str] = []

    def begin(self) -> list[wire.Event]:
        """The events that open the item."""
        return [wire.ItemAdded(output_index=self._index, item=self._call)]

    def write(self, text: str) -> wire.Event:
        """The event of the next piece."""
        self._pieces.append(text)
        return wire.ArgumentsMore(output_index=self._index, item_id=self._call.id, delta=text)

    def end(self, status: wire.ItemStatus) -> Closing:
        arguments = "".join(self._pieces)
        item = wire.FunctionCallItem(
            self._call.id, self._call.call_id, self._call.name, self._call.namespace, arguments, status
        )
        return [
            wire.ArgumentsDone(output_index=self._index, item_id=self._call.id, arguments=arguments),
            wire.ItemDone(output_index=self._index, item=item),
        ], item


class McpCallWriter:
    """Writes a call that this server runs.

    Args:
        call: the call as it begins, with its arguments.

    Attributes:
        index: of the item.
        call: as it was given.
    """

    def __init__(self, index: int, call: wire.McpCallItem) -> None:
        self.index = index
        self.call = call

    def begin(self) -> list[wire.Event]:
        """The events that open the item: it runs."""
        at, call = self.index, self.call
        return [
            wire.ItemAdded(output_index=at, item=msgspec.structs.replace(call, arguments="")),
            wire.McpInProgress(output_index=at, item_id=call.id),
            wire.McpArgumentsMore(output_index=at, item_id=call.id, delta=call.arguments),
            wire.McpArgumentsDone(output_index=at, item_id=call.id, arguments=call.arguments),
        ]

    def end(self, item: wire.McpCallItem) -> list[wire.Event]:
        """The events that close the item, which is as it stays."""
        ended = wire.McpCompleted if item.status == "completed" else wire.McpFailed
        return [
            ended(output_index=self.index, item_id=item.id),
            wire.ItemDone(output_index=self.index, item=item),
        ]


Writer = MessageWriter | ThoughtWriter | SummaryWriter | CallWriter
