"""The task as a LangChain program does it: bind a tool, run what the model calls, ask again."""

from __future__ import annotations

from typing import Any

from formed import Told
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from task import FORMED_QUESTION, QUESTION, closing_time


def answer(model: Any, streamed: bool) -> str:
    known = tool(closing_time)
    bound = model.bind_tools([known])
    said: list[Any] = [HumanMessage(QUESTION)]
    while True:
        if streamed:
            message: Any = None
            for chunk in bound.stream(said):
                message = chunk if message is None else message + chunk
        else:
            message = bound.invoke(said)
        if not message.tool_calls:
            return str(message.text)
        said += [message, *(known.invoke(call) for call in message.tool_calls)]


def formed(model: Any) -> str:
    told = model.with_structured_output(Told, method="json_schema").invoke(FORMED_QUESTION)
    return str(told.sentence)
