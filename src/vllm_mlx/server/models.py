"""GET /v1/models and /v1/models/{id}: one path, two dialects, told apart by the headers that clients send."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from vllm_mlx.core.errors import AppError
from vllm_mlx.server.anthropic import errors as anthropic_errors
from vllm_mlx.server.anthropic import models as anthropic
from vllm_mlx.server.openai import errors as openai_errors
from vllm_mlx.server.openai import models as openai
from vllm_mlx.service.port import ModelService


def error_response(error: AppError, status: int, scope: Scope) -> Response:
    """A failed request's answer, in the dialect it was asked in."""
    if _is_anthropic(scope["headers"]):
        return anthropic_errors.error_response(error, status, scope)
    return openai_errors.error_response(error, status, scope)


def routes(service: ModelService) -> APIRouter:
    """The routes, over a model service."""
    router = APIRouter(tags=["models"])

    @router.get(
        "/v1/models",
        responses={200: {"model": openai.ModelList | anthropic.ModelPage}},
        openapi_extra={"parameters": anthropic.PAGE_PARAMETERS},
    )
    async def list_models(request: Request) -> Response:
        """All served names; in Anthropic's shape, a page at a time, for its clients."""
        if _is_anthropic(request.scope["headers"]):
            return anthropic.page(service.models(), request.query_params)
        return openai.listing(service.models())

    @router.get("/v1/models/{model:path}", responses={200: {"model": openai.Model | anthropic.Model}})
    async def retrieve_model(request: Request, model: str) -> Response:
        """The model behind a name, which may hold slashes."""
        card = service.model(model)
        return anthropic.entry(card) if _is_anthropic(request.scope["headers"]) else openai.entry(card)

    return router


def _is_anthropic(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Its clients send a version, and their key not as OpenAI's do."""
    names = {name for name, _ in headers}
    return b"anthropic-version" in names or (b"x-api-key" in names and b"authorization" not in names)
