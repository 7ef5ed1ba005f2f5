from __future__ import annotations

import re
from pathlib import Path

import pytest

from vllm_mlx.config import InvalidSetting
from vllm_mlx.parsing.detect import check_names, choose_format, detect_format
from vllm_mlx.parsing.registry import FORMATS

QWEN3 = (
    '{{ "<tools>" }}<tool_call>\n{\\"name\\": <function-name>, \\"arguments\\": <args>}\n</tool_call> <think>'
)
CODER = "<tool_call>\n<function=example>\n<parameter=a>\n{{ tool_call.arguments }} <think>"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (QWEN3, "hermes"),
        ("{{ '<think>\\n' }}", "think"),
        (CODER, "qwen3_coder"),
        ('<|start_header_id|>{{ \'{"name": function name, "parameters": dictionary}\' }}', "llama3_json"),
        ("<|header_start|>assistant<|header_end|>", "pythonic"),
        (
            '<|header_start|>assistant<|header_end|> as {"name": function name, "parameters": {}}',
            "llama4_json",
        ),
        ('<|header_start|><|header_end|> as [func_name1(a=1)] "parameters"', "pythonic"),
        ("<|tool_list_start|>[{{ tools }}]<|tool_list_end|>", "lfm2"),
        ("[TOOL_CALLS]{{ name }}[ARGS]{{ arguments }} [THINK]", "mistral"),
        ("[TOOL_CALLS] [{{ calls }}]", "mistral_json"),
        ("<\uff5ctool\u2581calls\u2581begin\uff5c>function\n```json\n<think>", "deepseek_v3"),
        ("<\uff5ctool\u2581calls\u2581begin\uff5c></think>", "deepseek_v31"),
        ("<\uff5cDSML\uff5cfunction_calls>", "deepseek_v32"),
        ("<\uff5cDSML\uff5ctool_calls>", "deepseek_v4"),
        ("<tool_call>{{ name }}\n<arg_key>a</arg_key> <think> arguments", "glm4"),
        ("<|tool_calls_section_begin|><|tool_call_begin|>", "kimi_k2"),
        ("<|start|>assistant<|channel|>final<|message|>", "harmony"),
        ("<start_of_turn>model\n<end_of_turn>", "gemma3"),
        ("<|tool_call>call:{{ name }}<tool_call|><|channel>thought", "gemma4"),
        ("<start_function_call>call:", "functiongemma"),
        ("<minimax:tool_call> <invoke name=", "minimax_m2"),
        ("<function_calls><invoke name=", "anthropic"),
        ("<function_calls>{{ call }}</function_calls>", "olmo3"),
        ("<|start_of_role|>assistant<|end_of_role|>", "granite"),
        ('<|start_of_role|><tool_call>{"name", "arguments"}', "hermes"),
        ("<TOOLCALL>[]</TOOLCALL><think>", "nemotron"),
        ("<|start_header_id|>assistant\n\n>>>all", "functionary"),
        ("<|from|>user<|recipient|>all<|content|>", "functionary_v2"),
        ('<|start_header_id|><function={{ name }}>"parameters"', "functionary_v31"),
        ("<|tool|>{{ tools }}<|/tool|>", "phi4"),
        ("<|START_ACTION|>[]<|END_ACTION|>", "command"),
        ("<|action_start|><|plugin|>", "internlm"),
        ("<\uff5ctool_calls_begin\uff5c>", "step3"),
        ("<seed:tool_call><function=a><parameter=b><seed:think>", "seed_oss"),
        ('<tool_call>{"arguments"}</tool_call><response><think>', "ernie"),
        ("<tool_calls>[]</tool_calls><answer><think>", "hunyuan"),
        ("<longcat_tool_call><longcat_think>", "longcat"),
        ("'<|open|>' + tag '<|sep|>' '<|close|>' + tag '<|end_of_msg|>'", "kimi_k3"),
        ("<|begin|>tool<|tool_response:begin|><|tool_response:name|><|tool_response:result|>", "solar_open"),
        ("<|begin|>assistant<|tool_calls|><|tool_call:begin|><|tool_call:name|>", "solar_open"),
        (
            'to=self <atem:function_calls>\n<atem:invoke name="{{ name }}"> <|start|><|message|>',
            "muse_glimmer",
        ),
        # What real templates of these families have in common, and what they share with others.
        ("<start_of_turn>model\n<end_of_turn> <start_function_call>call:", "functiongemma"),
        ("<|start_header_id|> answer as [func_name1(a=1), func_name2()]", "pythonic"),
        ('a list such as functools[{"name": "f", "arguments": {}}]', "phi4"),
        ('call as [{"name": "tool_call_name", "arguments": {"a": 1}}]', "xlam"),
        ("<think> <|tool_call_start|>[{{ calls }}]<|tool_call_end|>", "lfm2"),
        ('<tool_call></tool_call> <tool_calls>[{"arguments"}]</tool_calls> [BEGIN FINAL RESPONSE]', "apriel"),
        ("{{ '<tool_calls{}>'.format(':opensource') }}{{ '<tool_sep{}>' }}", "hy3"),
        ("<tool_calls:opensource><think:opensource>", "hy3"),
        ('<think><function name="f"><param name="a">1</param></function>', "minicpm"),
        ("<|inner_prefix|><|tools_prefix|>[]<|tools_suffix|>", "apertus"),
        ("a <|function_call|>{{ call }}", "gigachat"),
        ("'function call' <|role_sep|> <|message_sep|>", "gigachat3"),
        ("<|CHATBOT_TOKEN|>Action: ```json", "command_r"),
        ("<|CHATBOT_TOKEN|>Action: ```json <|START_ACTION|><|END_ACTION|>", "command"),
        ("<function_call> {{ call }}", "granite_20b"),
        # Tags inside another family's marks are not those of Hermes or Ernie.
        ("set ns = ']<]minimax[>[' <tool_call> arguments <response> <mm:think>", "minimax_m3"),
        ("<|start_of_role|> put it between <think></think> and <response></response>", "granite33"),
        ("{{ tools | tojson }} call them somehow", "generic"),
        ("<think>{{ tools | tojson }} call them somehow", "generic"),
        ("{{ messages[0].content }}", "plain"),
        ("", "plain"),
        (None, "plain"),
    ],
)
def test_the_format_is_read_off_the_template(template: str | None, name: str) -> None:
    assert detect_format(template).format.name == name


