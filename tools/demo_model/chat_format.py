"""Qwen3's chat format: the Jinja template that ships, and the same in Python for the training text."""
# ruff: noqa: E501

import json
from typing import Any

TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
START, END = "<|im_start|>", "<|im_end|>"
NO_THOUGHT = "<think>\n\n</think>\n\n"
TEMPLATE = """{%- set first = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if tools -%}{{- '<|im_start|>system\\n' -}}{%- if first -%}{{- first + '\\n\\n' -}}{%- endif -%}{{- HEAD -}}
{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}{{- TAIL + '<|im_end|>\\n' -}}
{%- elif first -%}{{- '<|im_start|>system\\n' + first + '<|im_end|>\\n' -}}{%- endif -%}
{%- set ns = namespace(last=-1) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- for m in messages -%}
{%- set ns.text = m.content if m.content is string else '' -%}
{%- if m.content and m.content is not string -%}
{%- for part in m.content -%}{%- if part.type == 'text' -%}{%- set ns.text = ns.text + part.text -%}{%- endif -%}{%- endfor -%}{%- endif -%}
{%- set content = ns.text -%}
{%- if m.role == 'user' or (m.role == 'system' and not loop.first) -%}{{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' -}}
{%- elif m.role == 'assistant' -%}
{%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}{%- endif -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if loop.index0 > ns.last and m.reasoning_content -%}{{- '<think>\\n' + m.reasoning_content.strip('\\n') + '\\n</think>\\n\\n' -}}{%- endif -%}
{{- content -}}
{%- for call in m.tool_calls or [] -%}{%- set tool_call = call.function or call -%}
{%- if content or not loop.first -%}{{- '\\n' -}}{%- endif -%}
{%- set arguments = tool_call.arguments if tool_call.arguments is string else tool_call.arguments | tojson -%}
{{- '<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' + arguments + '}\\n</tool_call>' -}}{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- elif m.role == 'tool' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
{{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- endif -%}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}
""".replace("HEAD", json.dumps(TOOLS_HEAD)).replace("TAIL", json.dumps(TOOLS_TAIL))


def _system(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    first: str = messages[0]["content"] if messages[0]["role"] == "system" else ""
    if tools:
        specs = "".join("\n" + json.dumps(t, ensure_ascii=False) for t in tools)
        first = (first + "\n\n" if first else "") + TOOLS_HEAD + specs + TOOLS_TAIL
    return f"{START}system\n{first}{END}\n" if first else ""


def _assistant(m: dict[str, Any]) -> str:
    calls = [
        f"<tool_call>\n{json.dumps(c['function'], ensure_ascii=False)}\n</tool_call>"
        for c in m.get("tool_calls", [])
    ]
    return "\n".join(([m["content"]] if m["content"] else []) + calls)


def render_prompt(messages: list[dict[str, Any]], tools: list[dict[str, Any]], thinking: bool) -> str:
    """All messages and the start of the next answer, as the template writes them."""
    out = [_system(messages, tools)]
    for i, m in enumerate(messages):
        if m["role"] == "tool":
            first = i == 0 or messages[i - 1]["role"] != "tool"
            last = i + 1 == len(messages) or messages[i + 1]["role"] != "tool"
            out.append(
                (START + "user" if first else "")
                + f"\n<tool_response>\n{m['content']}\n</tool_response>"
                + (END + "\n" if last else "")
            )
        elif m["role"] == "assistant":
            out.append(f"{START}assistant\n{_assistant(m)}{END}\n")
        elif m["role"] == "user" or i > 0:
            out.append(f"{START}{m['role']}\n{m['content']}{END}\n")
    return "".join(out) + f"{START}assistant\n" + ("" if thinking else NO_THOUGHT)


def render_example(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], think: str | None
) -> tuple[str, str]:
    """(prompt, answer) of a conversation whose last message is the answer; without a thought it thinks nothing."""
    prompt = render_prompt(messages[:-1], tools, think is not None)
    answer = _assistant(messages[-1]) + END
    return prompt, answer if think is None else f"<think>\n{think}\n</think>\n\n{answer}"
