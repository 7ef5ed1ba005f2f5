"""Other wordings of one conversation, for chat templates that refuse or misread the usual one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Turn = dict[str, Any]
CallWriter = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], str]
"""Writes tool calls, each a name and its arguments, as the model does."""


_THOUGHT = re.compile(r"""\b(?:message|msg|m)(?:\.|\[['"])(thinking|reasoning|thought)\b""")
"""Names under which templates look for a turn's thought, beside `reasoning_content`, which most use."""
_TOOL_ROLE = re.compile(r"""['"]tool['"]""")
_WORD = re.compile(r"[A-Za-z0-9]{3,}")
_THOUGHTS = ("reasoning_content", "thinking", "reasoning", "thought")


class Wording(NamedTuple):
    """What a template is given."""

    turns: list[Turn]
    tools: list[Turn] | None


def wordings(usual: Wording) -> Iterator[Wording]:
    """The usual wording, then plainer ones: one change, all changes, the same beside plainer tools.

    A template that refuses what its model was not trained for would end every conversation of a client that
    cannot know this: two calls at once (Llama 3), a thought and words before a call (gpt-oss), a system turn
    (Gemma 2), a turn of a tool (Gemma 3), arguments as an object (Functionary), a parameter without a
    description (Command R), of two types or of none (Hermes), a request without tools (FunctionGemma).
    """
    yield usual  # before anything is reworded: nearly every template takes it, and conversations are long
    tried = [usual.turns]
    all_changed = usual.turns
    for reword in _REWORDINGS:
        all_changed = reword(all_changed)
        tried += [turns for turns in (reword(usual.turns),) if turns not in tried]
    tried += [all_changed] if all_changed not in tried else []
    for tools in (usual.tools, [] if usual.tools is None else plain_tools(usual.tools)):
        for turns in tried:
            if turns is not usual.turns or tools is not usual.tools:
                yield Wording(turns, tools)


def arguments_as_text(turns: list[Turn]) -> list[Turn]:
    """Arguments of calls as JSON texts, which is how OpenAI's API has them."""
    return [_with_calls(turn, [_as_text(call) for call in turn.get("tool_calls", ())]) for turn in turns]


def thought_as_content(turns: list[Turn]) -> list[Turn]:
    """The thought before words and a call as the first of these words."""
    return [_with_thought_said(turn) for turn in turns]


def with_thoughts_for(turns: list[Turn], source: str) -> list[Turn]:
    """Thoughts under the name by which the template looks for them."""
    found = _THOUGHT.search(source)
    if found is None or "reasoning_content" in source:
        return turns
    return [
        {found[1] if key == "reasoning_content" else key: value for key, value in turn.items()}
        for turn in turns
    ]


def one_call_a_turn(turns: list[Turn]) -> list[Turn]:
    """Each call in a turn of its own, followed by its result."""
    out: list[Turn] = []
    at = 0
    while at < len(turns):
        turn = turns[at]
        at += 1
        calls = turn.get("tool_calls", ())
        if len(calls) < 2:
            out.append(turn)
            continue
        results: list[Turn] = []
        while at < len(turns) and turns[at]["role"] == "tool":
            results.append(turns[at])
            at += 1
        for call in calls:
            out.append(_with_calls(turn, [call]))
            out += [result for result in results if result["tool_call_id"] == call["id"]]
            turn = {key: value for key, value in turn.items() if key not in _THOUGHTS} | {"content": ""}
        known = {call["id"] for call in calls}
        out += [result for result in results if result["tool_call_id"] not in known]
    return out


def system_in_user_turn(turns: list[Turn]) -> list[Turn]:
    """What the system says as the beginning of the user's next turn."""
    out: list[Turn] = []
    said: list[str] = []
    for turn in turns:
        if turn["role"] in ("system", "developer"):
            said.append(turn["content"])
        elif turn["role"] == "user" and said:
            out.append(turn | {"content": "\n\n".join((*said, turn["content"]))})
            said = []
        else:
            out.append(turn)
    return [*out, {"role": "user", "content": "\n\n".join(said)}] if said else out


def alternating(turns: list[Turn]) -> list[Turn]:
    """Results of tools as words of the user, and neighbouring turns of one speaker as one turn."""
    out: list[Turn] = []
    for turn in turns:
        if turn["role"] == "tool":
            turn = {"role": "user", "content": turn["content"]}
        if out and out[-1]["role"] == turn["role"] and "tool_calls" not in out[-1]:
            content = "\n\n".join(text for text in (out[-1]["content"], turn["content"]) if text)
            out[-1] = out[-1] | turn | {"content": content}
        else:
            out.append(turn)
    return out


_REWORDINGS = (thought_as_content, one_call_a_turn, system_in_user_turn, alternating, arguments_as_text)


def results_are_lost(turns: list[Turn], source: str, text: str) -> bool:
    """Whether a template that knows no tools' turns has left out what a tool answered."""
    if _TOOL_ROLE.search(source):
        return False
    words = (_WORD.search(turn["content"]) for turn in turns if turn["role"] == "tool")
    return any(word is not None and word.group() not in text for word in words)


def calls_as_content(turns: list[Turn], write: CallWriter) -> list[Turn]:
    """Calls among the words of their turn, for a template that shows nothing but these."""
    return [_said(turn, write) if "tool_calls" in turn else turn for turn in turns]


def tools_as_content(turns: list[Turn], tools: list[Turn], write: CallWriter) -> list[Turn]:
    """The tools, and how to call one, in the system's text, for a template that shows no tools."""
    text = "\n".join(
        (
            "You can call these functions:",
            *(json.dumps(tool["function"], ensure_ascii=False) for tool in tools),
            "To call one, write only this, with its name and its arguments:",
            write([("name_of_the_function", {"name_of_the_argument": "value"})]),
        )
    )
    if turns and turns[0]["role"] in ("system", "developer"):
        return [turns[0] | {"content": f"{turns[0]['content']}\n\n{text}"}, *turns[1:]]
    return [{"role": "system", "content": text}, *turns]


def shown_by_python(turns: list[Turn], text: str) -> bool:
    """Whether a template has put arguments into the prompt as Python shows an object, not as JSON."""
    calls = (call["function"]["arguments"] for turn in turns for call in turn.get("tool_calls", ()))
    return any(isinstance(arguments, dict) and arguments and str(arguments) in text for arguments in calls)


def plain_tools(tools: list[Turn]) -> list[Turn]:
    """The tools with one type a parameter and a description everywhere, if only an empty one."""
    return [tool | {"function": _plain_function(tool["function"])} for tool in tools]


def _plain_function(function: Turn) -> Turn:
    return _described(function | {"parameters": _plain_schema(function["parameters"])})


def _described(one: Turn) -> Turn:
    return one if "description" in one else one | {"description": ""}


def _plain_schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    plain = dict(schema)
    if isinstance(plain.get("type"), list):
        types = [one for one in plain["type"] if one != "null"]
        plain["type"] = types[0] if types else "null"
    if plain.get("type") == "null":
        del plain["type"]
    properties = plain.get("properties")
    if isinstance(properties, dict):
        plain["properties"] = {
            key: _described(_plain_schema(one)) if isinstance(one, dict) else one
            for key, one in properties.items()
        }
    if plain.get("type") == "object" and not isinstance(plain.get("additionalProperties"), dict):
        plain["additionalProperties"] = {}  # Command R asks for it
    for key in ("items", "additionalProperties"):
        if key in plain:
            plain[key] = _plain_schema(plain[key])
    return plain


def _with_calls(turn: Turn, calls: list[Turn]) -> Turn:
    return turn | {"tool_calls": calls} if calls else turn


def _with_thought_said(turn: Turn) -> Turn:
    thoughts = [turn[name] for name in _THOUGHTS if name in turn]
    if not thoughts or not turn["content"] or "tool_calls" not in turn:
        return turn
    rest = {key: value for key, value in turn.items() if key not in _THOUGHTS}
    return rest | {"content": "\n\n".join((*thoughts, turn["content"]))}


def _as_text(call: Turn) -> Turn:
    function = call["function"]
    if isinstance(function["arguments"], str):
        return call
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return call | {"function": function | {"arguments": text}}


def _said(turn: Turn, write: CallWriter) -> Turn:
    functions = [call["function"] for call in turn["tool_calls"]]
    if not all(isinstance(function["arguments"], dict) for function in functions):
        return turn
    try:
        written = write([(function["name"], function["arguments"]) for function in functions])
    except ValueError:  # an argument holds what would end it
        return turn
    rest = {key: value for key, value in turn.items() if key != "tool_calls"}
    return rest | {"content": "\n".join(text for text in (turn["content"], written) if text)}