def test_every_row_of_the_table_loads_and_the_name_of_its_format_is_a_row() -> None:
    formats = {name: FORMATS.get(name) for name in FORMATS}
    for fmt in formats.values():
        assert formats[fmt.name] is fmt
    assert FORMATS.get("qwen3") is FORMATS.get("hermes")


REFERENCE = (
    "auto deepseek deepseek_r1 deepseek_v3 deepseek_v4 dsml functionary gemma4 generic glm4 "
    "glm47 gpt-oss granite granite3 harmony hermes kimi kimi_k2 llama llama3 llama4 meetkai "
    "minimax minimax_m2 mistral moonshot nemotron nemotron3 nous poolside_v1 qwen qwen3 qwen3.5 "
    "qwen3_coder qwen3_xml step step3p5 xlam liquidai liquid lfm "
)
REFERENCE_REASONING = "qwen3 deepseek_r1 deepseek_v4 gpt_oss harmony gemma4 glm4 mistral poolside_v1 step3p5 "


@pytest.mark.requirement(11)
@pytest.mark.requirement(66)
def test_every_parser_name_of_the_reference_is_accepted() -> None:
    for name in REFERENCE.split():
        check_names(name, "auto")
    for name in REFERENCE_REASONING.split():
        check_names("auto", name)


def test_the_config_decides_where_the_template_shows_no_tools() -> None:
    assert detect_format("<think>", "deepseek_v32").format.name == "deepseek_v32"
    assert detect_format(None, "kimi_k3").format.name == "kimi_k3"
    assert detect_format(None, "muse_glimmer").format.name == "muse_glimmer"
    assert detect_format("", "solar_open").format.name == "solar_open"
    assert detect_format(None, "gpt_oss").source == "config"
    assert detect_format(QWEN3, "gpt_oss").format.name == "hermes"


@pytest.mark.requirement(11)
def test_a_flag_takes_the_place_of_its_part_alone() -> None:
    auto = choose_format(QWEN3, "qwen3")
    assert (auto.tools, auto.reasoning) == (("hermes", "template"), ("hermes", "template"))
    tools = choose_format(QWEN3, "qwen3", tool_call_parser="llama3")
    assert (tools.tools, tools.reasoning) == (("llama3_json", "flag"), ("hermes", "template"))
    assert tools.format.calls == FORMATS.get("llama3").calls
    assert tools.format.reasoning == FORMATS.get("hermes").reasoning
    thoughts = choose_format(QWEN3, "qwen3", reasoning_parser="mistral")
    assert (thoughts.tools, thoughts.reasoning) == (("hermes", "template"), ("mistral", "flag"))
    assert thoughts.format.calls == FORMATS.get("hermes").calls
    assert thoughts.format.reasoning == FORMATS.get("mistral").reasoning
    assert choose_format(QWEN3, "", reasoning_parser="plain").reasoning == (None, "flag")
    assert choose_format("", "", tool_call_parser="hermes").reasoning == ("hermes", "flag")
    assert choose_format("", "").tools == ("plain", "default")


@pytest.mark.requirement(11)
@pytest.mark.parametrize("tools", ["harmony", "functionary", "muse_glimmer"])
def test_thoughts_that_stand_in_channels_are_not_told_apart_by_another_format(tools: str) -> None:
    own = "plain" if tools == "functionary" else tools  # which has no thoughts
    for thoughts in {"hermes", "plain"} - {own}:
        with pytest.raises(InvalidSetting, match=f"must be auto or {own} beside calls of {tools}") as caught:
            choose_format("", "", tool_call_parser=tools, reasoning_parser=thoughts)
        assert caught.value.name == "reasoning_parser"
        with pytest.raises(InvalidSetting, match=f"must be auto or {own} beside calls of {tools}"):
            check_names(tools, thoughts)
    check_names(tools, own)
    same = choose_format("", "", tool_call_parser=tools, reasoning_parser=own)
    assert same.format.calls == FORMATS.get(tools).calls


@pytest.mark.requirement(11)
@pytest.mark.parametrize(
    ("tools", "thoughts", "setting"),
    [
        ("qwen9", "auto", "tool_call_parser"),
        ("auto", "qwen9", "reasoning_parser"),
        ("auto", "llama3", "reasoning_parser"),
    ],
)
def test_a_name_that_means_nothing_is_refused_by_its_flag(tools: str, thoughts: str, setting: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        check_names(tools, thoughts)
    assert caught.value.name == setting


def test_the_guide_lists_every_name() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/tools.md").read_text(encoding="utf-8")
    rows = [line for line in guide.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    assert sorted(listed) == list(FORMATS)
    for row in rows:
        own, *others = re.findall(r"`([^`]+)`", row.split(" | ")[0])
        assert FORMATS.get(own).name == own
        assert all(FORMATS.get(other) is FORMATS.get(own) for other in others)
