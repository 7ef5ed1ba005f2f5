"""Every field of every dialect, with every kind of value: served or refused in shape, and nothing logged."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest

from vllm_mlx.server.anthropic.messages_schema import CountTokensRequest, MessagesRequest
from vllm_mlx.server.body import WireModel
from vllm_mlx.server.mcp.execute import ExecuteRequest
from vllm_mlx.server.openai.chat_schema import ChatCompletionRequest
from vllm_mlx.server.openai.completions_schema import CompletionRequest
from vllm_mlx.server.openai.tokenize import DetokenizeRequest, TokenizeRequest
from vllm_mlx.server.responses.schema import CountInputRequest, ResponsesRequest

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(80)]

HI = [{"role": "user", "content": "hi"}]
ROUTES: list[tuple[str, type[WireModel], dict[str, Any]]] = [
    ("/v1/chat/completions", ChatCompletionRequest, {"messages": HI}),
    ("/v1/completions", CompletionRequest, {"prompt": "hi"}),
    ("/v1/messages", MessagesRequest, {"messages": HI, "max_tokens": 5}),
    ("/v1/messages/count_tokens", CountTokensRequest, {"messages": HI}),
    ("/v1/chat/completions/render", ChatCompletionRequest, {"messages": HI}),
    ("/v1/responses", ResponsesRequest, {"input": "hi"}),
    ("/v1/responses/input_tokens", CountInputRequest, {"input": "hi"}),
    ("/v1/mcp/execute", ExecuteRequest, {"tool_name": "f"}),
    ("/tokenize", TokenizeRequest, {"prompt": "hi"}),
    ("/detokenize", DetokenizeRequest, {"tokens": [1]}),
]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**400,
    1.5,
    1e308,
    "",
    "\x00",
    "x\u2028😀",
    [],
    [None],
    ["\x00"],
    [[]],
    [{}],
    [{"type": "\x00", "role": "\x00"}],
    {},
    {"": None},
    {"type": "\x00"},
]
BYTES = [b'"\xff\xfe"', b'"\x00"', b'"\\ud800"', b"[" * 60 + b"]" * 60]


@pytest.mark.parametrize(("path", "schema", "body"), ROUTES, ids=lambda value: str(value)[:30])
async def test_each_field_takes_or_refuses_each_value(
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    path: str,
    schema: type[WireModel],
    body: dict[str, Any],
) -> None:
    caplog.set_level(logging.WARNING)
    for name in schema.model_fields:
        others = json.dumps({key: value for key, value in body.items() if key != name})[1:-1]
        for value in [json.dumps(each).encode() for each in VALUES] + BYTES:
            content = b'{"%b":%b%b}' % (name.encode(), value, b"," * bool(others) + others.encode())
            response = await client.post(path, content=content)
            assert response.status_code in (200, 400, 404, 413), (name, value[:40], response.text[:500])
            if response.status_code != 200:
                assert response.json()["error"]["message"]
            elif response.headers["content-type"].startswith("text/event-stream"):
                assert b'"error":{' not in response.content
    assert not caplog.records
