"""Answers that were given before: retrieve, delete, cancel, and the items they answered."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response

from vllm_mlx.core.errors import InvalidRequest, NotFound
from vllm_mlx.core.naming import shorten
from vllm_mlx.server import sse
from vllm_mlx.server.callers import owner
from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.answer import Framer
from vllm_mlx.server.responses.replay import replay
from vllm_mlx.server.responses.store import ResponseStore, StoredItem
from vllm_mlx.server.responses.tools_decode import wrong

_MAX_PAGE = 100


def routes(store: ResponseStore) -> APIRouter:
    """The routes, over the answers that are kept. Each caller sees its own."""
    router = APIRouter(tags=["responses"])

    @router.get("/v1/responses/{response_id}", responses=wire.ANSWERS.of(wire.Response, events=wire.Event))
    async def retrieve_response(
        request: Request, response_id: str, stream: bool = False, starting_after: int = -1
    ) -> Response:
        """A stored answer; whole, or as the stream of events it once was."""
        if request.query_params.keys() & {"include", "include[]"}:
            raise wrong("include", "is not supported here: an answer is given as it was made")
        found = store.get(owner(request.scope), response_id)
        if not stream:
            return _json(found.data)
        frames = Framer(after=starting_after).frames(list(replay(found.data)))
        return Response(frames, headers=sse.HEADERS)

    @router.delete("/v1/responses/{response_id}", responses=wire.ANSWERS.of(wire.Deleted))
    async def delete_response(request: Request, response_id: str) -> Response:
        """Forget a stored answer."""
        store.delete(owner(request.scope), response_id)
        return _json(wire.to_json(wire.Deleted(response_id)))

    @router.post("/v1/responses/{response_id}/cancel", status_code=400)
    async def cancel_response(request: Request, response_id: str) -> Response:
        """Answers run in the background can be cancelled; this server runs none."""
        store.get(owner(request.scope), response_id)
        raise InvalidRequest(
            "Only background responses can be cancelled, and this server runs none: "
            "closing the connection ends a running one.",
            param="response_id",
            code="not_cancellable",
        )

    @router.get("/v1/responses/{response_id}/input_items", responses=wire.ANSWERS.of(wire.ItemList))
    async def list_input_items(
        request: Request,
        response_id: str,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> Response:
        """The items of a stored answer's own request, newest first unless `order` says otherwise."""
        items = store.get(owner(request.scope), response_id).input
        if order == "desc":
            items = items[::-1]
        start = 0 if after is None else _place(items, after) + 1
        return _json(_page(items[start : start + limit], more=start + limit < len(items)))

    return router


def _place(items: tuple[StoredItem, ...], item_id: str) -> int:
    for place, item in enumerate(items):
        if item.id == item_id:
            return place
    raise NotFound(f"after: {shorten(item_id)!r} is no item of this response.", param="after")


def _page(items: tuple[StoredItem, ...], *, more: bool) -> bytes:
    return wire.to_json(
        wire.ItemList(
            data=Raw(b"[" + b",".join(item.data for item in items) + b"]"),
            first_id=items[0].id if items else None,
            last_id=items[-1].id if items else None,
            has_more=more,
        )
    )


def _json(data: bytes) -> Response:
    return Response(data, media_type="application/json")
