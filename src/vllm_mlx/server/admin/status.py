"""GET /v1/status: what the server is doing."""

from __future__ import annotations

from fastapi import APIRouter

from vllm_mlx.service.port import ModelService


def routes(service: ModelService) -> APIRouter:
    """The route, over a model service."""
    router = APIRouter(tags=["admin"])

    @router.get("/v1/status")
    async def status() -> dict[str, object]:
        """How the model runs, and the counts of engine and cache."""
        return service.status()

    return router
