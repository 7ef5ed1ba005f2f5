"""Names, schemas, arguments, results and the audit line: values in, values out."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import types as wire

from vllm_mlx.mcp.audit import Execution, record
from vllm_mlx.mcp.content import outcome
from vllm_mlx.mcp.redaction import redacted
from vllm_mlx.mcp.schema import argument_problem, schema_problem
from vllm_mlx.mcp.tools import Tool, cut, offered_names, tool_prefix

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def tool(name: str) -> Tool:
    return Tool(name=name, description="", parameters={"type": "object"})


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@given(st.lists(st.text(min_size=1, max_size=120), unique=True, max_size=20))
def test_any_tools_get_names_that_functions_may_have_and_none_is_lost(names: list[str]) -> None:
    offered = offered_names("server", [tool(name) for name in names])
    assert all(NAME.fullmatch(name) and name.startswith("server__") for name in offered)
    assert [one.name for one in offered.values()] == names


def test_a_plain_name_stays_and_a_twin_gets_a_mark() -> None:
    first, second = offered_names("box", [tool("read.file"), tool("read file")])
    assert first == "box__read_file"
    assert re.fullmatch(r"box__read_file_[0-9a-f]{8}", second)


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=120))
def test_a_servers_name_of_any_length_leaves_room_for_its_tools(server: str, name: str) -> None:
    prefix = tool_prefix(server)
    (offered,) = offered_names(prefix or "x", [tool(name)])
    assert offered.partition("__")[0] == prefix or not prefix
    assert NAME.fullmatch(offered)


def test_two_long_names_of_servers_stay_apart() -> None:
    first, second = tool_prefix("s" * 60 + "1"), tool_prefix("s" * 60 + "2")
    assert first != second
    assert len(first) == len(second) == 49
    assert tool_prefix("s" * 49) == "s" * 49


@given(st.text(), st.integers(0, 100))
def test_a_cut_text_keeps_to_its_bytes(text: str, limit: int) -> None:
    shown, was_cut = cut(text, limit)
    assert len(shown.encode()) <= limit
    assert was_cut == (len(text.encode("utf-8", "replace")) > limit)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (obj(a={"type": "nonsense"}), "no valid JSON Schema"),
        ({"type": "array"}, "not of an object"),
        (obj(a={"$ref": "http://127.0.0.1:1/x"}), "refers to another document"),
        (obj(a={"$ref": "file:/etc/passwd"}), "refers to another document"),
        (obj(a={"description": "x" * 70_000}), "larger than"),
        ({"type": "object", "required": "a"}, "no valid JSON Schema"),
    ],
)
def test_a_schema_that_cannot_be_used_is_found(schema: dict[str, Any], told: str) -> None:
    assert told in (schema_problem(schema) or "")


@pytest.mark.parametrize(
    ("schema", "arguments", "told"),
    [
        (obj(a={"type": "integer"}), {"a": "x"}, "a: 'x' is not of type 'integer'"),
        (obj(a={"type": "integer"}) | {"required": ["a"]}, {}, "'a' is a required property"),
        (obj() | {"additionalProperties": False}, {"b": 1}, "Additional properties"),
        (obj(a={"enum": ["x"]}), {"a": "y" * 1000}, "a: breaks the schema's `enum`"),
        (obj(a={"$ref": "#/$defs/n"}) | {"$defs": {"n": {"type": "null"}}}, {"a": 1}, "not of type 'null'"),
        (obj(a={"$ref": "#/$defs/none"}), {"a": 1}, "leads nowhere"),
        (obj(a=obj(b={"type": "string"})), {"a": {"b": 1}}, "a.b: 1 is not of type"),
        (obj(a={"multipleOf": 0.1}), {"a": 10**400}, "cannot be held against them"),
    ],
)
def test_arguments_that_break_the_schema_are_told_where(
    schema: dict[str, Any], arguments: dict[str, Any], told: str
) -> None:
    problem = argument_problem(schema, arguments)
    assert problem is not None
    assert told in problem
    assert len(problem) <= 200


@pytest.mark.requirement(80)
def test_a_schema_that_would_take_for_ever_ends() -> None:
    doubling = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    bomb = obj(a={"$ref": "#/$defs/d0"}) | {"$defs": doubling | {"d40": {}}}
    assert argument_problem(bomb, {"a": 1}) == "the tool's schema is too complex to check them"
    # The pattern and the key take Python's engine exponential time.
    pattern = obj(a={"type": "string", "pattern": "^(a+)+$"}) | {
        "patternProperties": {"^(b+)+$": {}},
        "additionalProperties": False,
    }
    assert argument_problem(pattern, {"a": "a" * 40 + "!", "b" * 40 + "!": 1}) is None


def test_a_recursive_schema_is_checked_to_the_depth_of_the_arguments() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}
    schema = {"$ref": "#/$defs/node", "$defs": {"node": node}}
    assert schema_problem(schema) is None
    assert argument_problem(schema, {"next": {"next": {}}}) is None
    assert argument_problem(schema, {"next": {"next": {"last": 1}}}) is not None


@pytest.mark.requirement(64)
def test_what_is_no_text_is_described_and_not_dumped() -> None:
    blocks: list[Any] = [
        wire.TextContent(text="seen"),
        wire.ImageContent(data="QUJD", mime_type="image/png"),
        wire.AudioContent(data="QUI=", mime_type="audio/wav"),
        wire.ResourceLink(name="log", uri="log://x"),
        wire.EmbeddedResource(resource=wire.TextResourceContents(uri="a://b", text="inside")),
        wire.EmbeddedResource(resource=wire.BlobResourceContents(uri="a://c", blob="QUJD")),
    ]
    assert outcome(wire.CallToolResult(content=blocks), 1000).text.split("\n") == [
        "seen",
        "[image, image/png, 3 bytes]",
        "[audio, audio/wav, 2 bytes]",
        "[resource log: log://x]",
        "inside",
        "[resource a://c, of unknown type, 3 bytes]",
    ]
    structured = outcome(wire.CallToolResult(content=[], structured_content={"n": 1}), 1000)
    assert (structured.text, structured.structured) == ('{"n":1}', {"n": 1})
    large = outcome(wire.CallToolResult(content=[], structured_content={"n": "x" * 2000}), 1000)
    assert large.structured is None


@pytest.mark.requirement(80)
def test_the_audit_line_holds_no_secret_and_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    arguments = {
        "api_key": "k1",
        "nested": {"Authorization": "k2", "note": "Bearer abcdef.k3"},
        "text": "line\nbreak \x1b[31m \u2028 configured-secret sk-k4abcdefghijklmnop",
        "url": "https://me:k5@x.test/?token=k6&page=2",
        "list": ["ghp_k7abcdefghijklmnop", *range(100)],
        "long": "x" * 10_000,
    }
    with caplog.at_level(logging.INFO, logger="vllm_mlx.mcp.audit"):
        record(
            Execution(
                server="s\nx",
                tool="t",
                caller="route",
                outcome="ok",
                duration_ms=1.25,
                result_bytes=3,
                arguments=arguments,
                secrets=("configured-secret",),
            )
        )
    (line,) = [entry.getMessage() for entry in caplog.records]
    assert line.isprintable()
    assert len(line) < 1000
    assert not re.search(r"k[1-7]|configured-secret", line), line
    for part in ('server="s\\nx"', 'tool="t"', "caller=route", "outcome=ok", "duration_ms=1.2", "page=2"):
        assert part in line


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_anything_can_be_redacted_and_a_known_secret_is_gone(value: Any) -> None:
    assert "hunter2-hunter2" not in repr(
        redacted({"a": "xhunter2-hunter2y", "b": value}, ("hunter2-hunter2",))
    )
