"""Joins what the command line, the environment and a YAML file say into one checked `Config`.

The command line wins over the environment, the environment over the file, the file over the defaults.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from vllm_mlx.cli.flags import did_you_mean, flag_of, read, variable_of
from vllm_mlx.cli.refused import REFUSED
from vllm_mlx.config import Config, InvalidSetting, Setting, areas, settings
from vllm_mlx.models.backend import BLAS_VARIABLE

CONFIG_VARIABLE = "VLLM_MLX_CONFIG"
_PREFIX = variable_of("")


class BadSource(Exception):
    """A setting, wherever it came from, that cannot be used; the text is for the person who wrote it."""


def resolve(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None) -> Config:
    """Build the configuration.

    Args:
        flags: setting name to value, only those that stood on the command line.
        environment: the process's environment; `VLLM_MLX_<NAME>` is read.
        file: a YAML mapping of setting names to values, or None.

    Raises:
        BadSource: one of them holds something that is no setting, or a value that it cannot have.
    """
    known = {one.name: one for one in settings()}
    values: dict[str, Any] = {}
    shown_as: dict[str, str] = {}
    for name, value in _from_file(file, known).items():
        values[name], shown_as[name] = value, f"{name} in {file}"
    for name, value in _from_environment(environment, known).items():
        values[name], shown_as[name] = value, variable_of(name)
    for name, value in flags.items():
        values[name], shown_as[name] = value, "model" if name == "model" else flag_of(name)
    return _build(values, shown_as)


def unread(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable with our prefix that nothing reads; it may well be misspelt."""
    known = {CONFIG_VARIABLE, BLAS_VARIABLE, *(variable_of(one.name) for one in settings())}
    refused = {variable_of(flag.removeprefix("--").replace("-", "_")): why for flag, why in REFUSED.items()}
    return [
        f"{name} has no effect" + (f": {refused[name]}" if name in refused else _near(name, known))
        for name in sorted(environment)
        if name.startswith(_PREFIX) and name not in known
    ]


def _near(name: str, known: Iterable[str]) -> str:
    return did_you_mean(name, known, _PREFIX) or ": there is no such setting"


def _build(values: Mapping[str, Any], shown_as: Mapping[str, str]) -> Config:
    parts: dict[str, Any] = {}
    try:
        for area, cls in areas().items():
            names = [one.name for one in settings() if one.area == area]
            parts[area] = cls(**{name: values[name] for name in names if name in values})
    except InvalidSetting as error:
        raise BadSource(f"{shown_as[error.name]} {error.problem}") from None
    return _with_keys_of_file(Config(**parts), shown_as)


def _with_keys_of_file(config: Config, shown_as: Mapping[str, str]) -> Config:
    """The configuration with the keys that its key file names; a file without one would let anybody in."""
    access = config.access
    if access.api_key_file is None:
        return config
    problem = "has no key in it"
    try:
        lines = Path(access.api_key_file).read_text(encoding="utf-8").split("\n")
        keys = tuple(line.strip() for line in lines if line.strip())
        if keys:
            return replace(config, access=replace(access, api_key=access.api_key + keys))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is not UTF-8"
    except InvalidSetting as error:
        problem = f"has a key that cannot be one: each {error.problem}"
    raise BadSource(f"{shown_as['api_key_file']}: {access.api_key_file} {problem}")


def _from_environment(environment: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in known.items():
        text = environment.get(variable_of(name))
        if text is None:
            continue
        try:
            found[name] = read(one, text)
        except InvalidSetting as error:
            raise BadSource(f"{variable_of(name)} {error.problem}") from None
    return found


def _from_file(file: Path | None, known: Mapping[str, Setting]) -> dict[str, Any]:
    if file is None:
        return {}
    content = _yaml(file)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadSource(f"{file} must hold `name: value` lines")
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise BadSource(f"{file} has no setting {key}{did_you_mean(name, known)}")
        if known[name].rule.json_object and isinstance(value, dict):
            value = json.dumps(value)
        if known[name].many:
            value = read(known[name], value) if isinstance(value, str) else _as_tuple(value)
        found[name] = value
    return found


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _yaml(file: Path) -> Any:
    try:
        return msgspec.yaml.decode(file.read_bytes())
    except OSError as error:
        raise BadSource(f"cannot read {file}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadSource(f"{file} is not valid YAML") from None
