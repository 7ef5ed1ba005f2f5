"""Fields of chat completions that other dialects have under another name."""

from __future__ import annotations

_FORMS = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
    "json_schema",
    "regex",
)


def forms_elsewhere(here: str) -> dict[str, str]:
    """Why fields that ask for a form are refused: who sends them to the wrong route would get any text.

    Args:
        here: where this dialect has the form of an answer.
    """
    return dict.fromkeys(_FORMS, f"is a field of chat completions; here the form of an answer is {here}")
