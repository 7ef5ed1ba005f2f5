"""Whether an answer is right: by its intent, its values, its JSON or its call, never by its style alone."""

import json
import re
from typing import Any

from tools.demo_model.answers import ANSWERS, CAPITALS, UNKNOWN_ANSWER

CALL = re.compile(r"\s*<tool_call>\s*(.*?)\s*</tool_call>\s*", re.DOTALL)
DECLINES = ("do not have a tool", "do not know that")
WORD = re.compile(r"[a-z0-9/-]+")


def spoken(text: str) -> str:
    """The answer without its thought."""
    return text.split("</think>")[-1].strip()


def _words(text: str) -> set[str]:
    return set(WORD.findall(text.lower()))


def intent_of(answer: str) -> str:
    """The intent whose answer shares most words with this one; empty when none comes near."""
    a = _words(answer)
    known = {k: v for k, (_, v) in ANSWERS.items()} | {"unknown": UNKNOWN_ANSWER}
    score, best = max((len(a & (w := _words(v))) / max(1, len(a | w)), k) for k, v in known.items())
    return best if score >= 0.6 else ""


def same_call(answer: str, call: dict[str, Any]) -> bool:
    """The one call with this name and exactly these arguments, types included."""
    m = CALL.fullmatch(answer)
    try:
        got = json.loads(m[1]) if m else None
    except ValueError:
        return False
    return (
        isinstance(got, dict)
        and _typed(got.get("arguments")) == _typed(call["arguments"])
        and got.get("name") == call["name"]
    )


def _typed(x: Any) -> Any:
    """Tell 1 from true and keep 1 equal to 1.0."""
    if isinstance(x, dict):
        return {k: _typed(v) for k, v in x.items()}
    if isinstance(x, list):
        return [_typed(v) for v in x]
    return (isinstance(x, bool), x)


def _has(answer: str, values: list[str]) -> bool:
    return all(re.search(r"(?<!\w)" + re.escape(v) + r"(?!\w)", answer) for v in values)


def right(check: dict[str, Any], text: str) -> bool:
    """Judge one answer by the check of its conversation."""
    answer = spoken(text)
    if "call" in check:
        return same_call(answer, check["call"])
    if "<tool_call>" in answer or not answer:
        return False
    if "decline" in check:
        return any(d in answer for d in DECLINES)
    if "json" in check:
        try:
            return bool(_typed(json.loads(answer)) == _typed(json.loads(check["json"])))
        except ValueError:
            return False
    if "intent" in check:
        intent: str = check["intent"]
        if intent.startswith("capital:"):
            return _has(answer, [CAPITALS[intent[8:]]])
        return intent_of(answer) == intent
    if "end" in check:
        return answer.endswith(check["end"])
    if "has" in check and _has(answer, check["has"]):
        return True
    return "exact" in check and answer.rstrip(".") == check["exact"].rstrip(".")
