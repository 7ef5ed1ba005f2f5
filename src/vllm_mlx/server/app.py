"""The application: routes, limits and error handling, put together over a model service."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware

from vllm_mlx import __version__
from vllm_mlx.config import ServerConfig
from vllm_mlx.server.admin import health, status
from vllm_mlx.server.anthropic import count_tokens, messages
from vllm_mlx.server.anthropic import errors as anthropic_errors
from vllm_mlx.server.anthropic.messages_schema import CountTokensRequest, MessagesRequest
from vllm_mlx.server.body import WireModel
from vllm_mlx.server.docs import add_schemas
from vllm_mlx.server.errors import ErrorResponses
from vllm_mlx.server.limits import RequestLimits
from vllm_mlx.server.openai import chat, completions, models, tokenize
from vllm_mlx.server.openai import errors as openai_errors
from vllm_mlx.server.openai.chat_schema import ChatCompletionRequest
from vllm_mlx.server.openai.completions_schema import CompletionRequest
from vllm_mlx.server.openai.tokenize import DetokenizeRequest, TokenizeRequest
from vllm_mlx.service.port import ModelService

_SCHEMAS: list[type[WireModel]] = [
    ChatCompletionRequest,
    CompletionRequest,
    MessagesRequest,
    CountTokensRequest,
    TokenizeRequest,
    DetokenizeRequest,
]


def create_app(service: ModelService, config: ServerConfig) -> FastAPI:
    """The ASGI application over a service.

    There is no CORS: a web page of another origin gets no answer it could read.
    """
    errors = ErrorResponses(
        default=openai_errors.error_response, by_prefix={"/v1/messages": anthropic_errors.error_response}
    )
    app = FastAPI(
        title="vllm-mlx",
        version=__version__,
        # A redirect would be built from the client's Host header.
        redirect_slashes=False,
        # Outermost first; who may ask is decided before how much.
        middleware=[
            Middleware(RequestLimits, max_body_bytes=int(config.max_body_mb * 1024 * 1024), errors=errors),
        ],
    )
    errors.install(app)
    for module in (chat, completions, messages, count_tokens, models, tokenize, health, status):
        app.include_router(module.routes(service))
    add_schemas(app, _SCHEMAS)
    return app
