from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.core.events import ToolCallDelta
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.arguments import Argument, Arguments
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.parsing.write import write_calls

POINT = {"type": "object", "properties": {"x": {"type": "integer"}, "name": {"type": "string"}}}


@pytest.mark.requirement(78)
@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("5", {"type": "integer"}, 5),
        (" 5\n", {"type": "integer"}, 5),
        ("5.0", {"type": "integer"}, 5),
        ("5.5", {"type": "integer"}, "5.5"),
        ("5", {"type": "number"}, 5),
        ("1e3", {"type": "number"}, 1000.0),
        ("5", {"type": "string"}, "5"),
        (" 5 ", {"type": "string"}, " 5 "),
        ("True", {"type": "boolean"}, True),
        ("false", {"type": "boolean"}, False),
        ("yes", {"type": "boolean"}, "yes"),
        ("null", {"type": ["integer", "null"]}, None),
        ("None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ("null", {"type": "string"}, "null"),
        ("5", {"type": ["string", "integer"]}, 5),
        ("5", {"enum": ["5", "6"]}, "5"),
        ("5", {"enum": [5, 6]}, 5),
        ("5", {"const": 5}, 5),
        ("five", {"type": "integer"}, "five"),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ('["1", "2"]', {"type": "array", "items": {"type": "integer"}}, [1, 2]),
        ('{"x": "3", "name": "3", "z": "3"}', POINT, {"x": 3, "name": "3", "z": "3"}),
        ('{"x": ', POINT, '{"x": '),
        ('{"x": "3", "name": "3"}', {"anyOf": [POINT, {"type": "null"}]}, {"x": 3, "name": "3"}),
        ('{"x": "3"}', {"allOf": [{"oneOf": [{"$ref": "#/$defs/p"}]}], "$defs": {"p": POINT}}, {"x": 3}),
        (
            '{"x": "3", "y": "4"}',
            {"anyOf": [POINT, {"additionalProperties": {"type": "null"}}]},
            {"x": 3, "y": "4"},
        ),
        ('{"x": "3"}', {"anyOf": [POINT, {"properties": {"x": {"type": "string"}}}]}, {"x": "3"}),
        ('{"x": "3"}', {"anyOf": [POINT, {"properties": {"x": {"type": "null"}}}]}, {"x": 3}),
        ('["1"]', {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}, [1]),
        (
            '["1", "2", "3"]',
            {"prefixItems": [{"type": "integer"}, {}], "items": {"type": "boolean"}},
            [1, "2", "3"],
        ),
        (
            '["1", "true"]',
            {"items": [{"type": "integer"}], "additionalItems": {"type": "boolean"}},
            [1, True],
        ),
        (
            '{"again": {"x": "1"}}',
            {"properties": {"again": {"$ref": "#"}, "x": {"type": "integer"}}},
            {"again": {"x": 1}},
        ),
        ("5", {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, 5),
        ("5", {"$ref": "#/$defs/n", "$defs": {"n": {"$ref": "#/$defs/n"}}}, 5),
        ("5", {"$ref": "elsewhere"}, 5),
        ("5", {}, 5),
        ("five", None, "five"),
        ("5", None, 5),
        ("NaN", None, "NaN"),
        ("1e999", None, "1e999"),
        ("[NaN]", {"type": "array"}, "[NaN]"),
        ("1e999", {"type": ["number", "string"]}, "1e999"),
        ("1e999", {"type": "number"}, sys.float_info.max),
        ("[1, -1e999]", {"type": "array"}, [1, -sys.float_info.max]),
        ('{"x": 1e999}', POINT, {"x": sys.float_info.max}),
        ('["\\ud800"]', {"type": "array"}, ["\ufffd"]),
        (f"[{'9' * 400} + 1j]", {"type": "array"}, f"[{'9' * 400} + 1j]"),
        ("[" * 100_000, None, "[" * 100_000),
        ("9" * 5000, {"type": "integer"}, "9" * 5000),
    ],
)
def test_text_gets_the_type_of_its_schema_and_stays_text_where_it_does_not_fit(
    text: str, schema: dict[str, Any] | None, value: Any
) -> None:
    assert json.loads(Argument(schema).json_text(text)) == value


def test_an_argument_finds_its_schema_and_the_definitions_beside_it() -> None:
    tool = {
        "properties": {"when": {"$ref": "#/$defs/day"}, "odd": True},
        "$defs": {"day": {"type": "string"}},
        "additionalProperties": {"type": "integer"},
    }
    assert Arguments(tool).of("when").only_text()
    assert Arguments(tool).of("other").json_text("7") == "7"
    assert not Arguments(tool).of("odd").known
    assert not Arguments({}).of("a").known
    assert not Arguments(None).of("a").known


