"""A tokenizer for the fake runner's 97 ids: printable ASCII from id 0 on, then the tags of a thought."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models

VOCAB = 97


def save_letters(folder: Path) -> None:
    """Write tokenizer.json: id i is the character 32 + i up to "}"; 94 and 95 are <think> and </think>."""
    # Byte-level spelling: a space is written as another character.
    vocabulary = {"\u0120" if i == 0 else chr(32 + i): i for i in range(94)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(tag, special=False) for tag in ("<think>", "</think>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


@cache
def letters_folder() -> Path:
    """A folder with nothing but this tokenizer; one for all tests of a run."""
    folder = Path(tempfile.mkdtemp(prefix="letters-"))
    save_letters(folder)
    return folder
