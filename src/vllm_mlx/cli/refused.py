"""Flags that are known and not accepted, each with the sentence that says why or what to use instead.

A flag leaves this table when it becomes a field in `config.py`; a test sees to it that none is in both.
"""

from __future__ import annotations

_NOT_YET = "this version does not have it yet"
_BY_MEMORY = "sizes are set in memory here: use --cache-memory-percent or --cache-memory-mb"

REFUSED: dict[str, str] = {
    # Never.
    "--trust-remote-code": "nothing from a model folder is executed by this server",
    # Another way to say it.
    "--prefix-cache-size": _BY_MEMORY,
    "--no-memory-aware-cache": _BY_MEMORY,
    "--prefix-trie-cache": "the prefix cache is on by default; see --enable-prefix-cache",
    "--prefix-trie-cache-size": _BY_MEMORY,
    "--prefix-trie-cache-memory-mb": _BY_MEMORY,
    "--stream-interval": "each token is sent as soon as it is known",
    # Later versions.
    **dict.fromkeys(
        (
            "--auto-unload-idle-seconds",
            "--batch-divergence-action",
            "--batch-divergence-threshold",
            "--default-mllm-draft",
            "--deterministic",
            "--download-retries",
            "--download-timeout",
            "--embedding-max-length",
            "--embedding-model",
            "--embedding-overflow-policy",
            "--enable-metrics",
            "--enable-mtp",
            "--kv-cache-min-quantize-tokens",
            "--kv-cache-quantization",
            "--kv-cache-quantization-bits",
            "--kv-cache-quantization-group-size",
            "--lazy-load-model",
            "--max-audio-upload-mb",
            "--max-tts-input-chars",
            "--memory-budget-gb",
            "--metrics",
            "--mllm",
            "--mllm-draft-block-size",
            "--mllm-draft-kind",
            "--mllm-draft-model",
            "--mllm-prefill-step-size",
            "--models-config",
            "--moe-top-k",
            "--mtp",
            "--mtp-num-draft-tokens",
            "--mtp-optimistic",
            "--rerank-model",
            "--spec-prefill",
            "--specprefill",
            "--specprefill-backbone-pct",
            "--specprefill-draft-model",
            "--specprefill-keep-pct",
            "--specprefill-threshold",
            "--ssd-cache-dir",
            "--ssd-cache-max-gb",
            "--warm-prompts",
        ),
        _NOT_YET,
    ),
}
