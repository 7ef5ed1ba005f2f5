"""Whatever a caller sends as a form of the answer, the end is a grammar or a reason, soon."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_mlx.core.constraints import (
    Choice,
    Constraint,
    JsonSchema,
    Lark,
    Regex,
    StructuralTag,
    StructuralTags,
)
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.structured.checking import GrammarChecker
from vllm_mlx.structured.grammar import grammar_of
from vllm_mlx.structured.keywords import KEYWORDS


def made(constraint: Constraint, checker: GrammarChecker) -> str:
    text = grammar_of(constraint, lambda text: None)
    checker.check(text)
    return text


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def circle(keyword: str) -> dict[str, Any]:
    return {"$defs": {"a": {keyword: [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}


REQUIRES_ITSELF = {
    "$defs": {"a": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "required": ["x"]}},
    "$ref": "#/$defs/a",
}
HOPELESS: list[tuple[Any, str]] = [
    (False, "no value"),
    (5, "object, true or false"),
    ({"type": "strin"}, '"/type"'),
    ({"type": []}, '"/type"'),
    ({"properties": []}, '"/properties"'),
    ({"properties": {"a": 5}}, '"/properties/a"'),
    ({"items": "x"}, '"/items"'),
    ({"required": "a"}, '"/required"'),
    ({"enum": []}, '"/enum"'),
    ({"enum": {}}, '"/enum"'),
    ({"type": "string", "enum": [1]}, "no value of enum"),
    ({"type": "string", "const": 1}, "const"),
    ({"const": 10**30}, '"/const"'),
    ({"anyOf": []}, '"/anyOf"'),
    ({"allOf": {}}, '"/allOf"'),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "anyOf"),
    ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, "anyOf"),
    ({"minLength": -1}, '"/minLength"'),
    ({"minLength": "1"}, '"/minLength"'),
    ({"minItems": 10**9}, '"/minItems"'),
    ({"minimum": "1"}, '"/minimum"'),
    ({"type": "integer", "minimum": 10**40}, '"/minimum"'),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
    ({"multipleOf": 0}, '"/multipleOf"'),
    ({"multipleOf": -1}, '"/multipleOf"'),
    ({"pattern": 5}, '"/pattern"'),
    ({"type": "string", "pattern": "("}, "unclosed group"),
    ({"type": "string", "pattern": "a(?=b)"}, "look-around"),
    ({"type": "string", "pattern": "(a)\\1"}, "backreferences"),
    ({"type": "string", "pattern": "^((a{1000}){1000}){1000}$"}, "repeats"),
    ({"type": "string", "pattern": "a" * 5000}, "characters"),
    ({"type": "string", "format": 5}, '"/format"'),
    ({"type": "string", "format": "regex"}, "'regex'"),
    ({"type": "array", "uniqueItems": True}, '"/uniqueItems"'),
    ({"type": "array", "items": [{}], "prefixItems": [{}]}, '"/items"'),
    ({"type": "object", "minProperties": 3}, "minProperties"),
    ({"type": "object", "properties": {"a": {}}, "minProperties": 1}, "min/maxProperties"),
    ({"type": "object", "patternProperties": {"a": {}, "b": {}}}, "disjoint"),
    ({"type": "object", "patternProperties": {f"^{i}x": {} for i in range(17)}}, "16"),
    ({"$ref": 5}, '"/$ref"'),
    ({"$ref": "#/nowhere"}, "nothing"),
    ({"$ref": "#anchor"}, "pointer"),
    ({"$ref": "https://example.com/schema.json"}, "fetched"),
    ({"$ref": "file://localhost/schema.json"}, "fetched"),
    ({"$ref": "other.json#/a"}, "fetched"),
    ({"$ref": "#"}, "without end"),
    ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "without end"),
    (REQUIRES_ITSELF, "without end"),
    (circle("allOf"), "without end"),
    (circle("anyOf"), "without end"),
    ({"properties": {"a": {"$id": "x"}}}, "$id"),
    ({"x-guidance": {"lenient": True}}, "x-guidance"),
    (nested(70), "levels"),
    ({"enum": ["x", "a\x01"]}, '"/enum": holds a control character'),
    ({"const": {"a": ["\x7f"]}}, '"/const": holds a control character'),
    ({"type": "string", "pattern": "^\\x1b$"}, "no text"),
    ({"enum": [f"v{i}" for i in range(100_001)]}, "100000 values"),
    ({"enum": [[i] for i in range(5000)]}, "subschemas"),
    ({"const": {"a": list(range(20_000))}}, '"/const": lists and objects'),
    ({"properties": {f"p{i}": {"type": "string"} for i in range(5000)}}, "subschemas"),
    ({"description": "x" * 3_000_000}, "characters"),
    ({"anyOf": [{"const": i} for i in range(300)]}, "branches"),
    ({"allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(20)]}, "large"),
    (
        {
            "$defs": {f"d{i}": {} for i in range(1100)},
            "anyOf": [{"properties": {f"p{i}": {"$ref": f"#/$defs/d{i}"} for i in range(1100)}}],
        },
        "places",
    ),
]


@pytest.mark.requirement(63)
@pytest.mark.parametrize(("schema", "reason"), HOPELESS, ids=range(len(HOPELESS)))
def test_a_hopeless_schema_is_refused_with_the_reason(
    schema: Any, reason: str, checker: GrammarChecker
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        made(JsonSchema(schema), checker)
    assert reason in refusal.value.message
    assert len(refusal.value.message) < 500


@pytest.mark.requirement(63)
@pytest.mark.parametrize("keyword", [name for name, word in KEYWORDS.items() if word.treatment == "refused"])
def test_a_refused_keyword_is_named_wherever_it_stands(keyword: str, checker: GrammarChecker) -> None:
    for schema in (
        {keyword: True},
        {"properties": {"a": {keyword: True}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{keyword: True}]}}},
    ):
        with pytest.raises(InvalidRequest, match=keyword.replace("$", r"\$")):
            made(JsonSchema(schema), checker)


@pytest.mark.requirement(63)
@pytest.mark.parametrize("keyword", [name for name, word in KEYWORDS.items() if word.treatment == "not used"])
def test_a_keyword_that_says_nothing_changes_nothing(keyword: str, checker: GrammarChecker) -> None:
    assert made(JsonSchema({"type": "integer", keyword: {}}), checker) == made(
        JsonSchema({"type": "integer"}), checker
    )


HEAVY: list[Constraint] = [
    JsonSchema({"enum": [f"value-{i}" for i in range(100_000)]}),
    JsonSchema({"type": "string", "enum": [f"value-{i}" for i in range(100_000)]}),
    JsonSchema({"enum": list(range(100_000))}),
    JsonSchema({"type": "object", "description": "x" * 1_000_000}),
    JsonSchema({"const": "x" * 1_000_000}),
    JsonSchema({"oneOf": [{"enum": [f"{i}-{j}" for j in range(380)]} for i in range(256)]}),
    JsonSchema({"properties": {f"p{i}": {"type": "string"} for i in range(1000)}}),
    JsonSchema(nested(20)),
    JsonSchema({"type": "string", "pattern": "^(.*a){20}.*b.{12}$"}),
    JsonSchema({"type": "string", "pattern": "^((x+x+)+y){10}$"}),
    JsonSchema({"type": "string", "pattern": "([a-z]{1,10000}.*){3}"}),
    JsonSchema({"type": "string", "maxLength": 10**9}),
    JsonSchema({"type": "array", "maxItems": 10**9}),
    JsonSchema({"type": "integer", "multipleOf": 1009}),
    Choice(tuple(f"value-{i}" for i in range(100_000))),
    Regex("(\\p{L}{1,500}\\s){1,500}"),
    Regex("(.*x.{30}y.*){5}"),
    Lark('start: ("a" %json {"type": "null"} "b")+ // %json ((('),
    Lark('start: "%json {" /%json/ | b\nb: %json true'),
    Lark('start: start "a" | "b"'),
    Lark('start: a start | ""\na: "" | a a'),
    Lark('start: a\na: b "x"\nb: a "y" | "z"'),
    Lark('start: a{1,100000}\na: "x" b\nb: "y"{1,1000}'),
    Lark('start: (((("x"~1..100)~1..100)~1..100)~1..100)'),
    Lark("start: " + " | ".join(f'"v{i}"' for i in range(5000))),
    Lark("start: r0\n" + "".join(f"r{i}: r{i + 1}\n" for i in range(5000)) + 'r5000: "x"'),
    Lark("start: A0\n" + "".join(f"A{i}: A{i + 1}\n" for i in range(5000)) + 'A5000: "x"'),
    Lark("start: a0\n" + "".join(f"a{i}: a{i + 1} a{i + 1}\n" for i in range(40)) + 'a40: "x"'),
    Lark("start: " + "a " * 3000 + '\na: "x"?'),
    Lark("start: /(\\p{L}|\\p{N}|\\p{M}|\\p{S}){1,200}/ /[^\\p{L}]{1,2000}\\p{Greek}/"),
    Lark("start: A\nA: /[a-z]*a[a-z]{12}/ & /[a-z]*b[a-z]{13}/ & ~/.*(a.{20}).*/"),
    Lark('start: %regex { "substring_chars": "' + "abc" * 10_000 + '" }'),
]


@pytest.mark.requirement(63)
@pytest.mark.parametrize("constraint", HEAVY, ids=range(len(HEAVY)))
def test_a_heavy_constraint_is_done_with(constraint: Constraint, checker: GrammarChecker) -> None:
    made(constraint, checker)


WRONG: list[tuple[Constraint, str]] = [
    (Regex("("), "unclosed group"),
    (Regex("(?!a)"), "look-around"),
    (Regex("a{100000000}"), "repeats"),
    (Regex("((a{1000}){1000}){1000}"), "repeats"),
    (Regex("a" * 20_000), "characters"),
    (Regex("(" * 5000 + ")" * 5000), "nest"),
    (Regex("[^\\s\\S]"), "no text"),
    (Choice(()), "at least one"),
    (Choice(tuple(map(str, range(100_001)))), "at most"),
    (Choice(("x" * 3_000_000,)), "characters"),
    (Lark(""), "no start rule"),
    (Lark("start: missing"), "missing"),
    (Lark("start x"), "Expected"),
    (Lark("root ::= other"), "GBNF: Rule 'other' not found"),
    (Lark('other ::= "a"'), "GBNF: No 'root' rule found"),
    (Lark('{"grammars": [{"json_schema": {}}]}'), "Lark"),
    (Lark("start: " + "(" * 5000 + '"a"' + ")" * 5000), "nests"),
    (Lark("start: " + "[" * 201), "nests"),
    (Lark("start: A\nA: /" + "a" * 100_000 + "/"), "characters"),
    (Lark('start: %json {"$ref": "http://127.0.0.1:9/x"}'), "fetched"),
    (Lark('start: "a" | %json {"items": {"not": {}}} | b\nb: "x"'), "items.*'not'"),
    (Lark('start: ("a" %json {"x-guidance": {"lenient": true}})'), "x-guidance"),
    (Lark("start: %json 5"), "object, true or false"),
    (Lark('start: %json {"type": '), "%json"),
    (Lark("start: %json " + "[" * 60_000), "%json"),
    (Lark("start: %json " + '{"items":' * 5000 + "{}" + "}" * 5000), "%json|levels"),
    (Lark('start: %lark { start: "a" }'), "%lark"),
    (Lark("start: A\nA: /(a{1000}){1000}/"), "repeats"),
    (Lark("start: A\nA: B\nB: A"), "circular"),
    (Lark("start: " + '"a"~5..1'), "repeat|greater|range|smaller|5"),
    (Lark("start: @other"), "other"),
    (Lark("%declare X\nstart: X"), "declare"),
    (Lark("start: <|im_end|>"), "special token"),
    (Lark("start: <[70000]>"), "range"),
    (Lark("start: /a(?=b)/"), "look-around"),
    (Lark("::="), "Expected name"),
    (Lark('root ::= "a'), "Unexpected end"),
    (Lark("root ::= [a"), "Unexpected end"),
    (Lark("root ::= ("), "Expected '\\)'"),
    (Lark('root ::= "a"{'), "Expected integer"),
    (Lark('root ::= "a"{3,1}'), "repeat|greater|range|smaller|3"),
    (Lark('root ::= "\\u"'), "escape"),
    (StructuralTags((), ("<",)), "between 1"),
    (StructuralTags((StructuralTag("<a>", {}, ""),), ()), "triggers"),
    (StructuralTags((StructuralTag("<a>", {}, ""),), ("",)), "empty"),
    (StructuralTags((StructuralTag("<a>", {}, ""),), ("<b",)), "exactly one"),
    (StructuralTags((StructuralTag("<a>", {"not": {}}, ""),), ("<a",)), "not"),
]


@pytest.mark.requirement(63)
@pytest.mark.parametrize(("constraint", "reason"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_constraint_is_refused_with_the_reason(
    constraint: Constraint, reason: str, checker: GrammarChecker
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        made(constraint, checker)
