"""What a person finds at /, /docs and /openapi.json: no script, no font and no style from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from vllm_mlx import __version__
from vllm_mlx.service.port import ModelService

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td{padding:.2rem .8rem .2rem 0;vertical-align:top}code{font-size:.95em}summary{cursor:pointer}"
)
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
}


class Welcome(BaseModel):
    """What runs here, and where to go on."""

    name: str = "vllm-mlx"
    version: str = __version__
    models: list[str]
    docs: str = "/docs"
    openapi: str = "/openapi.json"
    health: str = "/health"
    status: str = "/v1/status"


class Description(BaseModel):
    """This document: OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.0."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
    security: list[dict[str, list[str]]]


def routes(service: ModelService) -> APIRouter:
    """The routes, over a model service."""
    router = APIRouter(tags=["pages"])

    @router.get("/")
    async def welcome() -> Welcome:
        """Name, version, served models, and where the rest is."""
        return Welcome(models=[card.id for card in service.models()])

    @router.get("/openapi.json", responses={200: {"model": Description}})
    async def openapi(request: Request) -> JSONResponse:
        """The OpenAPI description of every route."""
        return JSONResponse(request.app.openapi())

    @router.get("/docs", response_class=HTMLResponse)
    async def docs(request: Request) -> HTMLResponse:
        """Every route, the fields of its body and of its answer, as one page that works offline."""
        return HTMLResponse(_page(request.app.openapi()), headers=_HEADERS)

    return router


def _page(document: dict[str, Any]) -> str:
    schemas = document.get("components", {}).get("schemas", {})
    rows = [
        _row(method, path, operation, schemas)
        for path, methods in sorted(document["paths"].items())
        for method, operation in methods.items()
    ]
    title = f"{escape(document['info']['title'])} {escape(document['info']['version'])}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>The whole description, for programs: <a href=/openapi.json>/openapi.json</a></p>"
        f"<table>{''.join(rows)}</table></html>"
    )


def _row(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    meaning = escape(str(operation.get("description") or operation.get("summary") or "").strip())
    body, answer = operation.get("requestBody", {}), operation["responses"].get("200", {})
    listed = _listed(_fields(body, schemas, "required"), "fields")
    listed += _listed(_fields(answer, schemas, "always"), "fields in the answer")
    name = f"<code>{method.upper()}</code><td><code>{escape(path)}</code>"
    return f"<tr><td>{name}<td>{meaning}{listed}"


def _listed(fields: list[str], what: str) -> str:
    return f"<details><summary>{len(fields)} {what}</summary>{_list(fields)}</details>" if fields else ""


def _fields(described: dict[str, Any], schemas: dict[str, Any], mark: str) -> list[str]:
    content = described.get("content", {}).get("application/json", {})
    schema = schemas.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
    marked = schema.get("required", ())
    return [f"{name} ({mark})" if name in marked else name for name in schema.get("properties", {})]


def _list(fields: list[str]) -> str:
    return "<ul>" + "".join(f"<li><code>{escape(field)}</code>" for field in fields) + "</ul>"
