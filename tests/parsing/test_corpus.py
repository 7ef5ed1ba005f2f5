"""Outputs of every family, written after the vendors' templates: whole, cut anywhere, and cut short."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.parsing.said import parse, values

from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.readers.block import plan_of
from vllm_mlx.parsing.registry import FORMATS

WORD = re.compile(r"[^\W\d_]{2,}")
CORPUS = Path(__file__).parent / "corpus"
NAMES = sorted({FORMATS.get(name).name for name in FORMATS})


def tool(name: str, **properties: dict[str, Any]) -> ToolSpec:
    return ToolSpec(name, None, {"type": "object", "properties": properties})


TOOLS = (
    tool("get_weather", city={"type": "string"}, days={"type": "integer"}),
    tool(
        "search_notes",
        query={"type": "string"},
        filters={"type": "object"},
        limit={"anyOf": [{"type": "integer"}, {"type": "null"}]},
    ),
    tool("write_file", path={"type": "string"}, content={"type": ["string", "array"]}),
    tool("list_rooms"),
)

CASES = {
    f"{name}: {case['title']}": (name, case)
    for name in NAMES
    for case in json.loads((CORPUS / f"{name}.json").read_text())
}
every_case = pytest.mark.parametrize(("name", "case"), CASES.values(), ids=CASES.keys())


def run(name: str, case: dict[str, Any], pieces: list[str]) -> Any:
    return parse(pieces, FORMATS.get(name), thinking=case.get("thinking", False), tools=TOOLS)


def test_every_format_has_a_file_and_every_file_a_format() -> None:
    assert sorted(path.stem for path in CORPUS.glob("*.json")) == NAMES


@pytest.mark.requirement(65)
@every_case
def test_an_output_gives_its_events(name: str, case: dict[str, Any]) -> None:
    assert values(run(name, case, [case["text"]])) == case["said"]


@pytest.mark.requirement(65)
@every_case
def test_every_cut_gives_the_same_events(name: str, case: dict[str, Any]) -> None:
    text = case["text"]
    whole = run(name, case, [text])
    assert run(name, case, list(text)) == whole
    for cut in range(1, len(text)):
        assert run(name, case, [text[:cut], text[cut:]]) == whole
    draw = random.Random(text)
    for _ in range(20):
        cuts = sorted(draw.sample(range(len(text) + 1), min(6, len(text))))
        assert run(name, case, [text[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]) == whole


@pytest.mark.requirement(65)
@every_case
def test_an_output_that_is_cut_short_keeps_every_word(name: str, case: dict[str, Any]) -> None:
    """Also the last word, as far as it was written; names of keys and tools count, markup does not."""
    fmt = FORMATS.get(name)
    wanted = set(WORD.findall(json.dumps(case["said"], ensure_ascii=False)))
    wanted -= set(WORD.findall(" ".join(fmt.markers())))
    text = case["text"]
    words = [found for found in WORD.finditer(text) if found.group() in wanted]
    for end in range(len(text)):
        spoken = "\n".join(part for one in run(name, case, [text[:end]]) for part in one[1:])
        for word in words:
            written = text[word.start() : min(end, word.end())] if word.start() < end else ""
            assert written in spoken, (text[:end], spoken)


@pytest.mark.requirement(65)
@pytest.mark.parametrize("name", NAMES)
def test_the_work_grows_linearly_with_a_formats_own_opening_tags(
    name: str, lines_executed: Callable[[Callable[[], object]], int]
) -> None:
    fmt = FORMATS.get(name)
    tags = {tag for syntax in fmt.calls for tag in plan_of(syntax).triggers}
    if fmt.channels is not None:
        tags |= {fmt.channels.opens[0]}
    if fmt.reasoning is not None:
        tags |= {fmt.reasoning.open}
    for tag in tags:

        def work(n: int, tag: str = tag) -> int:
            text = tag * n
            pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
            return lines_executed(lambda: parse(pieces, fmt, tools=TOOLS))

        assert work(160) <= 2.4 * work(80)


@pytest.mark.slow
@pytest.mark.requirement(65)
@pytest.mark.parametrize("name", NAMES)
def test_a_megabyte_of_a_formats_own_opening_tag_is_read(name: str) -> None:
    fmt = FORMATS.get(name)
    for tag in {tag for syntax in fmt.calls for tag in plan_of(syntax).triggers}:
        text = tag * (1_000_000 // len(tag))
        said = parse([text[at : at + 9] for at in range(0, len(text), 9)], fmt, tools=TOOLS)
        spoken = "".join(part for one in said for part in one[1:])
        if tag in fmt.dropped:
            assert spoken == ""
        else:
            assert spoken.count(tag) >= 0.99 * text.count(tag)


@pytest.mark.requirement(67)
@pytest.mark.parametrize("name", [name for name in NAMES if FORMATS.get(name).reasoning is not None])
def test_a_thought_that_the_prompt_opened_ends_where_the_formats_own_end_is_written(name: str) -> None:
    """The text that closes a thought by force is the family's own, so it must do what the tag does."""
    fmt = FORMATS.get(name)
    assert fmt.reasoning is not None
    expected = [("thought", "Hm."), ("text", "Yes.")]
    closed = f"Hm.{fmt.reasoning.end}Yes."
    assert parse([closed], fmt, thinking=True, tools=TOOLS) == expected
    assert parse(list(fmt.reasoning.begin + closed), fmt, tools=TOOLS) == expected
    assert parse([fmt.reasoning.begin + closed], fmt, tools=None) == expected
    assert fmt.reasoning.begin.startswith(fmt.reasoning.open)
    assert fmt.reasoning.close in fmt.reasoning.end
    assert {fmt.reasoning.open, fmt.reasoning.close} <= fmt.markers()


@pytest.mark.parametrize("name", NAMES)
def test_no_trigger_begins_another_one(name: str) -> None:
    """Else the shorter one would win where the text is cut, and the longer one where it is not."""
    fmt = FORMATS.get(name)
    tags = {tag for syntax in fmt.calls for tag in plan_of(syntax).triggers} | set(fmt.dropped)
    if fmt.channels is not None:
        tags |= {*fmt.channels.opens, *fmt.channels.closes}
    elif fmt.reasoning is not None:
        tags |= {fmt.reasoning.open, fmt.reasoning.close}
    assert [(a, b) for a in tags for b in tags if a != b and b.startswith(a)] == []
