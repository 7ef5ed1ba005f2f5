"""LangChain's models of OpenAI's two APIs."""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI
from langchain_task import answer, formed
from task import LIMIT_S, URL, report

for name, api in {"chat": False, "responses": True}.items():
    settings: Any = {"api_key": "not-needed", "max_retries": 0, "timeout": LIMIT_S}
    model = ChatOpenAI(model="default", base_url=URL + "/v1", use_responses_api=api, **settings)
    report(name, answer(model, streamed=False))
    report(f"{name} streamed", answer(model, streamed=True))
    report(f"{name} schema", formed(model))
