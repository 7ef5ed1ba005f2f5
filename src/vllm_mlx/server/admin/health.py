"""GET /health: whether requests can be served."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from vllm_mlx.service.port import ModelService


class HealthState(BaseModel):
    """`ok`, or why requests cannot be served, with words for an operator where there are any."""

    status: Literal["ok", "loading", "restarting", "failed", "stopping"]
    detail: str = ""


def routes(service: ModelService) -> APIRouter:
    """The route, over a model service."""
    router = APIRouter(tags=["admin"])

    @router.head("/health", include_in_schema=False)
    @router.get("/health", responses={200: {"model": HealthState}, 503: {"model": HealthState}})
    async def health() -> JSONResponse:
        """200 when ready; 503 while the model loads, once it has failed, and while the server stops."""
        now = service.health()
        ready = now.state == "ready"
        fields: dict[str, str] = {"status": "ok" if ready else now.state}
        if now.detail:
            fields["detail"] = now.detail
        return JSONResponse(fields, 200 if ready else 503)

    return router
