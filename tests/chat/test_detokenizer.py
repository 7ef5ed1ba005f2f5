from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.chat.detokenizer import Detokenizer
from vllm_mlx.chat.tokenizer import Tokenizer

KINDS = ["byte_level", "llama", "gemma", "unigram", "word_piece"]
TEXT = "The caf\u00e9 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u65e5\u672c\u8a9e\n\n  quick"


@pytest.mark.requirement(77)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_random_ids_in_random_cuts_give_the_decoded_text(
    tokenizers_by_kind: dict[str, Tokenizer], kind: str, data: st.DataObject
) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=30))
    skip = data.draw(st.booleans())
    cut = data.draw(st.integers(0, len(ids)))
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=skip)
    text = detokenizer.feed(ids[:cut]) + detokenizer.feed(ids[cut:]) + detokenizer.finish()
    assert text == tokenizer.decode(ids, skip_special_tokens=skip)


@pytest.mark.requirement(77)
@pytest.mark.parametrize("kind", ["byte_level", "llama", "gemma"])
def test_a_character_is_never_split(tokenizers_by_kind: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    detokenizer = Detokenizer(tokenizer)
    pieces = detokenizer.feed_each(tokenizer.encode(TEXT, add_special_tokens=False))
    assert "".join(pieces).removeprefix(" ") == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
    assert "" in pieces
    assert detokenizer.finish() == ""


def test_the_pieces_belong_to_the_ids_one_by_one(byte_level_tokenizer: Tokenizer) -> None:
    think, end = byte_level_tokenizer.added_id("<think>"), byte_level_tokenizer.added_id("<|im_end|>")
    assert think is not None
    assert end is not None
    assert Detokenizer(byte_level_tokenizer).feed_each([think, end, think]) == ["<think>", "", "<think>"]


def test_an_unfinished_character_comes_out_as_one_replacement(byte_level_tokenizer: Tokenizer) -> None:
    ids = byte_level_tokenizer.encode("\U0001f9ff", add_special_tokens=False)
    detokenizer = Detokenizer(byte_level_tokenizer)
    assert detokenizer.feed(ids[:-1]) == ""
    assert detokenizer.finish() == "\ufffd"


def test_tags_stay_visible_although_the_vocabulary_calls_them_special(
    byte_level_tokenizer: Tokenizer,
) -> None:
    ids = byte_level_tokenizer.encode("[TOOL]a<|im_end|>", add_special_tokens=False)
    assert Detokenizer(byte_level_tokenizer).feed(ids) == "a"
    assert Detokenizer(byte_level_tokenizer, visible=["[TOOL]", "<absent>"]).feed(ids) == "[TOOL]a"


def test_the_space_before_the_first_word_stays_where_a_prompt_goes_on(
    tokenizers_by_kind: dict[str, Tokenizer],
) -> None:
    for kind, opening in (("llama", "The dog"), ("unigram", "The dog"), ("gemma", " The dog")):
        tokenizer = tokenizers_by_kind[kind]
        ids = tokenizer.encode("The dog", add_special_tokens=False)
        assert Detokenizer(tokenizer).feed(ids) == opening
        assert Detokenizer(tokenizer, continues=True).feed(ids) == " The dog"
