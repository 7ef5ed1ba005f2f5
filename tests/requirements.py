"""The rows of the requirements that exist so far, and how the tests that prove them are found."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROWS: dict[int, str] = {
    1: "a wheel installs the command `vllm-mlx`",
    2: "pip, uv and editable installs all give the command",
    5: "`vllm-mlx serve MODEL --port N` serves a model",
    6: "without flags it listens on 127.0.0.1 port 8000 and nowhere else",
    7: "`--host` chooses the address",
    8: "`--continuous-batching` is accepted, and requests run side by side",
    9: "`--max-tokens` limits requests that name no limit",
    10: "`--cache-memory-percent` sizes the KV pool",
    11: "`--tool-call-parser` and `--reasoning-parser` choose the output format",
    31: "GET /health answers at once, during loading and under load",
    32: "GET /v1/models lists the served model the OpenAI way",
    33: "POST /v1/chat/completions",
    34: "chat streams as server-sent events",
    35: "POST /v1/completions, with lists of prompts, echo and logprobs",
    38: "POST /v1/responses: items, streams, tools, answers to go on from",
    39: "POST /v1/messages: streams, tools, system prompts, thoughts",
    40: "POST /v1/messages/count_tokens equals the input of the real call",
    41: "Olla's pass-through: a made-up x-api-key with a version header",
    42: "Claude Code works with a base URL and any key",
    43: "the OpenAI SDK works with any key and with model `default`",
    44: "the Anthropic SDK works with any key and with model `default`",
    46: "a JSON schema is enforced, with or without a name",
    54: "one process serves its dialects side by side",
    55: "a request switches thinking with `enable_thinking`",
    56: "frequency penalty with OpenAI's meaning",
    57: "keys as bearer tokens and as x-api-key; 401 in the dialect's shape",
    58: "continuous batching: neighbours never change a text",
    59: "paged KV: a shared prefix is stored once, bits are equal",
    60: "prefix cache shared across requests",
    63: "output keeps to a schema, a grammar or a pattern, on every device",
    64: "tools of MCP servers, over stdio, streamable HTTP and SSE",
    65: "output formats of many model families are parsed",
    66: "the names liquidai, liquid and lfm for LFM2's format",
    67: "reasoning is told apart from the answer",
    68: "reasoning and tool calls in one answer",
    74: "what a model is follows from its files, not from its name",
    76: "nine tasks with tools are done, thinking and not, in two families of formats",
    77: "a character is never split between two chunks",
    78: "tool arguments get the types of their schema",
    79: "templates see no field that was not given",
    80: "local by default, guarded against hostile input",
    81: "the published model layout loads without conversion, on CPU too",
    82: "quantised weights of 2, 3, 4, 6 and 8 bits, and bf16",
    84: "several servers side by side behind a router",
    85: "fifty streams at a time without an error",
    86: "a request that arrives during loading waits and is served",
    88: "an answer carries its own timings",
    89: "the model list carries root, parent and permission",
    90: "/tokenize and /detokenize",
    91: "served names keep the base name of the model",
    93: "Goose: text, streams, system prompt, tools, keys, strict model names",
    95: "Jan and AnythingLLM: what they send is answered",
    96: "the docs name every flag and route, and nothing that is not there",
    98: "the Python interface: `LLM` and `SamplingParams`",
    115: "nine of nine tasks with tools are done",
    117: "Python 3.11 to 3.14",
    118: "with local files there is no outbound connection",
    119: "without an MLX backend: one line with the remedy, exit code 2",
    121: "licence, contributing guide, citation, acknowledgements",
}


def proofs(tests: Path) -> dict[int, list[str]]:
    """Row number to the tests that are marked with it, as `file::name`, read from their source.

    Reading the source needs no import, so that the page can be made where a test's imports are missing.
    """
    found: dict[int, list[str]] = {}
    for file in sorted(tests.rglob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        path = file.relative_to(tests.parent).as_posix()
        of_module = [n for statement in tree.body for n in _module_mark(statement)]
        for name, numbers in _marked(tree.body, "", of_module):
            for number in numbers:
                found.setdefault(number, []).append(f"{path}::{name}")
    return found


def _marked(body: list[ast.stmt], prefix: str, inherited: list[int]) -> Iterator[tuple[str, list[int]]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            own = [n for decorator in node.decorator_list for n in _numbers(decorator)]
            yield from _marked(node.body, f"{prefix}{node.name}::", [*inherited, *own])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            own = [n for decorator in node.decorator_list for n in _numbers(decorator)]
            yield prefix + node.name, sorted({*inherited, *own})


def _module_mark(statement: ast.stmt) -> list[int]:
    """Numbers of `pytestmark = ...`, one mark or a list of them."""
    if not isinstance(statement, ast.Assign) or ast.unparse(statement.targets[0]) != "pytestmark":
        return []
    marks = statement.value.elts if isinstance(statement.value, ast.List | ast.Tuple) else [statement.value]
    return [n for mark in marks for n in _numbers(mark)]


def _numbers(mark: ast.expr) -> list[int]:
    if not isinstance(mark, ast.Call) or not ast.unparse(mark.func).endswith("mark.requirement"):
        return []
    return [int(ast.literal_eval(argument)) for argument in mark.args]
