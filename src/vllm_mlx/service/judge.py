"""Whether the calls that a model makes fit the tools of its request: counted and logged, after the fact.

A call reaches its client as the model wrote it; nothing waits for what is found out here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any, Final, Literal, NoReturn, get_args

from vllm_mlx.core.bounded import OutOfTime, run_bounded
from vllm_mlx.core.events import Event, Finished, ToolCallDelta, ToolCallStart
from vllm_mlx.core.tools import ToolSpec

log = logging.getLogger(__name__)

Outcome = Literal["valid", "invalid_arguments", "unknown_tool", "cut_off", "unchecked"]
"""Of a call; `unchecked` for one that is too long, too slow to check, or whose schema is none."""

MAX_ARGUMENT_CHARS: Final = 256 * 1024
MAX_PENDING: Final = 64
LIMIT_S: Final = 2.0
_CHECKS: Final = "vllm_mlx.mcp.schema"
"""Imported on the thread, and only where calls are seen: it brings a library along."""
_NAME_CHARS: Final = 80


class CallJudge:
    """Judges the calls of one model, one at a time on a thread of its own."""

    def __init__(self) -> None:
        self._counts: Counter[Outcome] = Counter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="calls")
        self._pending: set[asyncio.Task[None]] = set()

    def counts(self) -> dict[str, int]:
        """Calls since the start, by outcome."""
        return {outcome: self._counts[outcome] for outcome in get_args(Outcome)}

    def watch(self, tools: Sequence[ToolSpec]) -> CallWatch:
        """For one choice of a request with these tools."""
        return CallWatch(self, tools)

    def take(self, name: str, tool: ToolSpec | None, arguments: str | None, *, cut: bool) -> None:
        """A call has ended; returns at once.

        Args:
            tool: the one that has this name.
            arguments: None for more than are looked at.
            cut: the text was cut off, by the room for output or a stop string.
        """
        if tool is None:
            self._tell(name, "unknown_tool")
        elif arguments is None or len(self._pending) >= MAX_PENDING:
            self._tell(name, "unchecked")
        else:
            task = asyncio.get_running_loop().create_task(self._judge(name, tool, arguments, cut=cut))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def settled(self) -> None:
        """Every call that was taken is counted."""
        await asyncio.gather(*self._pending)

    async def aclose(self) -> None:
        """Leave what is not judged yet."""
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _judge(self, name: str, tool: ToolSpec, arguments: str, *, cut: bool) -> None:
        work = partial(outcome_of, tool.parameters, arguments, cut=cut)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, import_module, _CHECKS)  # the limit is not for this
            self._tell(name, await run_bounded(self._thread, work, LIMIT_S))
        except OutOfTime:
            self._tell(name, "unchecked")

    def _tell(self, name: str, outcome: Outcome) -> None:
        self._counts[outcome] += 1
        if outcome != "valid":
            log.debug("a call of %r: %s", name[:_NAME_CHARS], outcome)


class CallWatch:
    """Collects the calls of one choice while its events pass."""

    def __init__(self, judge: CallJudge, tools: Sequence[ToolSpec]) -> None:
        self._judge = judge
        self._tools = {tool.name: tool for tool in tools}
        self._name: str | None = None
        self._pieces: list[str] = []
        self._size = 0

    def see(self, event: Event) -> None:
        """A call has ended with the next one, or with the text."""
        match event:
            case ToolCallStart():
                self._end(cut=False)
                self._name = event.name
            case ToolCallDelta():
                self._size += len(event.arguments)
                if self._size <= MAX_ARGUMENT_CHARS:
                    self._pieces.append(event.arguments)
            case Finished():
                self._end(cut=event.reason in ("length", "stop"))

    @property
    def lacks_json(self) -> bool:
        """Whether the arguments of the last call are no JSON so far; longer ones than are looked at count as
        whole.
        """
        arguments = self._arguments()
        return self._name is not None and arguments is not None and _value(arguments) is None

    def _arguments(self) -> str | None:
        return "".join(self._pieces) if self._size <= MAX_ARGUMENT_CHARS else None

    def _end(self, *, cut: bool) -> None:
        if self._name is None:
            return
        self._judge.take(self._name, self._tools.get(self._name), self._arguments(), cut=cut)
        self._name, self._pieces, self._size = None, [], 0


def outcome_of(schema: dict[str, Any] | None, arguments: str, *, cut: bool) -> Outcome:
    """Judge the arguments of a known tool.

    `pattern`, `format` and names told by `patternProperties` are not looked at: a regular expression of a
    caller's may run for ever, and nothing can interrupt it. References lead nowhere outside the schema.

    Args:
        schema: the tool's parameters; None for any object.
        cut: the text was cut off, perhaps inside these arguments.
    """
    value = _value(arguments)
    if value is None and cut:
        return "cut_off"
    if not isinstance(value, dict):
        return "invalid_arguments"
    if schema is None:
        return "valid"
    checking = import_module(_CHECKS)
    try:
        return "valid" if checking.argument_error(schema, value) is None else "invalid_arguments"
    except Exception:  # noqa: BLE001  (a schema of a caller's that is none fails in any way it likes)
        return "unchecked"


def _value(arguments: str) -> Any:
    """What the JSON says; None where it is none (or `null`, which no call's arguments are)."""
    try:
        return json.loads(arguments, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
