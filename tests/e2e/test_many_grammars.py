"""Three hundred schemas and hostile forms beside free streams: neither texts nor memory feel them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from tests.e2e.hostile_forms import HOSTILE, HUNDRED_THOUSAND, schema
from tests.e2e.server import LIMIT_S, Server, eventually, is_idle, serving

SCHEMAS = 300
STREAMS = 6
ASKERS = 6
ROOM = 400
"""Tokens: more than the longest answer, of a token a byte, has with white space."""
GROWTH_KB = 1_500_000
"""What the front and the engine may each take in addition; the worst that is kept is a fraction of it."""
PATIENCE_S = 10 * LIMIT_S
TRIES = 5
"""Of a form for which a busy machine had no time: it is asked for again, as its answer says."""


async def free_text(client: httpx.AsyncClient, number: int) -> str:
    """A greedy stream without a form, and all that it said."""
    body = {"prompt": f"{number} free", "max_tokens": 120, "temperature": 0, "ignore_eos": True}
    parts: list[str] = []
    async with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                [choice] = json.loads(line.removeprefix("data: "))["choices"]
                parts.append(choice["text"])
    return "".join(parts)


async def ask_all(client: httpx.AsyncClient, bodies: Sequence[dict[str, Any]]) -> list[httpx.Response]:
    slots = asyncio.Semaphore(ASKERS)

    async def ask(body: dict[str, Any]) -> httpx.Response:
        async with slots:
            for _ in range(TRIES):
                answer = await client.post("/v1/completions", json={"prompt": "x", "temperature": 0} | body)
                if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    break
            return answer

    return list(await asyncio.gather(*map(ask, bodies)))


async def beside_streams(
    url: str, bodies: Sequence[dict[str, Any]]
) -> tuple[list[str], list[list[str]], list[httpx.Response]]:
    """What the streams say alone, what they say again and again beside the forms, and the forms' answers."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:

        async def all_streams() -> list[str]:
            return list(await asyncio.gather(*(free_text(client, i) for i in range(STREAMS))))

        alone = await all_streams()
        asked = asyncio.create_task(ask_all(client, bodies))
        beside = [await all_streams()]
        while not asked.done():
            beside.append(await all_streams())
        return alone, beside, await asked


def memory_kb(server: Server) -> dict[str, int]:
    """Resident memory of the front and of its engine's process."""
    engine = server.get("/v1/status").json()["engine_health"]["pid"]
    pids = {"front": server.process.pid, "engine": engine}
    return {
        name: int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)], text=True))
        for name, pid in pids.items()
    }


@pytest.mark.slow
@pytest.mark.requirement(58, 63, 80)
def test_three_hundred_schemas_and_hostile_forms_change_neither_others_texts_nor_memory_for_good(
    chat_folder: Path, tmp_path: Path
) -> None:
    schemas = [{"guided_json": schema(i), "max_tokens": ROOM} for i in range(SCHEMAS)]
    large = [{"guided_json": {"enum": HUNDRED_THOUSAND["guided_json"]["enum"][i:]}} for i in range(4)]
    hostile = [{"max_tokens": 8, **form} for form in [*HOSTILE, *large]]
    mixed = [*schemas[:150], *hostile, *schemas[150:]]
    with serving("vllm_mlx", "serve", str(chat_folder), "--port", "0", log=tmp_path / "log") as server:
        before = memory_kb(server)
        alone, beside, answers = asyncio.run(beside_streams(server.url, mixed))
        assert all(texts == alone for texts in beside)
        for body, answer in zip(mixed, answers, strict=True):
            check(body, answer)
        refused = [answer.json() for answer in answers[:150] + answers[-150:] if answer.status_code == 400]
        assert len(refused) == SCHEMAS // 15, [each["error"]["message"] for each in refused]
        eventually(lambda: is_idle(server.url))
        after = memory_kb(server)
        assert server.get("/v1/status").json()["engine_health"]["restarts"] == 0
    for name, first in before.items():
        assert after[name] - first < GROWTH_KB, (before, after)
    assert " ERROR " not in server.log.read_text()


def check(body: dict[str, Any], answer: httpx.Response) -> None:
    """It is valid, or a refusal that names the field."""
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert answer.json()["error"]["param"] in body, answer.text
    elif body["max_tokens"] == ROOM:
        [choice] = answer.json()["choices"]
        assert choice["finish_reason"] == "stop", (body, choice)
        jsonschema.validate(json.loads(choice["text"]), body["guided_json"])
