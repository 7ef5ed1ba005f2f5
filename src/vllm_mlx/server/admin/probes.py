"""What routers ask a server before they send it work, in the words of vLLM and SGLang, and true here."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from vllm_mlx import __version__
from vllm_mlx.service.port import ModelService


class Version(BaseModel):
    """As vLLM answers."""

    version: str = __version__


class ServerInfo(BaseModel):
    """As SGLang answers; the fields that its router reads, and the sizes of this server."""

    version: str = __version__
    model_path: str
    served_model_name: str
    max_model_len: int | None
    max_running_requests: int | None
    max_total_num_tokens: int | None
    tp_size: int = 1
    dp_size: int = 1
    status: str


class ModelInfo(BaseModel):
    """As SGLang answers. The path is the model's name: where it lies on the disk is nobody's business."""

    model_path: str
    tokenizer_path: str
    served_model_name: str
    is_generation: bool = True
    max_model_len: int | None


class Load(BaseModel):
    """How busy the server is: requests at work and waiting, and tokens that the KV pool holds for them."""

    dp_rank: int = 0
    num_reqs: int
    num_waiting_reqs: int
    num_tokens: int


def routes(service: ModelService) -> APIRouter:
    """The routes, over a model service."""
    router = APIRouter(tags=["routers"])

    @router.get("/version")
    async def version() -> Version:
        """The server's version."""
        return Version()

    @router.get("/get_server_info")
    @router.get("/server_info")
    async def server_info() -> ServerInfo:
        """What is served and how much fits; /server_info and /get_server_info are the same."""
        card, status = service.models()[0], service.status()
        return ServerInfo(
            model_path=card.root,
            served_model_name=card.id,
            max_model_len=card.max_model_len,
            max_running_requests=_number(status, "max_num_seqs"),
            max_total_num_tokens=_number(status, "kv_capacity_tokens"),
            status=service.health().state,
        )

    @router.get("/get_model_info")
    @router.get("/model_info")
    async def model_info() -> ModelInfo:
        """The served model; /model_info and /get_model_info are the same."""
        card = service.models()[0]
        return ModelInfo(
            model_path=card.root,
            tokenizer_path=card.root,
            served_model_name=card.id,
            max_model_len=card.max_model_len,
        )

    @router.get("/get_load")
    async def load() -> list[Load]:
        """How busy the server is, for routers that choose the idlest."""
        engine = service.status().get("engine", {})
        cache = engine.get("cache", {}) if isinstance(engine, dict) else {}
        running, waiting = _number(engine, "running") or 0, _number(engine, "waiting") or 0
        held = (_number(cache, "active_blocks") or 0) * (_number(cache, "block_size") or 0)
        return [Load(num_reqs=running + waiting, num_waiting_reqs=waiting, num_tokens=held)]

    return router


def _number(fields: Any, name: str) -> int | None:
    """A count of the service's account; it has none before the model is loaded."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) else None
