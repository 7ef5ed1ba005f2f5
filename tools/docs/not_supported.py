"""The page of what is refused and why: from the decoders' tables, the command line's, and by asking."""

from __future__ import annotations

import asyncio
import pkgutil
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NamedTuple

import httpx
from tests.fakes.service import FakeModelService, completed, spoken

import vllm_mlx.server
from vllm_mlx.cli.refused import REFUSED
from vllm_mlx.config import ServerConfig
from vllm_mlx.server.app import create_app

HEAD = """# What is refused

Something that is asked for and cannot be done is refused by name: a field of a request with status 400 and
the sentence below, a flag with that sentence and exit code 2. Other unknown fields are ignored, since SDKs
send more than the APIs document. A field of these tables whose value asks for nothing (`null`, `false`,
an empty text or list) is not refused; a form of the answer that is empty, such as `guided_choice: []`, is.

Made by `make docs`: the fields and flags from the tables that the code itself reads, the values by asking the
server and writing down its answer.
"""

TABLE = "REFUSED_FIELDS"
"""What a decoder calls its table of refused fields."""

_CHAT, _TEXT, _MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
_RESPONSES = "/v1/responses"

# Module of the server with such a table -> the routes that read it.
ROUTES = {
    "openai.generation_decode": (_CHAT, _TEXT),
    "openai.chat_decode": (_CHAT,),
    "responses.decode": (_RESPONSES, f"{_RESPONSES}/input_tokens"),
    "anthropic.messages_decode": (_MESSAGES, f"{_MESSAGES}/count_tokens"),
}


class Asked(NamedTuple):
    """A request that may be refused for one value.

    Attributes:
        shown: the value as the page shows it.
        fields: what is added to the route's plain body, or put in its place.
    """

    route: str
    shown: str
    fields: dict[str, Any]


_TURN = {"role": "user", "content": "Hello."}
PLAIN: dict[str, dict[str, Any]] = {
    _CHAT: {"messages": [_TURN]},
    _TEXT: {"prompt": "Hello."},
    _RESPONSES: {"input": "Hello."},
    f"{_RESPONSES}/input_tokens": {"input": "Hello."},
    _MESSAGES: {"messages": [_TURN], "max_tokens": 8},
    f"{_MESSAGES}/count_tokens": {"messages": [_TURN]},
}
"""Route -> a body that it accepts."""
_SCHEMA = {"type": "object", "properties": {}}
_FUNCTION = [{"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}]
_PLAIN_TEXT = {"type": "text", "media_type": "text/plain", "data": "x"}
_PNG = "iVBORw0KGgo="


def _said(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


ASKED = (
    Asked(
        _CHAT,
        "`structural_tag` with a `format`",
        {"response_format": {"type": "structural_tag", "format": {}}},
    ),
    Asked(_CHAT, "tools of type `custom`", {"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
    Asked(_CHAT, "`modalities` with `audio`", {"modalities": ["text", "audio"]}),
    Asked(
        _CHAT,
        "content of type `image_url`",
        _said({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}}),
    ),
    Asked(
        _CHAT,
        "content of type `input_audio`",
        _said({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
    ),
    Asked(_CHAT, "content of type `file`", _said({"type": "file", "file": {"file_id": "f"}})),
    Asked(_CHAT, "messages of the role `function`", {"messages": [{"role": "function", "content": "1"}]}),
    Asked(_TEXT, "`suffix`", {"suffix": "The end."}),
    Asked(_TEXT, "`best_of` above `n`", {"best_of": 2}),
    Asked(_RESPONSES, "`background`", {"background": True}),
    Asked(_RESPONSES, "tools of OpenAI's own", {"tools": [{"type": "web_search"}]}),
    Asked(_RESPONSES, "tools of type `custom`", {"tools": [{"type": "custom", "name": "f"}]}),
    Asked(
        _RESPONSES,
        "content of type `input_image`",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": _PNG}]}]},
    ),
    Asked(
        _RESPONSES,
        "content of type `input_file`",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    ),
    Asked(
        _RESPONSES,
        "items of hosted tools",
        {"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]},
    ),
    Asked(
        _MESSAGES,
        "tools that Anthropic's servers run",
        {"tools": [{"type": "web_search_20250305", "name": "search"}]},
    ),
    Asked(
        _MESSAGES,
        "content of type `image`",
        _said({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PNG}}),
    ),
    Asked(
        _MESSAGES,
        "documents that are not given as text",
        _said({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}),
    ),
    Asked(
        _MESSAGES,
        "`citations` of a document",
        _said({"type": "document", "source": _PLAIN_TEXT, "citations": {"enabled": True}}),
    ),
)


def page() -> str:
    """The page."""
    parts = [HEAD, "## Fields of requests\n"]
    for name, fields in tables().items():
        parts.append(f"{_sentence(ROUTES.get(name, (name,)))}:\n")
        parts.append(_table(("field", "answer"), ((f"`{field}`", why) for field, why in fields.items())))
    parts += ["## Values of fields that are else accepted\n", _table(("route", "what", "answer"), answers())]
    parts += [
        "## Flags\n\nThey belong to the reference implementation or to later versions.\n",
        _table(("flag", "answer"), ((f"`{flag}`", why) for flag, why in sorted(REFUSED.items()))),
    ]
    return "\n".join(parts)


def tables() -> dict[str, dict[str, str]]:
    """Module -> refused fields with the reason, of every module of the server that has such a table.

    In the order of `ROUTES`; a module that is missing there comes last, and a test tells.
    """
    root = vllm_mlx.server
    names = [one.name for one in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")]
    found = {name: getattr(import_module(name), TABLE, None) for name in names}
    named = {name.removeprefix(f"{root.__name__}."): table for name, table in found.items() if table}
    return {name: named[name] for name in sorted(named, key=lambda name: [*ROUTES, name].index(name))}


def answers() -> list[tuple[str, str, str]]:
    """Route, value and what the server says, of those values that it refuses."""
    return asyncio.run(_ask())


async def _ask() -> list[tuple[str, str, str]]:
    service = FakeModelService([*spoken("Yes."), completed()])
    transport = httpx.ASGITransport(create_app(service, ServerConfig()))
    found = []
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for route, shown, fields in ASKED:
            reply = await client.post(route, json=PLAIN[route] | fields)
            if reply.status_code != httpx.codes.OK:
                found.append((f"`{route}`", shown, reply.json()["error"]["message"]))
    return found


def _sentence(routes: tuple[str, ...]) -> str:
    return "In " + " and ".join(f"`{route}`" for route in routes)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
