"""A request body to a checked value: strict JSON, bounded structure, strict types, short error messages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, FailFast, ValidationError
from starlette.requests import ClientDisconnect, Request

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.naming import shorten
from vllm_mlx.core.structure import TOO_MANY_VALUES, check_structure

MAX_FIELDS = 256
_INLINE_BYTES = 64 * 1024
"""Larger bodies are parsed on a thread, so that streams keep flowing meanwhile."""

_NOTHING = msgspec.Raw()
_decoder = msgspec.json.Decoder()


class WireModel(BaseModel):
    """Base of request schemas: no type is bent into another; unknown fields are kept aside."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


class WirePart(BaseModel):
    """Base of what is nested in a request: as strict; unknown fields are dropped."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())


class FirstErrorOnly(FailFast):
    """Annotates a list: a million wrong items make one error, not a million."""

    def __hash__(self) -> int:
        """Until Python 3.12 what stands in a union must be hashable."""
        return hash(FirstErrorOnly)


M = TypeVar("M", bound=WireModel)
T = TypeVar("T")


async def read_body(request: Request, schema: type[M]) -> M:
    """Read and check a request's body. The content type is not looked at: what parses as JSON is JSON.

    Raises:
        InvalidRequest: the body is no JSON, nests too deep, holds too much, or does not fit the schema.
        PayloadTooLarge: the body is over the server's cap.
    """
    try:
        body = await request.body()
    except ClientDisconnect:
        raise InvalidRequest("The request body ended early.") from None
    if len(body) <= _INLINE_BYTES:
        return _decode(body, schema)
    return await asyncio.to_thread(_decode, body, schema)


async def beside_the_loop(request: Request, work: Callable[[], T], *, also_bytes: int = 0) -> T:
    """Do what takes longer for a larger body: on a thread where it is large, so that streams keep flowing.

    Args:
        also_bytes: how much else the work has to read.
    """
    if len(await request.body()) + also_bytes <= _INLINE_BYTES:
        return work()
    return await asyncio.to_thread(work)


def _decode(body: bytes, schema: type[M]) -> M:
    value = parse_json(body)
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_json")
    if len(value) > MAX_FIELDS:
        raise InvalidRequest(f"The request body has more than {MAX_FIELDS} fields.", code="too_many_fields")
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise _explain(error) from None


def parse_json(body: bytes) -> Any:
    """Parse JSON as RFC 8259 has it: no NaN, no infinity, no lone surrogate; of equal keys the last counts.

    Raises:
        InvalidRequest: it is not JSON, nests too deep or holds too many values.
    """
    if not body:
        raise InvalidRequest("The request body is empty.", code="invalid_json")
    try:
        check_structure(body)
    except InvalidRequest as error:
        field = _widest_field(body) if error.code == TOO_MANY_VALUES else None
        if field is not None:
            raise InvalidRequest(f"{field}: {error.message}", param=field, code=error.code) from None
        raise
    try:
        return _decoder.decode(body)
    except UnicodeDecodeError:
        raise InvalidRequest("The request body is not UTF-8.", code="invalid_json") from None
    except msgspec.DecodeError as error:
        reason = shorten(str(error).removeprefix("JSON is malformed: "))
        raise InvalidRequest(f"The request body is not valid JSON: {reason}.", code="invalid_json") from None


class _Wide(msgspec.Struct):
    """The fields that lists of any length stand in; what they hold is not built."""

    tools: msgspec.Raw = _NOTHING
    messages: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING


_wide_decoder = msgspec.json.Decoder(_Wide)


def _widest_field(body: bytes) -> str | None:
    """The field with most of the values; None where none of those has, or the body is no JSON object."""
    try:
        fields = _wide_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # Signs in strings count too: this only says where to look.
    marks = {name: _marks(bytes(getattr(fields, name))) for name in _Wide.__struct_fields__}
    name = max(marks, key=lambda name: marks[name])
    return name if 2 * marks[name] > _marks(body) else None


def _marks(text: bytes) -> int:
    return sum(map(text.count, (b",", b":", b"[", b"{")))


def _explain(error: ValidationError) -> InvalidRequest:
    """Name the field and what it should be; never repeat what was sent."""
    found: dict[tuple[int | str, ...], list[str]] = {}
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        reason = _reason(item["msg"])
        reasons = found.setdefault(_steps(item["loc"]), [])
        if reason not in reasons:
            reasons.append(reason)
    # A union reports every branch it tried; the one that got furthest is what the client meant.
    steps = max(found, key=lambda steps: (len(steps), [step for step in steps if isinstance(step, int)]))
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{shorten(step)}" for step in steps)
    path = path.removeprefix(".") or "body"
    return InvalidRequest(f"{path} {shorten(' or '.join(found[steps]))}", param=path)


def _reason(message: str) -> str:
    reason = _INSTANCE.sub("", _SUBJECT.sub("", message)).replace(" after validation", "")
    return {"Field required": "is required"}.get(reason, reason.replace("dictionary", "object"))


def _steps(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Fields and places; not the branches of unions, which pydantic names between them."""
    return tuple(
        step for step in location if isinstance(step, int) or (step.isidentifier() and step not in _BRANCHES)
    )


_SUBJECT = re.compile(r"^(Input|List|Dictionary) ")
_INSTANCE = re.compile(r" or instance of \w+")
_BRANCHES = frozenset({"str", "int", "float", "bool", "dict", "ContentPart", "Source", "ToolChoiceObject"})
"""How pydantic names the branches of our unions in an error's location."""
