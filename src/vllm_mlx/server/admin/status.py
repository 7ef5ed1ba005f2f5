"""GET /v1/status: what the server is doing."""

from __future__ import annotations

from fastapi import APIRouter

from vllm_mlx.server.admin import wire
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tools import ToolService


def routes(service: ModelService, tools: ToolService | None = None) -> APIRouter:
    """The route, over a model service, and the tools where there are any."""
    router = APIRouter(tags=["admin"])

    @router.get("/v1/status", response_model=None, responses=wire.ANSWERS.of(wire.Status))
    async def status() -> dict[str, object]:
        """How the model runs, and the counts of engine and cache."""
        status = service.status()
        return status if tools is None else status | {"mcp": tools.status()}

    return router
