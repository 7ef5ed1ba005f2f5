"""The task that each program has its client do: one question, one tool, one answer."""

from __future__ import annotations

import os

URL = os.environ.get("BASE_URL", "")
LIMIT_S = 60
QUESTION = "When does the harbour close?"
FORMED_QUESTION = "Tell by the schema when the harbour closes."
DESCRIPTION = "Tells when a place closes."
PARAMETERS = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}


def closing_time(place: str) -> str:
    """Tells when a place closes."""
    return "nine-4711" if place == "the harbour" else f"nobody knows {place}"


def report(way: str, answer: str) -> None:
    """Tell the test what came out of one way through the client."""
    print(f"{way}: {answer}", flush=True)
