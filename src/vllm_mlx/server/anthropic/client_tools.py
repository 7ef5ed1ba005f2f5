"""Anthropic's own tools that the client runs: a request names them, and their schemas are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllm_mlx.core.tools import ToolSpec

_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}
_LINES = {
    "type": "array",
    "items": _INTEGER,
    "minItems": 2,
    "maxItems": 2,
    "description": "first and last line, counted from 1; -1 is the end of the file",
}


def known_tool(kind: str) -> ToolSpec | None:
    """The function behind a tool's type, as models see it; None for a type whose tool needs more than text.

    Args:
        kind: such as `bash_20250124`; the date tells versions apart.
    """
    return _TOOLS[kind]() if kind in _TOOLS else None


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _bash() -> ToolSpec:
    properties = {
        "command": {**_STRING, "description": "the command to run; required unless the shell is restarted"},
        "restart": {"type": "boolean", "description": "start the shell anew"},
    }
    parameters = _object([], properties)
    return ToolSpec("bash", "Run a command in a bash shell that keeps its state between calls.", parameters)


def _files(required: list[str], commands: list[str], **more: Any) -> dict[str, Any]:
    """What the tools that edit files have in common, and `more`."""
    shared: dict[str, Any] = {
        "command": {"type": "string", "enum": commands},
        "view_range": _LINES,
        "file_text": {**_STRING, "description": "for create: the whole content"},
        "old_str": {**_STRING, "description": "for str_replace: text that occurs exactly once"},
        "new_str": {**_STRING, "description": "for str_replace: what stands there afterwards"},
        "insert_line": {
            **_INTEGER,
            "description": "for insert: the line to insert after, or 0",
        },
    }
    return _object(required, shared | more)


def _first_editor() -> ToolSpec:
    """The versions before the name changed; what `insert` writes goes by the name `new_str`."""
    parameters = _files(
        ["command", "path"],
        [*_EDITS, "undo_edit"],
        path={**_STRING, "description": "the file, or for view a directory"},
        new_str={**_STRING, "description": "for str_replace and insert: the new text"},
    )
    return ToolSpec("str_replace_editor", _EDITOR, parameters)


def _editor() -> ToolSpec:
    parameters = _files(
        ["command", "path"],
        _EDITS,
        path={**_STRING, "description": "the file, or for view a directory"},
        insert_text={**_STRING, "description": "for insert: the new text"},
    )
    return ToolSpec("str_replace_based_edit_tool", _EDITOR, parameters)


def _memory() -> ToolSpec:
    parameters = _files(
        ["command"],
        [*_EDITS, "delete", "rename"],
        path={**_STRING, "description": "a file or directory below /memories; not for rename"},
        insert_text={**_STRING, "description": "for insert: the new text"},
        old_path={**_STRING, "description": "for rename: the present path"},
        new_path={**_STRING, "description": "for rename: the new path"},
    )
    return ToolSpec("memory", "Keep notes in files that outlast the conversation.", parameters)


_EDITOR = "View, create and edit text files."
_EDITS = ["view", "create", "str_replace", "insert"]

_TOOLS: dict[str, Callable[[], ToolSpec]] = {
    "bash_20241022": _bash,
    "bash_20250124": _bash,
    "text_editor_20241022": _first_editor,
    "text_editor_20250124": _first_editor,
    "text_editor_20250429": _editor,
    "text_editor_20250728": _editor,
    "memory_20250818": _memory,
}
"""From Anthropic's pages on its bash, text editor and memory tools."""
