"""Where the caller's cache mark lies in a prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vllm_mlx.chat.template import ChatTemplate
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.messages import Message, Role, Text
from vllm_mlx.core.requests import ChatInput

pytestmark = pytest.mark.requirement(39)


def turn(role: Role, text: str) -> Message:
    return Message(role, (Text(text),))


SYSTEM, HI, HELLO, MORE = (
    turn("system", "Be kind."),
    turn("user", "Hi, what is new?"),
    turn("assistant", "Hello."),
    turn("user", "More! 日本語"),
)
OPENED = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
REFUSES_SHORT = "{% if messages | length < 4 %}{{ raise_exception('too short') }}{% endif %}x"


@pytest.mark.parametrize(
    ("mark", "beginning"),
    [
        (None, ""),
        ((), ""),  # nothing but the opening of a turn, which the first one here does not share
        ((SYSTEM,), OPENED),
        ((SYSTEM, turn("user", "Hi")), OPENED + "Hi"),
        ((SYSTEM, HI), OPENED + "Hi, what is new?<|im_end|>\n"),
        (
            (SYSTEM, HI, HELLO),
            OPENED + "Hi, what is new?<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n",
        ),
    ],
)
def test_the_mark_ends_the_shared_beginning(
    byte_level_tokenizer: Tokenizer, mark: tuple[Message, ...] | None, beginning: str
) -> None:
    template = ChatTemplate(byte_level_tokenizer)
    chat = ChatInput(messages=(SYSTEM, HI, HELLO, MORE), cache_mark=mark)
    prompt = template.render(chat)
    marked = template.marked_tokens(chat, prompt)
    assert byte_level_tokenizer.decode(prompt.token_ids[:marked]).removesuffix("<|im_start|>") == beginning


def test_all_but_the_opening_of_the_answer_can_be_marked(byte_level_tokenizer: Tokenizer) -> None:
    template = ChatTemplate(byte_level_tokenizer)
    chat = ChatInput(messages=(SYSTEM, HI), cache_mark=(SYSTEM, HI))
    prompt = template.render(chat)
    marked = template.marked_tokens(chat, prompt)
    assert byte_level_tokenizer.decode(prompt.token_ids[marked:]) == "<|im_start|>assistant\n"
    begun = ChatInput(messages=(HI, HELLO), cache_mark=(HI, HELLO), continue_final_message=True)
    prompt = template.render(begun)
    assert template.marked_tokens(begun, prompt) == len(prompt.token_ids)


def test_nothing_is_marked_that_the_template_cannot_write_alone(of: Callable[[Any], ChatTemplate]) -> None:
    template = of(REFUSES_SHORT)
    chat = ChatInput(messages=(SYSTEM, HI, HELLO, MORE), cache_mark=(SYSTEM, HI))
    assert template.marked_tokens(chat, template.render(chat)) == 0
