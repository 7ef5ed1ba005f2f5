from __future__ import annotations

import contextlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.errors import ContextOverflow, InvalidRequest, ModelLoadError

TEXT = "Caf\u00e9  \U0001f468\u200d\U0001f469\u200d\U0001f467 \u65e5\u672c\u8a9e\n\n'Tis \u00ad\x00."
KINDS = ["byte_level", "llama", "gemma"]


@pytest.mark.parametrize("kind", KINDS)
def test_text_survives_the_way_to_ids_and_back(tokenizers_by_kind: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    assert tokenizer.decode(ids).removeprefix(" ") == TEXT


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_bytes_of_the_ids_are_the_bytes_of_the_text(byte_level_tokenizer: Tokenizer, text: str) -> None:
    ids = byte_level_tokenizer.encode(text, add_special_tokens=False)
    assert b"".join(map(byte_level_tokenizer.token_bytes, ids)) == text.encode()


@given(data=st.data())
def test_byte_level_ids_decode_as_the_library_decodes_them(
    byte_level_tokenizer: Tokenizer, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, byte_level_tokenizer.vocab_size - 1), max_size=30))
    skip = data.draw(st.booleans())
    expected = byte_level_tokenizer.hf_tokenizer.decode(ids, skip_special_tokens=skip)
    assert byte_level_tokenizer.decode(ids, skip_special_tokens=skip) == expected


@pytest.mark.parametrize("kind", ["llama", "gemma", "unigram", "word_piece"])
@given(data=st.data())
def test_sentencepiece_ids_decode_as_the_library_decodes_them_if_they_are_text(
    tokenizers_by_kind: dict[str, Tokenizer], kind: str, data: st.DataObject
) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    expected = tokenizer.hf_tokenizer.decode(ids)
    if "\ufffd" not in expected:
        assert tokenizer.decode(ids) == expected


def test_only_the_bad_bytes_of_a_byte_fallback_run_are_replaced(
    tokenizers_by_kind: dict[str, Tokenizer],
) -> None:
    tokenizer = tokenizers_by_kind["llama"]
    cut = list("\u4f60\u597d".encode())[:-1]
    ids = [tokenizer.backend.token_to_id(f"<0x{byte:02X}>") for byte in cut]
    assert tokenizer.decode(ids) == "\u4f60\ufffd"


def test_every_byte_of_a_byte_fallback_vocabulary_is_exact(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    for kind in ("llama", "gemma"):
        tokenizer = tokenizers_by_kind[kind]
        for byte in range(256):
            token_id = tokenizer.backend.token_to_id(f"<0x{byte:02X}>")
            assert tokenizer.token_bytes(token_id) == bytes([byte])


def test_control_tokens_are_read_where_they_are_written_out(byte_level_tokenizer: Tokenizer) -> None:
    ids = byte_level_tokenizer.encode("<|im_start|>user", add_special_tokens=False)
    assert ids[0] == byte_level_tokenizer.added_id("<|im_start|>")
    assert ids[0] in byte_level_tokenizer.special_ids
    assert byte_level_tokenizer.added_id("<think>") not in byte_level_tokenizer.special_ids
    assert byte_level_tokenizer.decode(ids, skip_special_tokens=True) == "user"


def test_the_tokenizer_names_its_end_of_text(byte_level_tokenizer: Tokenizer) -> None:
    assert byte_level_tokenizer.eos_ids == (byte_level_tokenizer.added_id("<|im_end|>"),)


def test_ids_without_a_token_have_no_text(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    for tokenizer in tokenizers_by_kind.values():
        beyond = tokenizer.vocab_size
        assert tokenizer.decode([beyond, beyond + 1000]) == ""
        assert tokenizer.token_bytes(beyond) == tokenizer.token_bytes(-1) == b""
        with pytest.raises(InvalidRequest):
            tokenizer.decode([-1])


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_the_callers_mistake(tokenizers_by_kind: dict[str, Tokenizer], text: str) -> None:
    for tokenizer in tokenizers_by_kind.values():
        with pytest.raises(InvalidRequest, match="surrogate"):
            tokenizer.encode(text, add_special_tokens=True)


def test_part_of_a_character_reads_as_a_replacement(byte_level_tokenizer: Tokenizer) -> None:
    first = byte_level_tokenizer.encode("\U0001f9ff", add_special_tokens=False)[0]
    assert byte_level_tokenizer.token_text(first) == "\ufffd"


def test_threads_may_share_a_tokenizer(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    texts = [f"{TEXT} {number}" for number in range(64)]
    for tokenizer in tokenizers_by_kind.values():
        expected = [tokenizer.encode(text, add_special_tokens=True) for text in texts]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda text, t=tokenizer: t.encode(text, add_special_tokens=True), texts))
        assert found == expected


def test_a_stored_truncation_never_cuts_a_prompt(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["byte_level"], folder)
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    spec["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    tokenizer = Tokenizer.load(folder)
    ids = tokenizer.encode("one two three four five", add_special_tokens=True)
    assert tokenizer.decode(ids) == "one two three four five"


def test_a_folder_without_a_tokenizer_is_a_load_error_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelLoadError) as caught:
            Tokenizer.load(folder)
        assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("broken", ["", "{}", "[]", '{"version": "1.0", "model": {"type": "BPE"}}', "\x00"])
def test_a_broken_tokenizer_file_is_a_load_error(tmp_path: Path, broken: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (tmp_path / "tokenizer.json").write_text(broken)
    with pytest.raises(ModelLoadError):
        Tokenizer.load(tmp_path)


@pytest.mark.requirement(1)
def test_code_in_the_folder_is_never_run(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["byte_level"], folder)
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(
        f"open({str(marker)!r}, 'w')\nfrom transformers import PreTrainedTokenizerFast as Evil\n"
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": [None, "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with contextlib.suppress(ModelLoadError):
        Tokenizer.load(folder)
    assert not marker.exists()


@pytest.mark.requirement(80)
def test_a_text_far_over_the_context_is_not_read_to_its_end(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    words = "hello " * 5_000_000
    for tokenizer in tokenizers_by_kind.values():
        with pytest.raises(ContextOverflow, match="context is 100 tokens"):
            tokenizer.encode(words, add_special_tokens=False, context_tokens=100)


@pytest.mark.requirement(80)
def test_one_endless_word_is_not_read_to_its_end(byte_level_tokenizer: Tokenizer) -> None:
    for endless in ("a" * 30_000_000, " " * 30_000_000):
        with pytest.raises(ContextOverflow):
            byte_level_tokenizer.encode(endless, add_special_tokens=False, context_tokens=100)


def test_a_long_text_that_may_fit_is_read_whole(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    text = "the dog " * 20_000
    for tokenizer in tokenizers_by_kind.values():
        expected = tokenizer.encode(text, add_special_tokens=False)
        context = len(expected) // 2 + 10
        found = tokenizer.encode(text, add_special_tokens=False, context_tokens=context)
        assert found == expected


def test_other_threads_run_while_a_text_is_encoded(byte_level_tokenizer: Tokenizer) -> None:
    went_on = threading.Event()
    text = "The quick brown fox " * 20_000
    with ThreadPoolExecutor(1) as pool:
        encoding = pool.submit(byte_level_tokenizer.encode, text, add_special_tokens=False)
        turns = 0
        while not encoding.done():
            turns += 1
            went_on.wait(0.001)
    assert turns > 10
