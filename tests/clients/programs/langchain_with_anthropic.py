"""LangChain's model of Anthropic's API, with thoughts."""

from __future__ import annotations

from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_task import answer, formed
from task import LIMIT_S, URL, report

settings: Any = {
    "api_key": "not-needed",
    "max_retries": 0,
    "timeout": LIMIT_S,
    "max_tokens": 4096,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
model = ChatAnthropic(model="claude-anything", base_url=URL, **settings)
report("messages", answer(model, streamed=False))
report("messages streamed", answer(model, streamed=True))
report("schema", formed(model))
