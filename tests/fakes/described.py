"""Holds answers against the server's own OpenAPI description."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator


class Description:
    """An OpenAPI document.

    Attributes:
        document: as it is served.
        events: the types of the events that were checked.
    """

    def __init__(self, document: Any) -> None:
        self.document = document
        self.events: set[str] = set()
        self._closed = copy.deepcopy(document)
        _close(self._closed)

    def operation(self, method: str, path: str) -> Any:
        """The operation that answers at a path."""
        paths = self._closed["paths"]
        template = path if path in paths else next(each for each in paths if _suits(each, path))
        return paths[template][method.lower()]

    def check(self, response: httpx.Response) -> Any:
        """Check that an answer is described, with every key that it has; returns its value, or its events."""
        request = response.request
        responses = self.operation(request.method, request.url.path)["responses"]
        described = responses.get(str(response.status_code), responses["default"])["content"]
        kind = response.headers["content-type"].partition(";")[0]
        schema = described[kind]["schema"]
        if kind != "text/event-stream":
            value = response.json()
            self._check(value, schema)
            return value
        events = [json.loads(data) for data in _data(response.text)]
        for event in events:
            self._check(event, schema)
            self.events.add(event.get("type", ""))
        return events

    def _check(self, value: Any, schema: Any) -> None:
        whole = {**schema, "components": self._closed["components"]}
        problems = list(Draft202012Validator(whole).iter_errors(value))
        assert not problems, f"{value}\n{[problem.message for problem in problems]}"


def _data(text: str) -> list[str]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines
    return [line for line in lines if line != "[DONE]"]


def _suits(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) is not None


def _close(schema: Any) -> None:
    """Allow no key that is not described."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for each in schema.values():
            _close(each)
    elif isinstance(schema, list):
        for each in schema:
            _close(each)