def test_a_schema_that_holds_itself_ends() -> None:
    tree: dict[str, Any] = {"properties": {"t": {"$ref": "#/$defs/t"}}}
    tree["$defs"] = {"t": {"anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]}}
    assert Arguments(tree).of("t").json_text("null") == "null"


def test_a_schema_that_refers_to_itself_from_many_places_is_looked_at_once() -> None:
    again = {"$ref": "#/$defs/t"}
    tree = {
        "properties": {"t": again},
        "$defs": {"t": {"anyOf": [again, again, {"anyOf": [again, {"type": "integer"}]}]}},
    }
    assert Arguments(tree).have_one_without_text()
    assert Arguments(tree).of("t").takes_no_text()
    assert Arguments(tree).of("t").typed_json('"3"') == "3"


def test_a_long_list_does_not_look_through_a_long_schema_for_each_of_its_values() -> None:
    items = {"anyOf": [{"type": "boolean"}] * 20_000 + [{"enum": list(range(20_000))}]}
    text = json.dumps(["3"] * 20_000)
    assert json.loads(Argument({"type": "array", "items": items}).json_text(text)) == [3] * 20_000


def test_many_branches_that_lead_to_each_other_are_followed_to_an_end() -> None:
    links = {
        f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{(i + k) % 900}"} for k in (1, 2, 3)]} for i in range(900)
    }
    links["d5"]["properties"] = {"x": {"type": "integer"}}  # type: ignore[assignment]
    tool = {"properties": {"d": {"$ref": "#/$defs/d0"}}, "$defs": links}
    assert json.loads(Arguments(tool).of("d").json_text('{"x": "3"}')) == {"x": 3}


class Counted(dict[str, Any]):
    """Counts how often it is looked into."""

    looks = 0

    def get(self, key: str, default: Any = None) -> Any:
        Counted.looks += 1
        return super().get(key, default)


@pytest.mark.parametrize("keyword", ["items", "additionalProperties"])
def test_many_values_do_not_look_through_many_branches_each(keyword: str) -> None:
    Counted.looks = 0
    branches = [Counted({keyword: {"const": i}}) for i in range(200)]
    values = ["3"] * 5000 if keyword == "items" else {f"k{i}": "3" for i in range(5000)}
    typed = json.loads(Argument({"anyOf": branches}).json_text(json.dumps(values)))
    assert set(typed if keyword == "items" else typed.values()) == {3}
    assert Counted.looks < 50 * len(branches)


@pytest.mark.parametrize(("text", "value"), [("007", 7), ("-00", 0), ("0" * 400, "0" * 400)])
def test_zeros_before_a_number_count_where_only_a_number_may_stand(text: str, value: Any) -> None:
    assert json.loads(Argument({"type": ["integer", "null"]}).json_text(text)) == value
    assert json.loads(Argument({"type": ["integer", "string"]}).json_text(text)) == text


def test_objects_within_objects_know_the_definitions_of_the_tool() -> None:
    days = {"type": "object", "properties": {"from": {"$ref": "#/$defs/day"}}}
    tool = {"properties": {"days": days}, "$defs": {"day": {"type": "integer"}}}
    assert json.loads(Arguments(tool).of("days").typed_json('{"from": "3"}')) == {"from": 3}


@pytest.mark.parametrize("depth", [64, 900, 940, 990, 3000])
def test_a_value_of_any_depth_comes_back(depth: int) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    text = f'{{"n": "3", "a": {"[" * depth}{"]" * depth}}}'
    assert Argument(schema).typed_json(text).replace(" ", "") in (
        text.replace(" ", ""),
        text.replace(" ", "").replace('"3"', "3"),
    )


schemas = st.recursive(
    st.sampled_from(
        [{}, {"type": "string"}, {"type": "integer"}, {"type": ["null", "boolean"]}, {"enum": [1]}]
    ),
    lambda inner: (
        st.fixed_dictionaries({"items": inner})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=2)})
        | st.fixed_dictionaries({"properties": st.fixed_dictionaries({"a": inner})})
    ),
    max_leaves=4,
)


@given(st.text(max_size=12) | st.sampled_from(['{"a": ["1"]}', "[true, null]", "1"]), schemas)
def test_any_text_with_any_schema_is_json(text: str, schema: dict[str, Any]) -> None:
    json.loads(Argument(schema).json_text(text))


@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "pythonic", "gemma4"])
def test_a_long_schema_of_many_arguments_is_not_looked_through_for_each(name: str) -> None:
    any_of = [{"type": "boolean"}] * 20_000 + [{"type": "integer"}]
    tool = ToolSpec(
        "f", None, {"properties": {"n": {"type": "integer"}}, "additionalProperties": {"anyOf": any_of}}
    )
    written = {f"k{i}": "3" for i in range(4000)}
    parser = OutputParser(FORMATS.get(name), tools=(tool,))
    events = parser.feed(write_calls(FORMATS.get(name).calls[0], [("f", written)])) + parser.finish()
    told = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    assert json.loads(told) == dict.fromkeys(written, 3)
