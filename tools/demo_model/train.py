"""Train for a given time with checkpoints: python -m tools.demo_model.train OUT --seconds 500 [--resume | --init]."""
# ruff: noqa: E501

import argparse
import json
import math
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from mlx_lm.models import qwen3

from tools.demo_model import tokenizer as tok
from tools.demo_model.data import TARGET, batches, start_workers

WARM_UP = 300


def config_of(a: argparse.Namespace, vocabulary: int) -> dict[str, Any]:
    """The model's config.json."""
    return {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": a.hidden,
        "num_hidden_layers": a.layers,
        "intermediate_size": a.inter,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv,
        "head_dim": 64,
        "rms_norm_eps": 1e-6,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "rope_theta": 100000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "attention_bias": False,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def write_configs(out: Path, config: dict[str, Any]) -> None:
    """config.json and generation_config.json: greedy is best for a model of this size."""
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    generation = {
        "do_sample": False,
        "temperature": 0.0,
        "eos_token_id": [2, 0],
        "pad_token_id": 0,
        "max_new_tokens": 512,
    }
    (out / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n", encoding="utf-8")


class Trainer:
    """The fp32 master weights, their optimizer and the compiled step that runs in bf16."""

    def __init__(self, a: argparse.Namespace, config: dict[str, Any]) -> None:
        mx.random.seed(a.seed)
        args = qwen3.ModelArgs.from_dict(config)
        self.master, self.net = qwen3.Model(args), qwen3.Model(args)
        self.dtype = mx.bfloat16 if mx.default_device() == mx.gpu else mx.float32
        self.optimizer = optim.AdamW(
            learning_rate=a.lr, betas=[0.9, 0.95], weight_decay=a.decay, bias_correction=True
        )
        self.optimizer.init(self.master.trainable_parameters())
        self.prompt_weight = a.prompt_weight
        self.state = [self.master.state, self.optimizer.state]
        self.step = partial(mx.compile, inputs=self.state, outputs=self.state)(self._step)

    def _loss(self, params: Any, x: mx.array) -> tuple[mx.array, mx.array]:
        self.net.update(tree_map(lambda v: v.astype(self.dtype), params))
        ids = (x & (TARGET - 1)).astype(mx.int32)
        target, y = x[:, 1:] >= TARGET, ids[:, 1:]
        w = mx.where(target, 1.0, mx.where(y == 0, 0.0, self.prompt_weight))
        ce = nn.losses.cross_entropy(self.net(ids[:, :-1]).astype(mx.float32), y)
        return (ce * w).sum() / w.sum(), (ce * target).sum() / target.sum()

    def _step(self, x: mx.array) -> mx.array:
        (_, loss), g = mx.value_and_grad(self._loss)(self.master.trainable_parameters(), x)
        g, _ = optim.clip_grad_norm(g, 1.0)
        self.optimizer.update(self.master, g)
        return loss

    def save(self, out: Path) -> None:
        """The bf16 weights that mlx-lm loads."""
        self.net.update(tree_map(lambda v: v.astype(mx.bfloat16), self.master.parameters()))
        mx.eval(self.net.parameters())
        mx.save_safetensors(
            str(out / "model.safetensors"), dict(tree_flatten(self.net.parameters())), {"format": "mlx"}
        )

    def checkpoint(self, out: Path, done: dict[str, float]) -> None:
        """All that a later command needs to go on."""
        state = dict(tree_flatten({"master": self.master.parameters(), "optimizer": self.optimizer.state}))
        mx.save_safetensors(str(out / "checkpoint.safetensors"), state)
        (out / "checkpoint.json").write_text(json.dumps(done), encoding="utf-8")

    def resume(self, out: Path) -> dict[str, float]:
        """Go on from the checkpoint."""
        tree = tree_unflatten(list(mx.load(str(out / "checkpoint.safetensors")).items()))
        self.master.update(tree["master"])
        self.optimizer.state = tree["optimizer"]
        self.state[1] = self.optimizer.state
        done: dict[str, float] = json.loads((out / "checkpoint.json").read_text(encoding="utf-8"))
        return done


def train(trainer: Trainer, a: argparse.Namespace, data: Path, done: dict[str, float]) -> dict[str, float]:
    """Steps until the time of this command is over; the rate follows the time of all commands."""
    counts = {"fresh": 0, "again": 0}
    rows = batches(data, a.batch, counts)
    x = next(rows)
    n, seconds, first = int(done["steps"]), done["seconds"], int(done["steps"])
    start = last = time.time()
    while time.time() - start < a.seconds:
        part = min(1.0, (seconds + time.time() - start) / (a.total or a.seconds))
        trainer.optimizer.learning_rate = (
            a.lr * min(1, (n + 1) / WARM_UP) * (0.02 + 0.49 * (1 + math.cos(math.pi * part)))
        )
        loss = trainer.step(mx.array(x))
        mx.async_eval(loss, trainer.state)
        x = next(rows)
        n += 1
        if n % a.log == 0 or n - first in (1, 5, 20):
            value, now = loss.item(), time.time()
            tokens = a.batch * a.length
            print(
                f"step {n} {now - start:.0f} s, {n * tokens / 1e6:.0f} M tokens, loss on answers {value:.4f}, fresh {counts['fresh'] / 1e6:.0f} M again {counts['again'] / 1e6:.0f} M, {now - last:.1f} s",
                flush=True,
            )
            last = now
    return {
        "steps": n,
        "seconds": seconds + time.time() - start,
        "tokens": n * a.batch * a.length,
        "repeated": done["repeated"] + counts["again"],
    }


def arguments() -> argparse.Namespace:
    """The recipe's numbers; the defaults are those of the bundled model."""
    p = argparse.ArgumentParser()
    p.add_argument("out", type=Path)
    p.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.safetensors")
    p.add_argument(
        "--init", action="store_true", help="a new phase from OUT/model.safetensors and its tokenizer"
    )
    numbers = {
        "seconds": 500.0,
        "total": 0.0,
        "hidden": 256,
        "layers": 8,
        "inter": 512,
        "heads": 4,
        "kv": 2,
        "vocabulary": 4096,
        "length": 2048,
        "batch": 32,
        "lr": 2e-3,
        "decay": 0.1,
        "workers": 14,
        "thinking": 0.38,
        "prompt_weight": 0.05,
        "seed": 1,
        "log": 500,
        "tokenizer_conversations": 30000,
    }
    for k, v in numbers.items():
        p.add_argument("--" + k, type=type(v), default=v)
    return p.parse_args()


def main() -> None:
    """Tokenizer, workers, training, weights."""
    a, start = arguments(), time.time()
    if not (a.resume or a.init):
        tok.build(a.out, a.vocabulary, a.tokenizer_conversations)
    data = a.out / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    workers = start_workers(
        data,
        a.out / "tokenizer.json",
        a.workers,
        a.seed + 100 * (a.resume or a.init),
        a.length + 1,
        a.thinking,
    )
    config = config_of(a, a.vocabulary)
    write_configs(a.out, config)
    trainer = Trainer(a, config)
    if a.init:
        trainer.master.load_weights(str(a.out / "model.safetensors"))
        trainer.master.apply(lambda v: v.astype(mx.float32))
    done = trainer.resume(a.out) if a.resume else {"steps": 0, "seconds": 0.0, "repeated": 0}
    size = sum(v.size for _, v in tree_flatten(trainer.master.parameters()))
    print(f"{size / 1e6:.2f} M parameters, ready after {time.time() - start:.0f} s: {vars(a)}", flush=True)
    done = train(trainer, a, data, done)
    (data / "stop").touch()
    trainer.save(a.out)
    trainer.checkpoint(a.out, done)
    for w in workers:
        w.terminate()
    shutil.rmtree(data, ignore_errors=True)
    print("done", json.dumps(done), f"{time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
