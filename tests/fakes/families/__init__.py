"""Every family of mlx-lm that can be made tiny: two-layer configs, by how their cache is served."""

from __future__ import annotations

from tests.fakes.families.fragments import BASE, VOCAB, WINDOW, Config
from tests.fakes.families.paged import CHUNKED, INDEXED, LATENT, PLAIN, WINDOWED
from tests.fakes.families.sequential import SEQUENTIAL

__all__ = ["BASE", "VOCAB", "WINDOW"]

KINDS: dict[str, dict[str, Config]] = {
    "paged": PLAIN,
    "paged, windows": WINDOWED,
    "paged, latent (MLA)": LATENT,
    "paged, with an index": INDEXED,
    "paged, chunks": CHUNKED,
    "sequential": SEQUENTIAL,
}

"""By the path that a family's sequences take."""

FAMILIES: dict[str, Config] = {family: config for kind in KINDS.values() for family, config in kind.items()}

PAGED = [family for family in FAMILIES if family not in SEQUENTIAL]

COMMON = frozenset(
    {
        *("llama", "qwen2", "qwen3", "qwen3_moe", "mistral", "phi3"),
        *("gemma2", "gemma3_text", "olmo2", "granite", "glm4", "smollm3"),
        *("olmo3", "gpt_oss", "gemma3", "gemma3n", "deepseek_v3", "longcat_flash", "deepseek_v32", "llama4"),
        *("afm7", "mamba2", "lfm2", "qwen3_next", "falcon_h1"),
    }
)
"""What every test run proves: the most used families, and some of each kind. The slow run proves all."""

METAL_ONLY = frozenset({"bitnet", "muse_spark"})
"""Families whose classes call kernels that mlx-lm has for Metal alone; they run nowhere else."""

UNCUT = frozenset({"phi3small", "plamo3"})
"""Families whose tokens in mlx-lm depend on how a prompt is cut; proved on prompts in one piece."""

LOUD_EMBEDDING = frozenset({"gemma2", "gemma3n"})
"""Tied without a choice: a random embedding as loud as the rest would only repeat the token it is given."""

REMARKS: dict[str, str] = {
    "phi3small": "a fault of mlx-lm: its block-sparse layers add the boolean mask to the scores instead of "
    "applying it, so that tokens see later ones",
    "plamo3": "a fault of mlx-lm: its rotating cache keeps one position less than its mask lets through, so "
    "that tokens depend on where a prompt is cut",
    "deepseek_v41": "a cache of its own: a window, groups of positions pressed into one, and the open group",
    "longcat_flash_ngram": "beside its latents it keeps the tokens before (an ArraysCache), for n-grams",
    "afm7": "its last layers reckon positions from the length of the keys, padding included",
    "gpt_bigcode": "it looks up a learnt position by a plain number, which only a lone row has",
    "llama4": "its mask of chunks wants a plain number for the offset, which only a lone row has",
    "bitnet": "runs on Metal alone: mlx-lm has its ternary product for no other device",
    "muse_spark": "runs on Metal alone: mlx-lm has a kernel of its attention for no other device",
}
"""What a reader of the table should know, by family."""

NOT_BUILT: dict[str, str] = {
    "olmo": "mlx-lm imports it only beside the package ai2-olmo, and ends the process where that is missing; "
    "the models since are olmo2 and olmo3",
    "prism_hadamard_qwen35": "loads packs of 2-bit weights with a manifest of rotated modules only; its text "
    "side is qwen3_5",
}
"""Modules of mlx-lm that no random model is made of, and why."""
