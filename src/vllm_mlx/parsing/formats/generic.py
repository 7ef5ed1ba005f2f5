"""For a model whose family is unknown: every way of calling that cannot be taken for something else."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.formats import (
    anthropic,
    deepseek_v3,
    gemma4,
    glm4,
    hermes,
    hunyuan,
    kimi_k2,
    lfm2,
    llama3_json,
    minimax_m2,
    mistral,
    nemotron,
    pythonic,
    qwen3_coder,
    seed_oss,
)

FORMAT = OutputFormat(
    name="generic",
    reasoning=THINK,
    calls=(
        hermes.CALLS,
        qwen3_coder.CALLS,
        glm4.CALLS,
        *mistral.FORMAT.calls,
        llama3_json.TAGGED,
        llama3_json.BARE,
        pythonic.CALLS,
        *lfm2.FORMAT.calls,
        nemotron.CALLS,
        deepseek_v3.CALLS,
        kimi_k2.CALLS,
        gemma4.CALLS,
        minimax_m2.CALLS,
        anthropic.CALLS,
        hunyuan.CALLS,
        seed_oss.CALLS,
    ),
)
