"""Every setting of the server, each once: command line, environment, YAML and docs are made from this.

A field's metadata is a `Rule`: its help, the values it allows, and the reference implementation's name for
it where that name differs. A setting is checked when its area is built, whoever builds it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

RULE = "rule"


class InvalidSetting(ValueError):
    """A setting has a value it cannot have.

    Args:
        name: the field's name.
        problem: what is wrong, to be read after the name: "must be ..., not ...".
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a setting is for and what it may be.

    Args:
        help: one line for the help text and the reference page.
        aliases: other flags for it, in full ("--max-kv-size").
        off_aliases: other flags that switch a boolean off ("--disable-prefix-cache").
        metavar: what the help shows for the value.
        choices: the only texts allowed; empty means any.
        minimum: smallest number allowed.
        maximum: largest number allowed.
        above_zero: zero itself is not allowed (for fractions and durations).
        smallest_wins: where the flag and an alias are both given, the smaller value counts.
        always_on: a switch that this server cannot turn off; it is accepted for compatibility.
        json_object: the text is a JSON object.
        pattern: what a text must match as a whole, and what it is in words ("a name without spaces").
        secret: the value is shown nowhere: not in messages, not in a configuration's `repr`.
    """

    help: str
    aliases: tuple[str, ...] = ()
    off_aliases: tuple[str, ...] = ()
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above_zero: bool = False
    smallest_wins: bool = False
    always_on: bool = False
    json_object: bool = False
    pattern: tuple[str, str] | None = None
    secret: bool = False


def setting(default: Any, help: str, **rules: Any) -> Any:
    """A dataclass field that is also a flag, an environment variable and a row of the reference page."""
    rule = Rule(help=help, **rules)
    return field(default=default, repr=not rule.secret, metadata={RULE: rule})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model, under which name, with which defaults for requests that leave a field out."""

    model: str = setting("demo", "Hugging Face id or local folder; `demo` is the bundled model")
    served_model_name: tuple[str, ...] = setting(
        (),
        "names shown in /v1/models and accepted in requests; the first answers for any other",
    )
    strict_model_id: bool = setting(
        False, "answer 404 to a request for any other name than a served one or `default`"
    )
    offline: bool = setting(False, "never contact a model hub; only local files")
    dtype: str = setting(
        "auto",
        "number format of the weights; auto: the model's own, float32 on a CPU",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    max_tokens: int = setting(4096, "most tokens to generate where the request does not say", minimum=1)
    max_request_tokens: int | None = setting(None, "largest max_tokens a request may ask for", minimum=1)
    default_temperature: float | None = setting(
        None, "temperature where the request does not say", minimum=0, maximum=100
    )
    default_top_p: float | None = setting(
        None, "top_p where the request does not say", minimum=0, maximum=1, above_zero=True
    )
    default_top_k: int | None = setting(
        None, "top_k where the request does not say; 0 or -1 keeps every token", minimum=-1
    )
    default_min_p: float | None = setting(None, "min_p where the request does not say", minimum=0, maximum=1)
    default_presence_penalty: float | None = setting(
        None, "presence penalty where the request does not say", minimum=-2, maximum=2
    )
    default_repetition_penalty: float | None = setting(
        None, "repetition penalty where the request does not say", minimum=0, maximum=100, above_zero=True
    )
    default_thinking_token_budget: int | None = setting(
        None,
        "most tokens of thought where the request does not say; the thought is closed by force after them",
        minimum=0,
    )
    default_chat_template_kwargs: str | None = setting(
        None, "JSON object with variables for the chat template", metavar="JSON", json_object=True
    )
    tool_call_parser: str = setting(
        "auto",
        "output format whose tool calls are read (docs/guides/tools.md has the names); auto: by the chat "
        "template and config.json",
    )
    reasoning_parser: str = setting(
        "auto", "output format whose thoughts are told apart; auto: by the chat template and config.json"
    )
    enable_auto_tool_choice: bool = setting(True, "always on; accepted for compatibility", always_on=True)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How steps are put together."""

    continuous_batching: bool = setting(True, "always on; accepted for compatibility", always_on=True)
    max_num_seqs: int = setting(
        256,
        "most sequences in one step",
        aliases=("--completion-batch-size",),
        smallest_wins=True,
        minimum=1,
    )
    max_model_len: int | None = setting(
        None, "context in tokens; default is the model's", aliases=("--max-kv-size",), minimum=1
    )
    max_num_batched_tokens: int | None = setting(
        None, "token budget of one step; default is 2048, 32768 with CUDA", minimum=1
    )
    prefill_step_size: int | None = setting(
        None,
        "most prompt tokens of one sequence in one step; default is 512, 2048 with CUDA",
        aliases=("--chunked-prefill-tokens",),
        smallest_wins=True,
        minimum=1,
    )
    prefill_batch_size: int | None = setting(
        None, "most prompts read in one step; default is as many as its tokens serve", minimum=1
    )
    max_itl_ms: float | None = setting(
        None,
        "longest wait in milliseconds between two tokens of a stream while prompts are read: a step takes "
        "only as many prompt tokens as are expected to keep to it (one block at least); default is 2.5 times "
        "a step without prompts, or 100 where prompts can be read at once; 0 sets no bound",
        minimum=0,
    )
    max_queue: int = setting(1024, "requests that may wait; one more is answered 429", minimum=0)
    timeout: float = setting(300.0, "seconds after which a request is given up", minimum=0, above_zero=True)
    engine_process: bool = setting(
        True, "run the model in a process of its own, which is started again when it dies"
    )
    engine_timeout: float = setting(
        300.0,
        "seconds without a word after which a model's process that has work counts as hung and is started "
        "again: more than the slowest step takes, the compilation of its kernels included; 0 waits for ever",
        minimum=0,
    )
    warm_up: bool = setting(
        True, "on a GPU, run steps of the usual shapes before serving: seconds that requests would wait later"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """The pool of KV blocks."""

    enable_prefix_cache: bool = setting(
        True, "reuse the KV of shared prompt beginnings", off_aliases=("--disable-prefix-cache",)
    )
    block_size: int = setting(16, "tokens a block", aliases=("--paged-cache-block-size",), minimum=1)
    max_cache_blocks: int | None = setting(
        None, "fixed number of blocks instead of a share of memory", minimum=1
    )
    cache_memory_percent: float = setting(
        0.2, "share of this machine's memory for the KV pool, 0 to 1", minimum=0, maximum=1, above_zero=True
    )
    cache_memory_mb: int | None = setting(None, "KV pool in MiB; overrides --cache-memory-percent", minimum=1)
    gpu_memory_utilization: float = setting(
        0.9,
        "share of the accelerator's memory that weights and KV pool together may take, 0 to 1",
        minimum=0,
        maximum=1,
        above_zero=True,
    )
    use_paged_cache: bool = setting(True, "always on; accepted for compatibility", always_on=True)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where and under which limits HTTP is served."""

    host: str = setting("127.0.0.1", "address to bind")
    port: int = setting(8000, "port to bind; 0 picks a free one", minimum=0, maximum=65535)
    max_body_mb: float = setting(32.0, "largest request body in MiB", minimum=0, above_zero=True)
    shutdown_timeout: float = setting(
        30.0, "seconds that running requests get to finish after SIGTERM", minimum=0
    )
    stored_responses: int = setting(
        1000, "most answers of /v1/responses kept in memory to go on from; 0 keeps none", minimum=0
    )
    stored_responses_mb: float = setting(
        64.0, "most memory for kept answers in MiB", minimum=0, above_zero=True
    )
    stored_responses_ttl: float = setting(
        86_400.0, "seconds until a kept answer that nobody asks for is gone", minimum=0, above_zero=True
    )
    log_level: str = setting(
        "info", "least severe message to log", choices=("debug", "info", "warning", "error")
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessConfig:
    """Who may ask, how often, and what is written down about it."""

    api_key: tuple[str, ...] = setting(
        (),
        "key that every request but /health must show, as a bearer token or as x-api-key",
        metavar="KEY",
        pattern=(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+", "one printable word"),
        secret=True,
    )
    api_key_file: str | None = setting(None, "file with further keys, one a line", metavar="FILE")
    rate_limit: int = setting(
        0, "requests a minute for each key, without keys for each client address; 0 sets no limit", minimum=0
    )
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "further Host names to answer to; `*` is any; without a key loopback answers to local ones only",
        metavar="NAME",
        pattern=(r"\*|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", "a host name without a port, or *"),
    )
    allowed_origins: tuple[str, ...] = setting(
        (),
        "origins whose web pages may use the server (CORS); `*` is any",
        metavar="ORIGIN",
        pattern=(r"\*|[A-Za-z][A-Za-z0-9+.-]*://[^\s/]*", "an origin such as http://localhost:3000, or *"),
    )
    access_log: bool = setting(True, "one line a request: method, route, status, milliseconds, id")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class McpConfig:
    """Tools of MCP servers, and how far this server may go when it runs them by itself."""

    mcp_config: str | None = setting(
        None, "JSON or YAML file with the MCP servers to connect to", metavar="FILE"
    )
    mcp_auto_execute: bool = setting(
        False, "offer the tools of MCP servers in every conversation, and run the approved ones, unasked"
    )
    mcp_max_turns: int = setting(
        10, "most turns of the model in one answer where this server runs tools", minimum=1, maximum=100
    )
    mcp_max_seconds: float = setting(
        120.0, "seconds after which an answer starts no further tool", minimum=0, above_zero=True
    )
    mcp_max_result_kb: int = setting(
        1024, "KiB of tool results that one answer may bring before the model", minimum=1
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything `vllm-mlx serve` was told."""

    model: ModelConfig = field(default_factory=ModelConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    mcp: McpConfig = field(default_factory=McpConfig)


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of one area, as parsers and docs need it; `many` holds any number of values of its kind."""

    area: str
    name: str
    kind: type
    optional: bool
    many: bool
    default: Any
    rule: Rule


def areas() -> dict[str, type]:
    """Field name in `Config` to the area's class, in order."""
    hints = get_type_hints(Config)
    return {f.name: hints[f.name] for f in fields(Config)}


def settings() -> Iterator[Setting]:
    """Every setting of every area, in order."""
    for area, cls in areas().items():
        hints = get_type_hints(cls)
        for f in fields(cls):
            yield Setting(area, f.name, *_plain_type(hints[f.name]), f.default, f.metadata[RULE])


def check(area: Any) -> None:
    """Check every setting of one area.

    Raises:
        InvalidSetting: the first setting whose value breaks its rule.
    """
    hints = get_type_hints(type(area))
    for f in fields(area):
        value = getattr(area, f.name)
        kind, optional, many = _plain_type(hints[f.name])
        if value is None and optional:
            continue
        if many and not isinstance(value, tuple):
            raise InvalidSetting(f.name, f"must be a list of {_KIND_NAMES[kind]}")
        for one in value if many else (value,):
            problem = _wrong_type(one, kind, f.metadata[RULE]) or _broken_rule(one, f.metadata[RULE])
            if problem:
                raise InvalidSetting(f.name, problem)


def _plain_type(hint: Any) -> tuple[type, bool, bool]:
    """The type of one value, whether None is one too, and whether there may be many (`tuple[str, ...]`)."""
    members = getattr(hint, "__args__", (hint,))
    return members[0], type(None) in members, Ellipsis in members


_KIND_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _wrong_type(value: Any, kind: type, rule: Rule) -> str | None:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return None
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return None
    return f"must be {_KIND_NAMES[kind]}" + ("" if rule.secret else f", not {_shown(value)}")


def _shown(value: Any) -> str:
    """Short enough for one line, whatever was typed."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a huge number"
    return text if len(text) <= 40 else text[:40] + "..."


def _broken_rule(value: Any, rule: Rule) -> str | None:
    if rule.always_on and not value:
        return "cannot be switched off: this server always works that way"
    if rule.choices and value not in rule.choices:
        return f"must be one of {', '.join(rule.choices)}, not {_shown(value)}"
    if rule.json_object:
        return _not_an_object(value)
    if isinstance(value, str) and not value.strip():
        return "must not be empty"
    if rule.pattern and not re.fullmatch(rule.pattern[0], value):
        return f"must be {rule.pattern[1]}" + ("" if rule.secret else f", not {_shown(value)}")
    if isinstance(value, str):
        return None
    return _out_of_range(value, rule)


def _out_of_range(value: float, rule: Rule) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number, not {value}"
    low, high = rule.minimum, rule.maximum
    too_low = low is not None and (value <= low if rule.above_zero else value < low)
    if not too_low and (high is None or value <= high):
        return None
    if high is not None:
        least = f"above {low:g}, at most {high:g}" if rule.above_zero else f"from {low:g} to {high:g}"
        return f"must be {least}, not {_shown(value)}"
    least = f"above {low:g}" if rule.above_zero else f"at least {low:g}"
    return f"must be {least}, not {_shown(value)}"


def _not_an_object(value: str) -> str | None:
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return "must be a JSON object, and this is not JSON"
    return None if isinstance(parsed, dict) else f"must be a JSON object, not {type(parsed).__name__}"
