"""The reference of flags: one row a setting, from `config.py`."""

from __future__ import annotations

from vllm_mlx.cli.flags import AREA_TITLES, flags_of, variable_of
from vllm_mlx.config import Setting, areas, settings

HEAD = """# Flags of `vllm-mlx serve`

`vllm-mlx serve [MODEL]` takes these settings. Each can be given in three ways: as a flag, as an environment
variable, or in a YAML file named with `--config FILE` (or `VLLM_MLX_CONFIG`). In the file a setting has the
flag's name without the dashes in front, as in `max-num-seqs: 64`. A flag wins over the environment, the
environment over the file, and the file over the default. In the environment and in the file, switches are
`true` or `false`. `VLLM_MLX_BLAS=stock` keeps the linear algebra of the MLX wheel on a Linux CPU where
OpenBLAS is installed. Any other variable that begins with `VLLM_MLX_` gets a warning: it may be misspelt.

Flags that are known and refused stand in [What is refused](not-supported.md#flags).

Made from `src/vllm_mlx/config.py` by `make docs`.
"""

COLUMNS = ("| flag | environment | default | meaning |", "| --- | --- | --- | --- |")


def page() -> str:
    """The page."""
    parts = [HEAD]
    for area in areas():
        rows = [_row(one) for one in settings() if one.area == area]
        parts.append("\n".join([f"## {AREA_TITLES[area]}", "", *COLUMNS, *rows, ""]))
    return "\n".join(parts)


def _row(one: Setting) -> str:
    names = ["`MODEL`"] if one.name == "model" else [f"`{flag}`" for flag in flags_of(one)]
    return f"| {' '.join(names)} | `{variable_of(one.name)}` | {_default(one)} | {_meaning(one)} |"


def _default(one: Setting) -> str:
    if one.default in (None, ()):
        return ""
    return ("on" if one.default else "off") if one.kind is bool else f"`{one.default}`"


def _meaning(one: Setting) -> str:
    text = one.rule.help.replace("|", "\\|")
    if one.rule.choices:
        text += "; one of " + ", ".join(f"`{choice}`" for choice in one.rule.choices)
    if one.many:
        text += "; several with commas, or the flag again (in a file: a list)"
    if one.rule.smallest_wins:
        text += "; where two of these flags are given, the smaller value counts"
    return text
