"""The application: routes, limits and error handling, put together over a model service."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

from vllm_mlx import __version__
from vllm_mlx.config import AccessConfig, ServerConfig
from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.server import models, pages
from vllm_mlx.server.access.stack import middleware
from vllm_mlx.server.admin import health, probes, status
from vllm_mlx.server.admin import wire as admin_wire
from vllm_mlx.server.anthropic import count_tokens, messages
from vllm_mlx.server.anthropic import errors as anthropic_errors
from vllm_mlx.server.anthropic import wire as anthropic_wire
from vllm_mlx.server.anthropic.errors import AnthropicError
from vllm_mlx.server.anthropic.messages_schema import CountTokensRequest, MessagesRequest
from vllm_mlx.server.body import WireModel
from vllm_mlx.server.docs import complete
from vllm_mlx.server.errors import ErrorResponses
from vllm_mlx.server.mcp import execute, listing
from vllm_mlx.server.mcp import wire as mcp_wire
from vllm_mlx.server.mcp.execute import ExecuteRequest
from vllm_mlx.server.openai import chat, completions, render, tokenize
from vllm_mlx.server.openai import errors as openai_errors
from vllm_mlx.server.openai import wire as openai_wire
from vllm_mlx.server.openai.chat_schema import ChatCompletionRequest
from vllm_mlx.server.openai.completions_schema import CompletionRequest
from vllm_mlx.server.openai.errors import OpenAIError
from vllm_mlx.server.openai.tokenize import DetokenizeRequest, TokenizeRequest
from vllm_mlx.server.responses import create, stored
from vllm_mlx.server.responses import wire as responses_wire
from vllm_mlx.server.responses.errors import with_own_names
from vllm_mlx.server.responses.schema import CountInputRequest, ResponsesRequest
from vllm_mlx.server.responses.store import ResponseStore
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop

_SCHEMAS: list[type[WireModel]] = [
    ChatCompletionRequest,
    CompletionRequest,
    MessagesRequest,
    CountTokensRequest,
    ResponsesRequest,
    CountInputRequest,
    TokenizeRequest,
    DetokenizeRequest,
    ExecuteRequest,
]


_ERROR_SCHEMAS: dict[str, list[type[BaseModel]]] = {
    "/": [OpenAIError],
    "/v1/messages": [AnthropicError],
    "/v1/models": [OpenAIError, AnthropicError],
}

_ANSWERS = [
    openai_wire.ANSWERS,
    anthropic_wire.ANSWERS,
    responses_wire.ANSWERS,
    mcp_wire.ANSWERS,
    admin_wire.ANSWERS,
]

_NOTHING_SPECIAL = AccessConfig()

_ROUTES = (
    *(completions, models, tokenize),
    *(health, probes, pages),
)


def create_app(
    service: ModelService,
    config: ServerConfig,
    access: AccessConfig = _NOTHING_SPECIAL,
    tool_loop: ToolLoop | None = None,
    *,
    clock: Clock = system_clock,
) -> FastAPI:
    """The ASGI application over a service, and over tools that this server runs itself.

    Args:
        clock: tells how old kept answers are.
    """
    errors = ErrorResponses(
        default=openai_errors.error_response,
        by_prefix={
            "/v1/messages": anthropic_errors.error_response,
            "/v1/models": models.error_response,
            "/v1/responses": with_own_names(openai_errors.error_response),
        },
    )
    app = FastAPI(
        title="vllm-mlx",
        version=__version__,
        # A redirect would be built from the client's Host header.
        redirect_slashes=False,
        # FastAPI's own pages load their scripts from elsewhere.
        openapi_url=None,
        middleware=middleware(config, access, errors),
    )
    errors.install(app)
    store = ResponseStore(
        max_responses=config.stored_responses,
        max_bytes=int(config.stored_responses_mb * 1024 * 1024),
        ttl_s=config.stored_responses_ttl,
        clock=clock,
    )
    # A request is held against one router after the other: what is asked for most comes first.
    app.include_router(chat.routes(service, tool_loop))
    app.include_router(messages.routes(service, tool_loop))
    app.include_router(create.routes(service, store, tool_loop))
    app.include_router(render.routes(service, tool_loop))
    app.include_router(count_tokens.routes(service, tool_loop))
    for module in _ROUTES:
        app.include_router(module.routes(service))
    tools = None if tool_loop is None else tool_loop.tools
    app.include_router(status.routes(service, tools))
    app.include_router(listing.routes(tools))
    app.include_router(execute.routes(tools))
    app.include_router(stored.routes(store))
    complete(app, _SCHEMAS, _ERROR_SCHEMAS, _ANSWERS)
    return app
