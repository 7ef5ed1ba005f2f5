"""What the configs of several families have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VOCAB = 512
WINDOW = 12

Config = Mapping[str, Any]

BASE: Config = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCAB,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    # The same under the names of older families.
    "n_embd": 64,
    "n_layer": 2,
    "num_layers": 2,
    "n_head": 4,
    "n_ctx": 512,
    "n_positions": 512,
    "layer_norm_eps": 1e-5,
    "layer_norm_epsilon": 1e-5,
    "norm_eps": 1e-5,
    "norm_epsilon": 1e-5,
}
"""What every row below begins with; a class takes what it knows and leaves the rest."""

MHA = {"num_key_value_heads": 4}

MOE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "norm_topk_prob": True,
    "num_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 1.0,
}

LOCAL_MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}

ROUTED_MOE = {**MOE, "n_routed_experts": 4, "n_shared_experts": 1, "moe_layer_freq": 1}

MLA = {
    **MHA,
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "qk_nope_head_dim": 16,
}

HALF_WINDOW = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}

GRANITE = {
    "logits_scaling": 2.0,
    "attention_multiplier": 0.25,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.7,
}

YARN = {
    "rope_theta": 10000.0,
    "rope_type": "yarn",
    "type": "yarn",
    "factor": 2.0,
    "original_max_position_embeddings": 256,
    "llama_4_scaling_beta": 0.1,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}

GATED_DELTA = {
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 3,
    "full_attention_interval": 2,
}

MAMBA = {
    "num_heads": 4,
    "state_size": 16,
    "conv_kernel": 4,
    "n_groups": 1,
    "use_bias": False,
    "use_conv_bias": True,
    "time_step_limit": [0.001, 0.1],
    "time_step_rank": 4,
    "intermediate_size": 64,
}

CONV = {
    "conv_bias": False,
    "conv_L_cache": 3,
    "block_dim": 64,
    "block_multiple_of": 32,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": False,
    "layer_types": ["conv", "full_attention"],
}

LONGCAT = {
    **ROUTED_MOE,
    **MLA,
    "attention_method": "MLA",
    "zero_expert_type": "identity",
    "ffn_hidden_size": 96,
    "moe_topk": 2,
    "expert_ffn_hidden_size": 32,
    "zero_expert_num": 1,
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
}

KIMI_LINEAR = {
    **ROUTED_MOE,
    **MLA,
    "q_lora_rank": None,
    "num_experts_per_token": 2,
    "moe_layer_freq": 1,
    "model_max_length": 512,
    "linear_attn_config": {
        "kda_layers": [1],
        "full_attn_layers": [2],
        "num_heads": 4,
        "head_dim": 16,
        "short_conv_kernel_size": 3,
        "gate_lower_bound": -5.0,
    },
}


def wrapped(text: Config, model_type: str) -> dict[str, Any]:
    """The config of a multimodal family, around that of its language model."""
    return {
        "vision_config": {"model_type": "some_vision_model"},
        "text_config": {**BASE, "model_type": model_type, **text},
    }
