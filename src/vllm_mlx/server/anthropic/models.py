"""Served models in Anthropic's shape (https://platform.claude.com/docs/en/api/models/list)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel
from starlette.responses import Response

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.naming import listed, shorten
from vllm_mlx.service.port import ModelCard

DEFAULT_LIMIT, MAX_LIMIT = 20, 1000

PAGE_PARAMETERS = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}},
    {"name": "after_id", "in": "query", "schema": {"type": "string"}},
    {"name": "before_id", "in": "query", "schema": {"type": "string"}},
]
"""For the OpenAPI page: what `page` reads of a query. OpenAI's clients send none."""


class Model(BaseModel):
    """One served name."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int | None
    max_tokens: int | None


class ModelPage(BaseModel):
    """Some of the served names; `first_id` and `last_id` are cursors for the next call."""

    data: list[Model]
    has_more: bool
    first_id: str | None
    last_id: str | None


def page(cards: Sequence[ModelCard], query: Mapping[str, str]) -> Response:
    """The names right after, or right before, a cursor; the first ones without any.

    Raises:
        InvalidRequest: the limit is out of range, or there are two cursors, or one that names nothing.
    """
    limit = _limit(query.get("limit", str(DEFAULT_LIMIT)))
    after_id, before_id = query.get("after_id"), query.get("before_id")
    if after_id and before_id:
        raise InvalidRequest("Give after_id or before_id, not both.", param="before_id")
    if before_id:
        candidates = list(cards)[: _place(cards, before_id, "before_id")]
        chosen = candidates[-limit:]
    else:
        candidates = list(cards)[_place(cards, after_id, "after_id") + 1 if after_id else 0 :]
        chosen = candidates[:limit]
    ids = [card.id for card in chosen]
    return _json(
        ModelPage(
            data=[_model(card) for card in chosen],
            has_more=len(candidates) > len(chosen),
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
        )
    )


def entry(card: ModelCard) -> Response:
    """The answer about one."""
    return _json(_model(card))


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise InvalidRequest(f"limit must be a whole number from 1 to {MAX_LIMIT}.", param="limit")


def _place(cards: Sequence[ModelCard], name: str, param: str) -> int:
    for place, card in enumerate(cards):
        if card.id == name:
            return place
    known = listed([card.id for card in cards])
    raise InvalidRequest(f"{param}: {shorten(name)!r} is none of the models {known}.", param=param)


def _model(card: ModelCard) -> Model:
    return Model(
        id=card.id,
        display_name=card.id,
        created_at=datetime.fromtimestamp(card.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        max_input_tokens=card.max_model_len,
        max_tokens=card.max_model_len,
    )


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
