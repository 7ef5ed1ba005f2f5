"""Reads a value whose lists and objects are elements inside elements."""

from __future__ import annotations

import json
import re

from vllm_mlx.parsing.arguments import Argument
from vllm_mlx.parsing.readers.loose import escaped
from vllm_mlx.parsing.source import Source, Waits, markers

_TAG = re.compile(r"<(/?)([^<>/][^<>]*)>")
_MAX_DEPTH = 64
_ITEM = "item"


class _Element:
    def __init__(self, key: str) -> None:
        self.key = key
        self.text = ""
        self.inner: list[_Element] = []


class _NoElements(Exception):
    """The tags are not in order."""


def read_element(source: Source, mark: str, key: str, wanted: Argument) -> Waits[str]:
    """The value as JSON, from after its opening tag to after its closing one.

    What is cut off comes out as the string it is so far, and so does what has tags that do not match.
    """
    opening, closing = f"{mark}<{key}>", f"{mark}</{key}>"
    parts: list[str] = []
    depth = 1
    while True:
        found = yield from source.until(markers(opening, closing), parts.append)
        source.at += len(found)
        if not found:
            return f'"{escaped("".join(parts))}'
        depth += 1 if found == opening else -1
        if not depth:
            break
        parts.append(found)
    raw = "".join(parts)
    try:
        return _value(_tree(raw, mark), wanted)
    except _NoElements:
        return json.dumps(raw, ensure_ascii=False)


def _tree(raw: str, mark: str) -> _Element:
    """The elements of a text."""
    text, *pieces = raw.split(mark)
    top = _Element("")
    top.text = text
    open_ones = [top]
    for piece in pieces:
        tag = _TAG.match(piece)
        if tag is None:
            raise _NoElements
        if tag[1]:
            if tag[2] != open_ones.pop().key or not open_ones:
                raise _NoElements
        else:
            one = _Element(tag[2])
            open_ones[-1].inner.append(one)
            open_ones.append(one)
        open_ones[-1].text += piece[tag.end() :]
        if len(open_ones) > _MAX_DEPTH:
            raise _NoElements
    if len(open_ones) > 1:
        raise _NoElements
    return top


def _value(element: _Element, wanted: Argument) -> str:
    types = wanted.types
    if not element.inner:
        if not element.text.strip() and "string" not in types and types & {"array", "object"}:
            return "[]" if "array" in types else "{}"
        return wanted.json_text(element.text)
    if element.text.strip():
        raise _NoElements  # words beside elements would be lost
    if all(one.key == _ITEM for one in element.inner) and ("array" in types or "object" not in types):
        items = (_value(one, wanted.item(place)) for place, one in enumerate(element.inner))
        return f"[{', '.join(items)}]"
    inside = wanted.members()
    members = {one.key: _value(one, inside.of(one.key)) for one in element.inner}
    if len(members) < len(element.inner):
        raise _NoElements  # all but the last of a key would be lost
    written = (f"{json.dumps(key, ensure_ascii=False)}: {value}" for key, value in members.items())
    return f"{{{', '.join(written)}}}"
