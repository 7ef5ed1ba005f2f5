"""Regular expressions, choices, grammars and structural tags: the language asked for, and no other."""

from __future__ import annotations

import pytest
from tests.structured.grammars import accepts, matcher, walk

from vllm_mlx.core.constraints import (
    Choice,
    Constraint,
    JsonObject,
    JsonSchema,
    Lark,
    Regex,
    StructuralTag,
    StructuralTags,
)
from vllm_mlx.structured.grammar import grammar_of

TAGS = StructuralTags(
    (
        StructuralTag("<f=a>", {"type": "integer"}, "</f>"),
        StructuralTag("<f=b>", {"type": "null"}, "</f>"),
        StructuralTag("[g]", {"type": "array", "items": False}, ""),
    ),
    ("<f=", "[g"),
)
LANGUAGES: list[tuple[Constraint, list[str], list[str]]] = [
    (JsonObject(), ["{}", '{"a": [1, {"b": null}]}'], ["[]", "1", "", "{", "{} "]),
    (Regex("[0-9]{3}-[a-z]+"), ["123-abc"], ["123-", "1234-a", "123-abc!"]),
    (Regex("^a|b$"), ["a", "b"], ["ab", ""]),
    (Regex("a/b\\/c\\\\d\ne\\\nf"), ["a/b/c\\d\ne\nf"], ["a/b/c\\d"]),
    (Regex("(?i)yes|no"), ["YES", "no"], ["maybe"]),
    (Regex("\\d+"), ["12", "٣"], ["a"]),
    (Regex(".*"), ["", "abc", "日本"], ["a\nb"]),
    (Regex('"[^"]*"'), ['"a"'], ["a"]),
    (Choice(("yes", "no", "yes and no")), ["yes", "no", "yes and no"], ["", "y", "yes ", "yes and"]),
    (Choice(('é"\\\n\x01', "")), ['é"\\\n\x01', ""], ["é"]),
    (Lark('start: "a" b+\nb: /[0-9]/ | "(" start ")"'), ["a1", "a1(a2)"], ["a", "b1", "a()"]),
    (Lark('start: %json {"type": "integer"} "!"'), ["5!"], ["5", "x!"]),
    (
        Lark('root ::= item ("," item)*\nitem ::= [a-c]+ | "\\"" [0-9]{2} "\\""'),
        ["a", "abc,b", '"12",c'],
        ["", "d", '"1"', "a,"],
    ),
    (Lark('start: "::=" | "a"'), ["::=", "a"], ["root"]),
    (
        TAGS,
        ["", "plain <f text", "<f=a>1</f>", "so: <f=a>-5</f> and <f=b>null</f>.", "x[g][]y"],
        ["<f=", "<f=c>", "<f=a>null</f>", "<f=a>1", "text <f=b>1</f>", "[g][1]"],
    ),
]


@pytest.mark.requirement(63)
@pytest.mark.parametrize(("constraint", "texts", "others"), LANGUAGES, ids=range(len(LANGUAGES)))
def test_a_constraint_lets_its_texts_through_and_no_others(
    constraint: Constraint, texts: list[str], others: list[str]
) -> None:
    text = grammar_of(constraint, lambda name: None)
    assert [each for each in texts if not accepts(text, each)] == []
    assert [each for each in others if accepts(text, each)] == []


@pytest.mark.requirement(63)
def test_white_space_between_the_marks_of_json_is_bounded() -> None:
    text = grammar_of(JsonSchema({"type": "array", "items": {"type": "integer"}}), lambda name: None)
    assert accepts(text, "[1, 2]")
    assert accepts(text, "[\n" + " " * 24 + "1,\n\t2\n]")
    for spaces in ("  ", "\n\n", "\n" + " " * 25, "\t", "\r"):
        assert not accepts(text, f"[{spaces}1]")
    assert not accepts(text, " [1]")
    assert not accepts(text, "[1]\n")


@pytest.mark.requirement(63)
def test_properties_come_in_the_order_of_the_schema() -> None:
    properties = {name: {"type": "integer"} for name in "zma"}
    text = grammar_of(JsonSchema({"properties": properties, "required": ["a", "z", "m"]}), lambda name: None)
    assert accepts(text, '{"z": 1, "m": 2, "a": 3, "other": 4}')
    assert not accepts(text, '{"a": 1, "m": 2, "z": 3}')


@pytest.mark.requirement(63)
def test_a_trigger_that_is_a_control_token_is_that_token() -> None:
    tags = StructuralTags((StructuralTag("<call>", {"type": "integer"}, "<end>"),), ("<call>",))
    text = grammar_of(tags, {"<call>": 257, "<end>": 258}.get)
    assert "<[257]>" in text
    asked = matcher(text)
    assert asked.try_consume_tokens([*b"so ", 257, *b"12", 258, *b"!"]) == 8
    assert asked.is_accepting()
    assert matcher(text).try_consume_tokens([257, *b"x"]) == 1
    assert accepts(text, "<call>x")  # those letters are just text to such a model


@pytest.mark.requirement(63)
@pytest.mark.parametrize("seed", range(5))
def test_free_text_with_tags_can_end(seed: int) -> None:
    assert walk(grammar_of(TAGS, lambda name: None), seed) is not None
