"""What a client makes of a stream: its frames, and the message they add up to."""

from __future__ import annotations

import json
from typing import Any


def frames(text: str) -> list[Any]:
    """The decoded data of each event; the closing one must be there and is left out."""
    events = [event for event in text.split("\n\n") if event and not event.startswith(":")]
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    data = [event.removeprefix("data: ") for event in events]
    assert data[-1] == "[DONE]"
    return [json.loads(item) for item in data[:-1]]


def folded_chat(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choices of a chat stream, put together as a client does."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            choice = choices.setdefault(
                piece["index"], {"content": "", "reasoning": "", "calls": {}, "logprobs": [], "finish": None}
            )
            delta = piece["delta"]
            choice["content"] += delta.get("content") or ""
            choice["reasoning"] += delta.get("reasoning") or ""
            assert delta.get("reasoning") == delta.get("reasoning_content")
            for call in delta.get("tool_calls", ()):
                known = choice["calls"].setdefault(
                    call["index"], {"id": call.get("id"), "name": "", "arguments": ""}
                )
                known["name"] += call["function"].get("name", "")
                known["arguments"] += call["function"]["arguments"]
            choice["logprobs"] += (piece["logprobs"] or {}).get("content", [])
            choice["finish"] = piece["finish_reason"] or choice["finish"]
    return [choices[index] for index in sorted(choices)]


def as_folded(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Choices of a whole chat answer, in the same form."""
    return [
        {
            "content": choice["message"]["content"] or "",
            "reasoning": choice["message"]["reasoning"] or "",
            "calls": {
                i: {"id": call["id"], **call["function"]}
                for i, call in enumerate(choice["message"].get("tool_calls", ()))
            },
            "logprobs": (choice["logprobs"] or {}).get("content", []),
            "finish": choice["finish_reason"],
        }
        for choice in body["choices"]
    ]


def named_events(text: str) -> list[Any]:
    """The decoded data of each event of a stream whose events have names, which the data repeats."""
    found = []
    for event in text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found
