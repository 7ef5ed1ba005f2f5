"""Served models in OpenAI's shape, with the fields that others added and routers and agents read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel
from starlette.responses import Response

from vllm_mlx.service.port import ModelCard


class Permission(BaseModel):
    """What OpenAI's list once said about access, and routers still read: all may use, none may train."""

    id: str
    object: Literal["model_permission"] = "model_permission"
    created: int
    allow_create_engine: bool = False
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_search_indices: bool = False
    allow_view: bool = True
    allow_fine_tuning: bool = False
    organization: str = "*"
    group: str | None = None
    is_blocking: bool = False


class Meta(BaseModel):
    """The context, in tokens."""

    n_ctx: int | None


class Model(BaseModel):
    """One served name; `root` is the model behind it. `created` is a Unix time in seconds.

    The context stands twice: `max_model_len` is vLLM's name, which routers read, and `meta` is where
    llama.cpp has it, by which Goose knows when to shorten a conversation.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str
    parent: str | None = None
    max_model_len: int | None
    meta: Meta
    permission: list[Permission]


class ModelList(BaseModel):
    """All served names, the main one first."""

    object: Literal["list"] = "list"
    data: list[Model]


def listing(cards: Sequence[ModelCard]) -> Response:
    """The answer that lists them."""
    return _json(ModelList(data=[_model(card) for card in cards]))


def entry(card: ModelCard) -> Response:
    """The answer about one."""
    return _json(_model(card))


def _model(card: ModelCard) -> Model:
    return Model(
        id=card.id,
        created=card.created,
        owned_by=card.owned_by,
        root=card.root,
        max_model_len=card.max_model_len,
        meta=Meta(n_ctx=card.max_model_len),
        permission=[Permission(id=f"modelperm-{card.id}", created=card.created)],
    )


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
