"""Tiny configs of the families that page."""

from __future__ import annotations

from tests.fakes.families.fragments import (
    BASE,
    GRANITE,
    HALF_WINDOW,
    LOCAL_MOE,
    LONGCAT,
    MHA,
    MLA,
    MOE,
    ROUTED_MOE,
    VOCAB,
    WINDOW,
    YARN,
    Config,
    wrapped,
)

GEMMA4 = {
    **HALF_WINDOW,
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "global_head_dim": 32,
    "num_global_key_value_heads": 1,
    "vocab_size_per_layer_input": VOCAB,
    "hidden_size_per_layer_input": 16,
}

INDEX = {
    **ROUTED_MOE,
    **MLA,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "index_topk": 8,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
}

PLAIN: dict[str, Config] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": MOE,
    "mistral": {},
    "phi3": {},
    "gemma2": {"query_pre_attn_scalar": 16},
    "olmo2": {},
    "granite": GRANITE,
    "glm4": {"partial_rotary_factor": 0.5},
    "smollm3": {"no_rope_layers": [1, 0]},
    "Klear": {**ROUTED_MOE, "mlp_only_layers": [0]},
    "apertus": {"post_norm": True, "qk_norm": True},
    "bailing_moe": {**MOE, **MHA},
    "bitnet": {},
    "cohere": {},
    "dbrx": {
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
    },
    "deepseek": ROUTED_MOE,
    "dots1": ROUTED_MOE,
    "ernie4_5": {"use_bias": False},
    "ernie4_5_moe": {**MOE, "use_bias": False, "moe_num_experts": 4, "moe_num_shared_experts": 1},
    "exaone": {},
    "gemma": {},
    "glm": {},
    "glm4_moe": {**ROUTED_MOE, "rope_scaling": None, "use_qk_norm": True, "partial_rotary_factor": 0.5},
    "gpt2": MHA,
    "gpt_bigcode": {"n_inner": 96},
    "gpt_neox": {**MHA, "rotary_emb_base": 10000, "rotary_pct": 0.5},
    "gptj": {"rotary_dim": 8},
    "granitemoe": {**GRANITE, **LOCAL_MOE},
    "helium": {},
    "hunyuan": {
        **MOE,
        "moe_topk": 2,
        "num_shared_expert": 1,
        "use_mixed_mlp_moe": True,
        "use_qk_norm": True,
        "use_cla": True,
        "cla_share_factor": 2,
        "rope_scaling": {"alpha": 1.0, "factor": 1.0, "type": "dynamic"},
    },
    "hunyuan_v1_dense": {},
    "internlm2": {},
    "internlm3": {},
    "lille-130m": {"block_size": 512, "n_kv_heads": 2},
    "mimo": {},
    "minicpm": {"dim_model_base": 32, "scale_depth": 1.4, "scale_emb": 3.0},
    "minimax": {**LOCAL_MOE, "shared_intermediate_size": 0, "rotary_dim": 8},
    "mixtral": LOCAL_MOE,
    "nanbeige": {"num_loops": 2},
    "nanochat": MHA,
    "nemotron": {"hidden_act": "relu2"},
    "nemotron-nas": {
        "block_configs": [
            {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.5}},
            {"attention": {"n_heads_in_group": 4}, "ffn": {"ffn_mult": 1.5}},
        ]
    },
    "olmoe": MOE,
    "openelm": {
        "num_transformer_layers": 2,
        "model_dim": 64,
        "ffn_dim_divisor": 16,
        "num_query_heads": [4, 4],
        "num_kv_heads": [2, 2],
        "ffn_multipliers": [1.5, 2.0],
        "share_input_output_layers": False,
    },
    "phi": {"partial_rotary_factor": 0.5},
    "phimoe": {
        **LOCAL_MOE,
        "original_max_position_embeddings": 256,
        "rope_scaling": {
            "type": "longrope",
            "long_factor": [1.0] * 8,
            "short_factor": [1.0] * 8,
            "long_mscale": 1.0,
            "short_mscale": 1.0,
        },
    },
    "phixtral": {
        **LOCAL_MOE,
        "num_vocab": VOCAB,
        "model_dim": 64,
        "num_heads": 4,
        "rotary_dim": 8,
    },
    "pixtral": wrapped({}, "mistral"),
    "plamo": {"n_shared_head": 2},
    "qwen": {"kv_channels": 16},
    "qwen2_moe": MOE,
    "qwen2_vl": wrapped({}, "qwen2"),
    "qwen3_vl": wrapped({}, "qwen3"),
    "qwen3_vl_moe": wrapped(MOE, "qwen3_moe"),
    "seed_oss": {},
    "solar_open": {**ROUTED_MOE, "partial_rotary_factor": 1.0},
    "stablelm": {"use_qkv_bias": True, "partial_rotary_factor": 0.5},
    "starcoder2": {},
    "talkie": {},
    "telechat3": {},
    "llama4_text": {"intermediate_size_mlp": 96, "no_rope_layers": [1, 0], "use_qk_norm": True},
    "afm7": {
        "hidden_dim": 64,
        "num_layers": 4,
        "num_kv_reuse_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "hidden_dim_scale_factor": 2.0,
    },
}
"""Keys and values of every position."""

