"""What the page of refusals says is what the server does."""

from __future__ import annotations

import ast

import httpx
import pytest
from tests.architecture.project import PACKAGE
from tools.docs.not_supported import ASKED, PLAIN, ROUTES, TABLE, tables

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(96)]

FIELDS = [
    (route, field, why)
    for module, fields in tables().items()
    for route in ROUTES.get(module, ())
    for field, why in fields.items()
]


@pytest.mark.parametrize(("route", "field", "why"), FIELDS, ids=lambda value: str(value)[:40])
async def test_every_field_of_the_tables_is_refused_by_name(
    client: httpx.AsyncClient, route: str, field: str, why: str
) -> None:
    response = await client.post(route, json=PLAIN[route] | {field: "x"})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == f"{field}: {why}"


@pytest.mark.parametrize("route", PLAIN)
async def test_the_plain_bodies_of_the_page_are_accepted(client: httpx.AsyncClient, route: str) -> None:
    assert (await client.post(route, json=PLAIN[route])).status_code == 200


async def test_what_the_page_asks_for_is_answered_or_refused_as_bad_input(client: httpx.AsyncClient) -> None:
    for route, shown, fields in ASKED:
        response = await client.post(route, json=PLAIN[route] | fields)
        assert response.status_code in (200, 400), shown


def test_every_table_of_refused_fields_is_on_the_page() -> None:
    assert set(tables()) == set(ROUTES)


def test_tables_of_refused_fields_go_by_the_name_that_the_page_looks_for() -> None:
    names = {
        target.id
        for file in (PACKAGE / "server").rglob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        for target in (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)])
        if isinstance(target, ast.Name) and "REFUSED" in target.id
    }
    assert names == {TABLE}
