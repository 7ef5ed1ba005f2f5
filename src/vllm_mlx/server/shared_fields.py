"""Fields that several dialects have: how much to think, and where each has the form of an answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""Every word of the vendors, least first."""

_TOLD: dict[Effort, str] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}

_FORMS = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "guided_json_object",
    "grammar",
    "json_schema",
    "regex",
    "ebnf",
)
"""Chat completions' names for the form of an answer."""


_BUDGETS = ("thinking_token_budget", "thinking_budget", "max_thinking_tokens")


def thinking_budget_field() -> Any:
    """OpenAI's dialects have none of their own; these are the names that other servers gave it."""
    return Field(
        None,
        description=f"after so many tokens a thought is closed; also {', '.join(_BUDGETS[1:])}",
        validation_alias=AliasChoices(*_BUDGETS),
    )


def budgets_elsewhere(here: str) -> dict[str, str]:
    """Why those names are refused.

    Args:
        here: where this dialect has the budget.
    """
    return dict.fromkeys(_BUDGETS, f"is a field of OpenAI's APIs; here the budget is {here}")


def asks(value: Any) -> bool:
    """Whether a refused field asks for anything: a budget of 0 does; `false` and what is empty do not."""
    return bool(value) or (isinstance(value, int | float) and not isinstance(value, bool))


def told_effort(effort: Effort) -> str:
    """The template's variable `reasoning_effort`: low, medium or high, which is all that models learn."""
    return _TOLD.get(effort, "high")


def thinking_variables(effort: Effort | None, enable_thinking: bool | None) -> dict[str, Any]:
    """The template's variables for how much to think; the switch wins over what the effort says of it."""
    variables: dict[str, Any] = {}
    if effort is not None:
        # Templates with a switch know nothing between off and on.
        variables["enable_thinking"] = effort not in ("none", "minimal")
        if effort != "none":
            variables["reasoning_effort"] = told_effort(effort)
    if enable_thinking is not None:
        variables["enable_thinking"] = enable_thinking
    return variables


def forms_elsewhere(here: str) -> dict[str, str]:
    """Why fields that ask for a form are refused: who sends them to the wrong route would get any text.

    Args:
        here: where this dialect has the form of an answer.
    """
    return dict.fromkeys(_FORMS, f"is a field of chat completions; here the form of an answer is {here}")
