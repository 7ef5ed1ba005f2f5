"""A model in two halves, backbone and head, without knowing the family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx


class SplitModel:
    """Runs an mlx-lm model's backbone and head apart, so that logits are computed only where needed.

    Nearly every family's `Model.__call__` is "call `self.model`, then project, scale or cap". The head is
    therefore the model's own `__call__` over a stand-in for `self` whose `.model` answers with hidden states
    that are already there. Multimodal families wrap such a model. Families built otherwise do not split; the
    load probe finds that out.
    """

    def __init__(self, model: Any) -> None:
        while not hasattr(model, "model") and hasattr(model, "language_model"):
            model = model.language_model
        self._model = model

    def backbone(self, token_ids: mx.array, cache: Sequence[Any]) -> mx.array:
        """Hidden states (B, L, hidden) of tokens (B, L)."""
        hidden: mx.array = self._model.model(token_ids, cache=cache)
        return hidden

    def head(self, hidden: mx.array) -> mx.array:
        """Logits (B, L, vocab) of hidden states (B, L, hidden)."""
        logits: mx.array = type(self._model).__call__(_StandIn(self._model, hidden), None)
        return logits


class _StandIn:
    """A model as its own `__call__` sees it, with a backbone that has already run."""

    def __init__(self, model: Any, hidden: mx.array) -> None:
        self.model = _Answered(model.model, hidden)
        self._real = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Answered:
    """A backbone that answers with what it is given (tied heads still find its embedding)."""

    def __init__(self, backbone: Any, hidden: mx.array) -> None:
        self._real = backbone
        self._hidden = hidden

    def __call__(self, *args: Any, **kwargs: Any) -> mx.array:
        return self._hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
