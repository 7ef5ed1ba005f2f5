"""A model's vocabulary under the library: what may follow, whose fault it is, and how long it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.architecture.project import ROOT
from tests.fakes.chat_tokenizer import save_text_side

from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.errors import InvalidGrammar
from vllm_mlx.structured.compiling import Grammars, grammars_of
from vllm_mlx.structured.gate import Gate
from vllm_mlx.structured.llguidance import Compiler, GrammarMatcher
from vllm_mlx.structured.masks import Masks

PADDED = 1000


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("text")
    save_text_side(folder)
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> Compiler:
    return Compiler(tokenizer, PADDED)


def schema(written: object) -> str:
    return json.dumps({"grammars": [{"json_schema": written}]})


def allowed(*gates: Gate) -> list[set[int]]:
    """The ids that may come next, of each gate; all in one call."""
    mask, failed = Masks(PADDED).fill(dict(enumerate(gates)))
    assert mask is not None
    assert failed == {}
    assert mask.seq_ids == tuple(range(len(gates)))
    bits = np.unpackbits(np.asarray(mask.bits).view(np.uint8), axis=1, bitorder="little")
    return [set(np.flatnonzero(row[:PADDED]).tolist()) for row in bits]


def follow(matcher: GrammarMatcher, tokenizer: Tokenizer, text: str) -> None:
    for token_id in tokenizer.encode(text, add_special_tokens=False):
        matcher.take(token_id)


@pytest.mark.requirement(63)
def test_exactly_the_tokens_that_spell_the_grammar_are_allowed(
    compiler: Compiler, tokenizer: Tokenizer
) -> None:
    matcher = compiler.compile('start: "ab" /[0-9]/')
    (ids,) = allowed(Gate(matcher, None))
    assert {tokenizer.token_text(i) for i in ids} <= {"a", "ab"}
    assert ids
    follow(matcher, tokenizer, "ab")
    (ids,) = allowed(Gate(matcher, None))
    assert {tokenizer.token_text(i) for i in ids} == set("0123456789")


def test_ids_without_a_token_and_control_tokens_are_no_text(compiler: Compiler, tokenizer: Tokenizer) -> None:
    (ids,) = allowed(Gate(compiler.compile("start: /(.|\\n)+/"), None))
    assert ids
    assert max(ids) < tokenizer.vocab_size
    assert not ids & tokenizer.special_ids


def test_a_control_token_is_named_by_the_grammar(compiler: Compiler, tokenizer: Tokenizer) -> None:
    special = min(tokenizer.special_ids)
    for name in (tokenizer.token_text(special), f"<[{special}]>"):
        matcher = compiler.compile(f'start: {name} "x"')
        assert allowed(Gate(matcher, None)) == [{special}]


def test_an_end_is_allowed_where_the_grammar_is_complete_and_nowhere_else(
    compiler: Compiler, tokenizer: Tokenizer
) -> None:
    matcher = compiler.compile("start: /a+/")
    gate = Gate(matcher, None, (PADDED - 1,))
    assert PADDED - 1 not in allowed(gate)[0]
    follow(matcher, tokenizer, "a")
    assert PADDED - 1 in allowed(gate)[0]
    assert not matcher.exhausted


def test_many_rows_are_filled_at_once_each_by_its_own_grammar(
    compiler: Compiler, tokenizer: Tokenizer
) -> None:
    gates = [Gate(compiler.compile(f'start: "{letter}"'), None) for letter in "abcdefgh"]
    assert [{tokenizer.token_text(i) for i in ids} for ids in allowed(*gates)] == [{c} for c in "abcdefgh"]


def test_a_token_that_the_grammar_forbids_is_refused(compiler: Compiler, tokenizer: Tokenizer) -> None:
    matcher = compiler.compile('start: "a"')
    with pytest.raises(InvalidGrammar, match=r"satisfy|grammar"):
        follow(matcher, tokenizer, "b")


WRONG = {
    "no grammar": "garbage((",
    "an unknown rule": "start: nothing",
    "not JSON": '{"grammars": ',
    "a wrong schema": schema({"type": "nonsense"}),
    "a schema that is only itself": schema({"$ref": "#"}),
    "a circle of references": schema(
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    ),
    "a schema that nothing meets": schema({"type": "string", "minLength": 3, "maxLength": 2}),
    "parentheses without end": "start: /" + "(" * 30_000 + "a" + ")" * 30_000 + "/",
    "a huge number": schema({"type": "integer", "minimum": -(10**300), "maximum": 10**300}),
    "a range that explodes": schema(
        {
            "allOf": [
                {"anyOf": [{"properties": {f"p{i}{j}": {"pattern": f"^.*{i}.*{j}$"}}} for i in range(12)]}
                for j in range(12)
            ]
        }
    ),
    "references in a row": schema(
        {
            "$defs": {
                **{f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {}]} for i in range(20_000)},
                "d20000": {},
            },
            "$ref": "#/$defs/d0",
        }
    ),
}


def outcome(grammars: Grammars, text: str) -> GrammarMatcher:
    """Waits for it, with the same patience for all: the time limits are those of the real clock."""
    compilation = grammars.begin(text)
    pause = threading.Event()
    while (matcher := grammars.poll(compilation)) is None:
        pause.wait(0.002)
    return matcher


@pytest.fixture(scope="module")
def grammars(tmp_path_factory: pytest.TempPathFactory) -> Grammars:
    folder: Path = tmp_path_factory.mktemp("text")
    save_text_side(folder)
    return grammars_of(folder, PADDED)


@pytest.mark.requirement(63, 80)
@pytest.mark.parametrize("what", WRONG)
def test_a_grammar_that_cannot_be_is_a_short_plain_error(what: str, grammars: Grammars) -> None:
    with pytest.raises(InvalidGrammar) as caught:
        outcome(grammars, WRONG[what])
    assert 0 < len(caught.value.message) <= 400
    assert "\n" not in caught.value.message


@pytest.mark.requirement(63, 80)
def test_a_large_enum_and_a_pattern_with_huge_counts_end_one_way_or_the_other(grammars: Grammars) -> None:
    for text in (
        schema({"enum": [f"value-{i}-{i * 7919}" for i in range(20_000)]}),
        "start: /((((a{1,100}){1,100}){1,100}){1,100}){1,100}/",
        "start: /(.*a.{4000}){20}/",
        'start: a\na: a a | "x" |',
    ):
        try:
            matcher = outcome(grammars, text)
        except InvalidGrammar:
            continue
        assert allowed(Gate(matcher, None))[0]


def test_a_rule_chain_that_would_end_a_process_with_a_common_stack_does_not(grammars: Grammars) -> None:
    chain = "".join(f'A{i}: "x" A{i + 1}\n' for i in range(20_000))
    assert allowed(Gate(outcome(grammars, f'start: A0\n{chain}A20000: "z"'), None))[0]


def test_three_hundred_schemas_one_after_the_other(grammars: Grammars) -> None:
    for i in range(300):
        written = {"type": "object", "properties": {f"p{i}": {"type": "integer"}}, "required": [f"p{i}"]}
        assert allowed(Gate(outcome(grammars, schema(written)), None))[0]


def test_the_library_is_imported_by_whoever_uses_a_grammar_and_no_one_else() -> None:
    program = (
        "import sys, vllm_mlx.engine.child, vllm_mlx.runners.text, vllm_mlx.service.build;"
        "print([m for m in sys.modules if m.split('.')[0] == 'llguidance'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.requirement(63, 80)
@pytest.mark.parametrize("more", ["", '\n%llguidance {"no_forcing": false}'], ids=["", "whatever it says"])
def test_what_must_follow_is_not_written_out_for_a_mask(more: str) -> None:
    """It would take half a second for each token of this text, and leave one way to spell it."""
    tokenizer = Tokenizer.load(ROOT / "src/vllm_mlx/models/demo")
    compiler = Compiler(tokenizer, PADDED)
    spelt = {i: tokenizer.token_bytes(i).decode("latin-1") for i in range(PADDED)}
    long = next(text for text in spelt.values() if len(text) > 1 and text.isalpha() and text.isascii())
    grammar = f'start: X\nX: Y{{1000}}\nY: Z{{1000}}\nZ: "{long}"' + more
    [ids] = allowed(Gate(compiler.compile(grammar), None))
    assert {spelt[i] for i in ids} >= {long, long[0]}
