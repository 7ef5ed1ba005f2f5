from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_mlx.chat.template import ChatTemplate
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.errors import ContextOverflow, InvalidRequest, ModelLoadError
from vllm_mlx.core.messages import Message, Reasoning, Role, Text, ToolCall
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.core.tools import ToolChoice, ToolSpec

TAGS = ("<think>", "</think>")


def turn(role: Role, text: str) -> Message:
    return Message(role, (Text(text),))


def chat(*messages: Message, **settings: Any) -> ChatInput:
    return ChatInput(messages=messages or (turn("user", "Hi"),), **settings)


@pytest.fixture
def template(byte_level_tokenizer: Tokenizer) -> ChatTemplate:
    return ChatTemplate(byte_level_tokenizer, TAGS)


def test_a_conversation_becomes_text_and_the_same_ids(
    template: ChatTemplate, byte_level_tokenizer: Tokenizer
) -> None:
    prompt = template.render(chat(turn("system", "Be brief."), turn("user", "H\u00e9 \U0001f600")))
    assert prompt.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nH\u00e9 \U0001f600<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert byte_level_tokenizer.decode(prompt.token_ids) == prompt.text
    assert prompt.token_ids[0] == byte_level_tokenizer.added_id("<|im_start|>")


@pytest.mark.requirement(55)
def test_enable_thinking_reaches_the_template(template: ChatTemplate) -> None:
    on = template.render(chat(template_kwargs={"enable_thinking": True}))
    off = template.render(chat(template_kwargs={"enable_thinking": False}))
    assert on.text == off.text + "<think>\n"
    assert (on.thinking, off.thinking) == (True, False)
    assert template.thinking_open(on.text)


def test_a_tag_in_a_users_words_opens_no_thought(template: ChatTemplate) -> None:
    assert not template.render(chat(turn("user", "What is <think>"))).thinking


def test_tools_and_calls_reach_the_template_as_objects(template: ChatTemplate) -> None:
    call = Message("assistant", (ToolCall("1", "look", '{"q":"x"}'),))
    text = template.render(chat(turn("user", "a"), call, tools=(ToolSpec("look"),))).text
    assert '<tool_call>look {"q": "x"}</tool_call>' in text
    assert '"name": "look"' in text.partition("<tools>")[2]


def test_a_model_that_must_not_call_sees_no_tools(template: ChatTemplate) -> None:
    text = template.render(chat(tools=(ToolSpec("look"),), tool_choice=ToolChoice("none"))).text
    assert "<tools>" not in text


def test_the_last_message_can_be_continued(template: ChatTemplate) -> None:
    prompt = template.render(
        chat(turn("user", "Count."), turn("assistant", "One, "), continue_final_message=True)
    )
    assert prompt.text.endswith("<|im_start|>assistant\nOne, ")
    assert not prompt.thinking


def test_a_thought_can_be_continued(template: ChatTemplate) -> None:
    last = Message("assistant", (Reasoning("Let me"),))
    prompt = template.render(chat(turn("user", "Count."), last, continue_final_message=True))
    assert prompt.text.endswith("<think>\nLet me")
    assert prompt.thinking
    written = turn("assistant", "<think>\nLet me")
    assert template.render(chat(turn("user", "a"), written, continue_final_message=True)).thinking


@pytest.mark.parametrize(
    "last", [turn("user", "x"), Message("assistant", (Text("x"), ToolCall("1", "f", "{}")))]
)
def test_only_words_of_the_assistant_can_be_continued(template: ChatTemplate, last: Message) -> None:
    with pytest.raises(InvalidRequest):
        template.render(chat(turn("user", "a"), last, continue_final_message=True))


