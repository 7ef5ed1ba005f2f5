"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from vllm_mlx.service.port import ModelCard, ModelService


def routes(service: ModelService) -> APIRouter:
    """The routes, over a model service."""
    router = APIRouter(tags=["openai"])

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """All served models."""
        return {"object": "list", "data": [_fields(card) for card in service.models()]}

    @router.get("/v1/models/{model:path}")
    async def retrieve_model(model: str) -> dict[str, Any]:
        """One served model; its name may hold slashes."""
        return _fields(service.model(model))

    return router


def _fields(card: ModelCard) -> dict[str, Any]:
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "root": card.root,
        "parent": None,
        "max_model_len": card.max_model_len,
        "permission": [_permission(card)],
    }


def _permission(card: ModelCard) -> dict[str, Any]:
    """What OpenAI's list once said about access, and routers still read: all may use, none may train."""
    return {
        "id": f"modelperm-{card.id}",
        "object": "model_permission",
        "created": card.created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
