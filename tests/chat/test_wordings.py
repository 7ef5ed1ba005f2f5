"""Templates that refuse or misread a conversation as it is get it in other words.

The templates here are ours; each has one trait of real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from vllm_mlx.chat.template import ChatTemplate
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.messages import Message, Reasoning, Role, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.core.tools import ToolSpec

Of = Callable[..., ChatTemplate]

EACH = "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}"
CALLS = (
    "{% for c in m.tool_calls or [] %}({{ c.function.name }} {{ c.function.arguments | tojson }}){% endfor %}"
)
END = "{% endfor %}"


def turn(role: Role, text: str) -> Message:
    return Message(role, (Text(text),))


def call(name: str, arguments: str = "{}", call_id: str = "") -> ToolCall:
    return ToolCall(call_id or name, name, arguments)


def result(call_id: str, text: str) -> Message:
    return Message("tool", (ToolResult(call_id, text),))


def shown(template: ChatTemplate, *messages: Message, tools: tuple[ToolSpec, ...] = ()) -> str:
    return template.render(ChatInput(messages=messages, tools=tools)).text


ASKED = turn("user", "a")


def test_a_template_for_one_call_a_turn_gets_each_call_before_its_result(of: Of) -> None:
    template = of(
        EACH
        + "{% if m.tool_calls and m.tool_calls | length > 1 %}"
        + "{{ raise_exception('one at a time') }}{% endif %}"
        + CALLS
        + END
    )
    both = Message("assistant", (Text("Both."), call("f", '{"x": 1}'), call("g")))
    text = shown(template, ASKED, both, result("g", "G"), result("f", "F"), turn("user", "b"))
    assert text == '<user>a<assistant>Both.(f {"x": 1})<tool>F<assistant>(g {})<tool>G<user>b'


def test_a_template_that_joins_arguments_as_text_gets_json(of: Of) -> None:
    template = of(
        EACH
        + "{% for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments }}{% endfor %}"
        + END
    )
    assert shown(template, ASKED, Message("assistant", (call("f", '{"x": [true]}'),))).endswith(
        'f{"x": [true]}'
    )


def test_arguments_are_not_shown_as_python_shows_them(of: Of) -> None:
    template = of(EACH + "{% for c in m.tool_calls or [] %}{{ c.function.arguments }}{% endfor %}" + END)
    text = shown(template, ASKED, Message("assistant", (call("f", '{"x": "it\'s", "y": null}'),)))
    assert text.endswith('{"x": "it\'s", "y": null}')


def test_a_template_without_a_system_turn_gets_its_text_before_the_users(of: Of) -> None:
    template = of(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + EACH + END
    )
    text = shown(template, turn("system", "Be kind."), ASKED, turn("assistant", "b"), turn("user", "c"))
    assert text == "<user>Be kind.\n\na<assistant>b<user>c"


STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must alternate') }}{% endif %}"
    "{{ '<' + m.role + '>' + m.content }}{% endfor %}"
)


def test_a_template_in_which_two_speakers_alternate_gets_results_as_the_users_words(of: Of) -> None:
    asked = Message("assistant", (Text("Looking."), call("f")))
    assert shown(of(STRICT), ASKED, asked, result("f", "F"), turn("user", "b")) == (
        "<user>a<assistant>Looking.<user>F\n\nb"
    )
    assert shown(of(STRICT), turn("system", "s"), ASKED, turn("user", "b")) == "<user>s\n\na\n\nb"


def test_a_template_that_shows_no_results_of_tools_gets_them_as_the_users_words(of: Of) -> None:
    template = of(
        "{% for m in messages %}{% if m.role == 'user' %}U{{ m.content }}"
        "{% elif m.role == 'assistant' %}A{{ m.content }}{% endif %}{% endfor %}"
    )
    asked = Message("assistant", (Text("Looking."), call("f")))
    assert shown(template, ASKED, asked, result("f", "sunny")) == "UaALooking.Usunny"


def test_a_thought_and_words_before_a_call_are_joined_where_only_one_may_stand(of: Of) -> None:
    template = of(
        EACH
        + "{% if m.tool_calls and m.content and m.thinking %}{{ raise_exception('one') }}{% endif %}"
        + "{{ m.thinking or '' }}"
        + CALLS
        + END
    )
    said = Message("assistant", (Reasoning("Hm."), Text("Looking."), call("f")))
    assert shown(template, ASKED, said) == "<user>a<assistant>Hm.\n\nLooking.(f {})"


TYPED = (
    "{% macro kind(p) %}{% if p.type in ('string', 'integer', 'object') %}{{ p.type }}"
    "{% elif p.type is iterable %}{% for t in p.type %}{{ kind({'type': t}) }}{% endfor %}{% endif %}"
    "{% endmacro %}"
    "{% for tool in tools %}{% for name, p in tool.function.parameters.properties | items %}"
    "{{ name + ':' + kind(p) + p.description + ' ' }}{% endfor %}{% endfor %}{{ messages[0].content }}"
)


def test_a_template_that_wants_a_type_and_a_description_gets_them(of: Of) -> None:
    parameters = {
        "type": "object",
        "properties": {
            "x": {"type": ["integer", "null"]},
            "y": {"type": "null"},
            "z": {"type": "object", "description": "!", "properties": {"w": {"type": "string"}}},
        },
    }
    assert shown(of(TYPED), ASKED, tools=(ToolSpec("f", None, parameters),)) == "x:integer y: z:object! a"


def test_a_template_that_counts_its_tools_can_have_none(of: Of) -> None:
    assert shown(of("{{ tools | length }}{{ messages[0].content }}"), ASKED) == "0a"


def test_the_first_refusal_is_told_where_no_wording_helps(of: Of) -> None:
    template = of("{{ raise_exception('never with ' + messages[0].role) }}")
    with pytest.raises(InvalidRequest, match="never with system"):
        shown(template, turn("system", "s"), ASKED)


def test_tools_are_described_to_a_model_whose_template_shows_none(of: Of) -> None:
    def write(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        return "".join(f"[{name} {json.dumps(arguments)}]" for name, arguments in calls)

    tools = (ToolSpec("look", "Looks."),)
    text = shown(of(EACH + END, write_calls=write), turn("system", "Be kind."), ASKED, tools=tools)
    said, _, rest = text.partition("<user>")
    assert said.startswith("<system>Be kind.\n\n")
    assert (
        '{"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}'
        in said
    )
    assert said.endswith('[name_of_the_function {"name_of_the_argument": "value"}]')
    assert rest == "a"
    strict = shown(of(STRICT, write_calls=write), ASKED, tools=tools)
    assert strict.startswith("<user>You can call these functions:")
    assert strict.endswith("\n\na")
    assert shown(of(EACH + "{{ tools }}" + END, write_calls=write), ASKED, tools=tools).startswith("<user>a")


def test_calls_are_written_into_the_text_of_a_template_without_a_place_for_them(of: Of) -> None:
    def write(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        return "".join(f"[{name} {json.dumps(arguments)}]" for name, arguments in calls)

    said = Message("assistant", (Text("Both."), call("f", '{"x": 1}'), call("g")))
    assert shown(of(EACH + END, write_calls=write), ASKED, said) == (
        '<user>a<assistant>Both.\n[f {"x": 1}][g {}]'
    )
    assert shown(of(EACH + CALLS + END, write_calls=write), ASKED, said) == (
        '<user>a<assistant>Both.(f {"x": 1})(g {})'
    )
