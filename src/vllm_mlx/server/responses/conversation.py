"""The items that a request is about: those of earlier answers, those it refers to, and its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.encode import new_id
from vllm_mlx.server.responses.items_decode import ran, unread_media
from vllm_mlx.server.responses.schema import ContentPart, CountInputRequest, InputItem
from vllm_mlx.server.responses.store import ResponseStore, StoredItem, StoredResponse
from vllm_mlx.server.responses.tools_decode import wrong

_PREFIXES = {"function_call": "fc", "function_call_output": "fco", "mcp_call": "mcp", "reasoning": "rs"}


class Conversation(msgspec.Struct, frozen=True):
    """Items in order.

    Attributes:
        items: all of them.
        where: what an error calls each.
        own: how many of the last are the request's own.
    """

    items: tuple[InputItem, ...]
    where: tuple[str, ...]
    own: int

    def stored(self) -> tuple[StoredItem, ...]:
        """The request's own items as they are listed."""
        return tuple(_stored(item) for item in self.items[len(self.items) - self.own :])


class Earlier(msgspec.Struct, frozen=True):
    """What a request needs of earlier answers: those it goes on from, and items it refers to by id."""

    turns: Sequence[StoredResponse] = ()
    items: Mapping[str, bytes] = {}

    def size_bytes(self) -> int:
        """How much there is to read."""
        return sum(turn.size_bytes() for turn in self.turns) + sum(map(len, self.items.values()))


def look_up(body: CountInputRequest, store: ResponseStore, caller: str) -> Earlier:
    """Find what a request needs of earlier answers.

    Raises:
        NotFound: some of it is not stored, or no more.
        InvalidRequest: it refers to one item twice.
    """
    turns = store.chain(caller, body.previous_response_id) if body.previous_response_id is not None else ()
    items: dict[str, bytes] = {}
    if not isinstance(body.input, str):
        for i, item in enumerate(body.input or ()):
            if item.type == "item_reference" and item.id is not None:
                if item.id in items:  # else a short body could be made of any number of long items
                    raise wrong(f"input[{i}].id", "is that of an earlier item_reference")
                items[item.id] = store.item(caller, item.id, f"input[{i}].id")
    return Earlier(turns, items)


def assemble(body: CountInputRequest, earlier: Earlier) -> Conversation:
    """All items of a request.

    Raises:
        InvalidRequest: there is no input.
    """
    own = _own(body, earlier.items)
    before = [_parse(item.data) for turn in earlier.turns for item in (*turn.input, *turn.output)]
    where = ["previous_response_id"] * len(before) + [f"input[{i}]" for i in range(len(own))]
    return Conversation((*before, *own), tuple(where), len(own))


def _own(body: CountInputRequest, referred: Mapping[str, bytes]) -> list[InputItem]:
    if body.input is None:
        raise wrong("input", "is required")
    if isinstance(body.input, str):
        return [InputItem.model_validate({"type": "message", "role": "user", "content": body.input})]
    return [_resolved(item, f"input[{i}]", referred) for i, item in enumerate(body.input)]


def _resolved(item: InputItem, where: str, referred: Mapping[str, bytes]) -> InputItem:
    if item.type != "item_reference":
        return item
    if item.id is None:
        raise wrong(f"{where}.id", "is missing")
    return _parse(referred[item.id])


def _parse(data: bytes) -> InputItem:
    return InputItem.model_validate(msgspec.json.decode(data))


def _stored(item: InputItem) -> StoredItem:
    listed = _listed(item)
    return StoredItem(listed.id, wire.to_json(listed))


def _listed(item: InputItem) -> wire.ListedItem:
    kind = item.type or "message"
    identity = item.id or new_id(_PREFIXES.get(kind, "msg"))
    match kind:
        case "function_call":
            return wire.FunctionCallItem(
                id=identity,
                call_id=item.call_id or "",
                name=item.name or "",
                namespace=_given(item.namespace),
                arguments=item.arguments or "{}",
                status="completed",
            )
        case "function_call_output":
            output = item.output if isinstance(item.output, str) else _parts(item.output or ())
            return wire.ListedOutput(id=identity, call_id=item.call_id, output=output)
        case "mcp_call":
            said, error = ran(item, "input")
            return wire.McpCallItem(
                id=identity,
                name=item.name or "",
                server_label=item.server_label or "",
                arguments=item.arguments or "{}",
                status="completed" if error is None else "failed",
                output=said,
                error=None if error is None else wire.McpError(error),
            )
        case "reasoning":
            return wire.ListedReasoning(
                id=identity,
                summary=_parts(item.summary or ()),
                content=UNSET if item.content is None else _said(item, "reasoning_text"),
                encrypted_content=_given(item.encrypted_content),
            )
        case _:
            kind_of_text = "output_text" if item.role == "assistant" else "input_text"
            return wire.ListedMessage(
                id=identity, role=item.role, content=_said(item, kind_of_text), phase=_given(item.phase)
            )


def _given(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


def _said(item: InputItem, kind_of_text: str) -> tuple[wire.Part, ...]:
    if isinstance(item.content, str):
        return _parts([ContentPart(type=kind_of_text, text=item.content)])
    return _parts(item.content or ())


def _parts(parts: Sequence[ContentPart]) -> tuple[wire.Part, ...]:
    return tuple(map(_part, parts))


def _part(part: ContentPart) -> wire.Part:
    if part.type == "refusal":
        return wire.Part(type="refusal", refusal=part.refusal)
    missing = unread_media(part)
    if missing is not None:
        return wire.Part(type="input_text", text=missing)
    return wire.Part(type=part.type, text=part.text, annotations=() if part.type == "output_text" else UNSET)
