"""Settings refuse what they cannot be, whoever builds them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.config import (
    AccessConfig,
    CacheConfig,
    Config,
    EngineConfig,
    InvalidSetting,
    ModelConfig,
    ServerConfig,
    settings,
)


@pytest.mark.requirement(6)
def test_the_defaults_are_valid_and_local() -> None:
    config = Config()
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8000)
    assert config.model.model == "demo"


@pytest.mark.parametrize(
    ("area", "name", "value", "says"),
    [
        (ServerConfig, "port", 65536, "from 0 to 65535"),
        (ServerConfig, "port", True, "a whole number"),
        (ServerConfig, "port", "8000", "a whole number"),
        (ServerConfig, "host", " ", "must not be empty"),
        (ServerConfig, "log_level", "loud", "one of debug, info, warning, error"),
        (ServerConfig, "max_body_mb", 0, "above 0"),
        (ModelConfig, "max_tokens", 0, "at least 1"),
        (ModelConfig, "default_top_p", math.nan, "a finite number"),
        (ModelConfig, "default_temperature", math.inf, "a finite number"),
        (ModelConfig, "default_chat_template_kwargs", "[1]", "a JSON object, not list"),
        (ModelConfig, "default_chat_template_kwargs", "{", "this is not JSON"),
        (ModelConfig, "default_chat_template_kwargs", "[" * 100_000, "this is not JSON"),
        (EngineConfig, "continuous_batching", False, "cannot be switched off"),
        (EngineConfig, "timeout", 0.0, "above 0"),
        (AccessConfig, "allowed_origins", ("localhost:3000",), "an origin such as"),
        (AccessConfig, "allowed_origins", ("http://a/path",), "an origin such as"),
        (AccessConfig, "allowed_hosts", ("http://a",), "a host name without a port"),
        (AccessConfig, "api_key", "one", "a list of text"),
        (AccessConfig, "rate_limit", -1, "at least 0"),
        (ModelConfig, "served_model_name", ("",), "must not be empty"),
        (CacheConfig, "cache_memory_percent", 1.5, "above 0, at most 1"),
        (CacheConfig, "enable_prefix_cache", 1, "true or false"),
        pytest.param(CacheConfig, "cache_memory_mb", -(10**5000), "at least 1", id="5000-digits"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_could(area: Any, name: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        area(**{name: value})
    assert caught.value.name == name
    assert says in caught.value.problem
    assert len(str(caught.value)) < 200


def test_whole_numbers_are_numbers_and_none_means_not_given() -> None:
    assert EngineConfig(timeout=5).timeout == 5
    assert ModelConfig(max_request_tokens=None).max_request_tokens is None
    assert ModelConfig(default_chat_template_kwargs='{"enable_thinking": false}')


def test_every_setting_has_a_unique_name_and_a_help_line() -> None:
    every = list(settings())
    assert len({one.name for one in every}) == len(every)
    assert all(one.rule.help and "\n" not in one.rule.help for one in every)


@given(st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.booleans(), st.lists(st.integers())))
def test_any_value_is_taken_or_refused_never_a_crash(value: Any) -> None:
    for area in (ModelConfig, EngineConfig, CacheConfig, ServerConfig, AccessConfig):
        for one in settings():
            if one.name in area.__dataclass_fields__:
                try:
                    area(**{one.name: value})
                except InvalidSetting as error:
                    assert "\n" not in str(error)  # noqa: PT017  (being taken is fine too)