WINDOWED: dict[str, Config] = {
    "gemma3_text": {"sliding_window": WINDOW, "sliding_window_pattern": 2, "query_pre_attn_scalar": 16},
    "olmo3": HALF_WINDOW,
    "gpt_oss": {**HALF_WINDOW, **LOCAL_MOE},
    "afmoe": {**HALF_WINDOW, **MOE, "num_dense_layers": 1},
    "cohere2": {"sliding_window": WINDOW, "sliding_window_pattern": 2},
    "exaone4": {"rope_scaling": None, "sliding_window": WINDOW, "sliding_window_pattern": "LG"},
    "exaone_moe": {**HALF_WINDOW, **MOE, "is_moe_layer": [False, True]},
    "gemma3n": wrapped(
        {
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": VOCAB,
            "sliding_window": WINDOW,
            "rope_local_base_freq": 10000.0,
            "final_logit_softcapping": 30.0,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
            "intermediate_size": [96] * 4,
            "hidden_size_per_layer_input": 16,
            "altup_num_inputs": 2,
            "altup_coef_clip": 120.0,
            "altup_correct_scale": True,
            "altup_active_idx": 0,
            "laurel_rank": 8,
        },
        "gemma3n_text",
    ),
    "laguna": {
        **HALF_WINDOW,
        **MOE,
        "mlp_layer_types": ["dense", "sparse"],
        "partial_rotary_factor": 0.5,
    },
    "mellum": {
        **HALF_WINDOW,
        **MOE,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "default", "rope_theta": 50000.0},
        },
    },
    "mimo_v2_flash": {
        **ROUTED_MOE,
        "n_shared_experts": None,
        "hybrid_layer_pattern": [1, 0],
        "moe_layer_freq": [0, 1],
        "add_swa_attention_sink_bias": True,
        "add_full_attention_sink_bias": False,
        "sliding_window_size": WINDOW,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "layernorm_epsilon": 1e-5,
        "swa_rope_theta": 10000.0,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "v_head_dim": 8,
        "swa_head_dim": 16,
        "swa_v_head_dim": 8,
        "partial_rotary_factor": 0.5,
    },
    "ministral3": {**HALF_WINDOW, "rope_parameters": YARN},
    "muse_glimmer": {**HALF_WINDOW, "layer_rope_theta": [10000.0, 0.0], "qk_scale_factor": 3.0},
    "spark2_5": {
        **HALF_WINDOW,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "default", "rope_theta": 50000.0},
        },
    },
    "step3p5": {
        **HALF_WINDOW,
        "num_attention_groups": 2,
        "moe_num_experts": 4,
        "moe_top_k": 2,
        "moe_intermediate_size": 32,
        "share_expert_dim": 32,
        "moe_layers_enum": "1",
    },
    "iquestloopcoder": {"loop_num": 2, "loop_window_size": WINDOW},
}
"""Some layers look back on a window only."""


WINDOWED |= {
    "gemma3": wrapped(WINDOWED["gemma3_text"], "gemma3_text"),
    "gemma4_text": GEMMA4,
    "gemma4": {**wrapped(GEMMA4, "gemma4_text")},
    "mistral3": wrapped(WINDOWED["ministral3"], "ministral3"),
    "muse_spark": {
        "text_config": {
            **BASE,
            **HALF_WINDOW,
            **LOCAL_MOE,
            "post_norm_eps": 1e-5,
            "rope_parameters": {"rope_theta": 10000.0},
            "layer_rope_theta": [10000.0, 0.0],
            "final_logit_softcapping": 20.0,
            "output_multiplier": 0.5,
            "moe_hidden_size": 32,
            "moe_intermediate_size": 32,
        },
    },
}


LATENT: dict[str, Config] = {
    "deepseek_v3": {**ROUTED_MOE, **MLA},
    "deepseek_v2": {**ROUTED_MOE, **MLA, "topk_method": "greedy", "rope_scaling": YARN},
    "glm4_moe_lite": {**ROUTED_MOE, **MLA},
    "kimi_k25": wrapped({**ROUTED_MOE, **MLA}, "deepseek_v3"),
    "kimi_vl": wrapped({**ROUTED_MOE, **MLA}, "deepseek_v3"),
    "minicpm3": {
        **MLA,
        "dim_model_base": 32,
        "scale_depth": 1.4,
        "scale_emb": 3.0,
        "rope_scaling": {
            "type": "longrope",
            "long_factor": [1.0] * 4,
            "short_factor": [1.0] * 4,
            "original_max_position_embeddings": 256,
            "factor": 1.0,
        },
    },
    "mistral4": {**ROUTED_MOE, **MLA, "rope_parameters": YARN},
    "youtu_llm": MLA,
    "longcat_flash": LONGCAT,
}
"""One compressed latent in place of keys and values (MLA)."""


INDEXED: dict[str, Config] = {
    "deepseek_v32": INDEX,
    "glm_moe_dsa": {**INDEX, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
    "minimax_m3_vl": wrapped(
        {
            **LOCAL_MOE,
            "intermediate_size": 32,
            "dense_intermediate_size": 96,
            "shared_intermediate_size": 32,
            "index_n_heads": 2,
            "index_head_dim": 16,
            "index_block_size": 4,
            "index_topk_blocks": 2,
            "layer_types": ["full_attention", "sparse_attention"],
        },
        "minimax_m3",
    ),
}
"""Beside keys and values an index, which selects the positions that are looked at."""

CHUNKED: dict[str, Config] = {
    "llama4": wrapped(
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "attention_chunk_size": WINDOW,
            "interleave_moe_layer_step": 1,
            "intermediate_size_mlp": 96,
            "rope_scaling": None,
            "use_qk_norm": True,
            "num_hidden_layers": 4,
        },
        "llama4_text",
    ),
}
"""Some layers look back no further than the beginning of a chunk of positions."""