RESERVED = [
    *("messages", "tools", "add_generation_prompt", "tokenize", "chat_template", "continue_final_message"),
    *("return_dict", "padding", "max_length", "conversation", "conversations", "self", "tokenizer_kwargs"),
    *("raise_exception", "namespace", "_private", "compiled_template", "sanitize_control_tokens"),
]


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_variable_is_refused(template: ChatTemplate, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        template.render(chat(template_kwargs={name: True}))
    assert caught.value.param == "chat_template_kwargs"


def test_an_empty_conversation_is_refused(template: ChatTemplate) -> None:
    with pytest.raises(InvalidRequest):
        template.render(ChatInput(messages=()))


def test_a_lone_surrogate_is_refused(template: ChatTemplate) -> None:
    with pytest.raises(InvalidRequest):
        template.render(chat(turn("user", "\ud800")))


def test_the_templates_own_refusal_reaches_the_caller_in_one_bounded_line(
    of: Callable[[Any], ChatTemplate],
) -> None:
    template = of("{{ raise_exception('Roles must\\n\\x1b[31malternate' + 'x' * 5000) }}")
    with pytest.raises(InvalidRequest, match="Roles must  ") as caught:
        template.render(chat())
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[7].content.x }}",
        "{{ 1 / 0 }}",
        "{{ messages + 1 }}",
        "{{ nothing.at.all }}",
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ {}['a'].b }}",
        "{% include 'x' %}",
        "{{ '%d' % 'x' }}",
    ],
)
def test_a_template_that_fails_is_an_answer_and_not_a_crash(
    of: Callable[[Any], ChatTemplate], source: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        of(source).render(chat())
    assert "/" not in caught.value.message


def test_a_template_with_a_syntax_error_is_the_models_fault(of: Callable[[Any], ChatTemplate]) -> None:
    with pytest.raises(ModelLoadError):
        of("{% if %}").render(chat())


def test_the_template_for_tools_is_used_when_there_are_tools(of: Callable[[Any], ChatTemplate]) -> None:
    template = of([{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}])
    assert template.render(chat()).text == "plain"
    assert template.render(chat(tools=(ToolSpec("f"),))).text == "tools"
    assert template.source == "tools"


def test_a_template_file_beside_the_tokenizer_is_used(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["llama"], folder)
    (folder / "chat_template.jinja").write_text("from a file: {{ messages[0].content }}")
    assert ChatTemplate(Tokenizer.load(folder)).render(chat()).text == "from a file: Hi"


def test_a_model_without_a_template_gets_plain_lines(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    template = ChatTemplate(tokenizers_by_kind["llama"], TAGS)
    messages = (turn("developer", "Be brief."), turn("user", "Hi"), turn("assistant", "Hello"))
    assert template.source is None
    assert (
        template.render(chat(*messages)).text == "System: Be brief.\nUser: Hi\nAssistant: Hello\nAssistant:"
    )
    continued = template.render(chat(*messages, continue_final_message=True))
    assert continued.text.endswith("Assistant: Hello")
    with pytest.raises(InvalidRequest):
        template.render(chat(tools=(ToolSpec("f"),)))


def test_documents_are_the_templates_to_use(of: Callable[[Any], ChatTemplate]) -> None:
    template = of("{% for d in documents %}{{ d.text }}{% endfor %}")
    assert template.render(chat(template_kwargs={"documents": [{"text": "a"}]})).text == "a"
    with pytest.raises(InvalidRequest):
        template.render(chat(template_kwargs={"documents": [1]}))


@pytest.mark.requirement(80)
def test_more_messages_than_tokens_are_refused_before_the_template_runs(template: ChatTemplate) -> None:
    with pytest.raises(ContextOverflow, match="5 messages"):
        template.render(chat(*[turn("user", "a")] * 5), context_tokens=4)


@pytest.mark.requirement(80)
def test_template_variables_are_counted(template: ChatTemplate) -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        template.render(chat(template_kwargs={f"k{i}": 1 for i in range(1000)}))


def test_a_thought_goes_under_the_name_that_the_template_knows(of: Callable[[Any], ChatTemplate]) -> None:
    history = (turn("user", "a"), Message("assistant", (Reasoning("Hm."), Text("b"))), turn("user", "c"))
    for name in ("thinking", "reasoning", "thought", "reasoning_content"):
        template = of("{% for message in messages %}[{{ message." + name + " }}]{% endfor %}")
        assert "[Hm.]" in template.render(chat(*history)).text
        template = of("{% for m in messages %}[{{ m['" + name + "'] }}]{% endfor %}")
        assert "[Hm.]" in template.render(chat(*history)).text


def test_tools_reach_a_template_that_calls_them_xml_tools(of: Callable[[Any], ChatTemplate]) -> None:
    template = of("{% for tool in xml_tools %}{{ tool.function.name }}{% endfor %}{{ messages[0].content }}")
    assert template.render(chat(tools=(ToolSpec("look"),))).text == "lookHi"
    assert template.render(chat()).text == "Hi"
    own = chat(tools=(ToolSpec("look"),), template_kwargs={"xml_tools": []})
    assert template.render(own).text == "Hi"
