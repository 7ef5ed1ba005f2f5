"""The table of output formats; the names are what the command line accepts."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.registry import Registry

_HERE = "vllm_mlx.parsing.formats"

_NAMES: dict[str, tuple[str, ...]] = {
    "hermes:FORMAT": ("hermes", "nous", "qwen", "qwen2", "qwen3", "granite4"),
    "qwen3_coder:FORMAT": ("qwen3_coder", "qwen3_xml", "qwen3.5", "step", "step3p5"),
    "llama3_json:FORMAT": ("llama3_json", "llama", "llama3"),
    "llama4_json:FORMAT": ("llama4_json",),
    "pythonic:FORMAT": ("pythonic", "llama4", "llama4_pythonic"),
    "lfm2:FORMAT": ("lfm2", "lfm", "liquid", "liquidai"),
    "mistral:FORMAT": ("mistral",),
    "mistral:LISTED": ("mistral_json",),
    "deepseek_v3:FORMAT": ("deepseek_v3", "deepseek", "deepseek_r1"),
    "deepseek_v31:FORMAT": ("deepseek_v31",),
    "glm4:FORMAT": ("glm4", "glm45", "glm47", "poolside_v1"),
    "kimi_k2:FORMAT": ("kimi_k2", "kimi", "moonshot"),
    "kimi_k3:FORMAT": ("kimi_k3",),
    "solar_open:FORMAT": ("solar_open", "solar"),
    "harmony:FORMAT": ("harmony", "gpt_oss", "gpt-oss", "openai"),
    "muse_glimmer:FORMAT": ("muse_glimmer", "atem"),
    "gemma3:FORMAT": ("gemma3", "gemma"),
    "gemma4:FORMAT": ("gemma4",),
    "functiongemma:FORMAT": ("functiongemma",),
    "minimax_m2:FORMAT": ("minimax_m2", "minimax"),
    "minimax_m3:FORMAT": ("minimax_m3",),
    "anthropic:FORMAT": ("anthropic", "claude"),
    "gemini:FORMAT": ("gemini",),
    "deepseek_dsml:V32": ("deepseek_v32",),
    "deepseek_dsml:V4": ("deepseek_v4", "dsml"),
    "granite:FORMAT": ("granite", "granite3"),
    "granite:FORMAT_33": ("granite33",),
    "granite_20b:FORMAT": ("granite_20b", "granite-20b-fc"),
    "nemotron:FORMAT": ("nemotron", "nemotron3"),
    "functionary:FORMAT": ("functionary", "meetkai"),
    "functionary:FORMAT_V2": ("functionary_v2",),
    "functionary:TAGS": ("functionary_v31",),
    "xlam:FORMAT": ("xlam",),
    "phi4:FORMAT": ("phi4", "phi4_mini", "phi4_mini_json"),
    "command:FORMAT": ("command", "cohere", "command_a"),
    "command_r:FORMAT": ("command_r",),
    "internlm:FORMAT": ("internlm", "internlm2"),
    "step3:FORMAT": ("step3",),
    "seed_oss:FORMAT": ("seed_oss", "seed-oss"),
    "ernie:FORMAT": ("ernie", "ernie45"),
    "hunyuan:FORMAT": ("hunyuan", "hunyuan_a13b", "jamba"),
    "hy3:FORMAT": ("hy3",),
    "apriel:FORMAT": ("apriel",),
    "apertus:FORMAT": ("apertus",),
    "minicpm:FORMAT": ("minicpm",),
    "gigachat:FORMAT": ("gigachat",),
    "gigachat:FORMAT_3": ("gigachat3",),
    "olmo3:FORMAT": ("olmo3",),
    "longcat:FORMAT": ("longcat",),
    "generic:FORMAT": ("generic",),
    "think:FORMAT": ("think",),
    "plain:FORMAT": ("plain",),
}
"""Where a format lies, its own name, and the other names for it."""

FORMATS: Registry[OutputFormat] = Registry(
    "output format",
    {name: f"{_HERE}.{place}" for place, names in _NAMES.items() for name in names},
)
