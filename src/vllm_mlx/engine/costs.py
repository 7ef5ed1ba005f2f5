"""What a step costs, learnt from the steps that ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_mlx.runners.base import StepPlan

_SMOOTHING = 0.2
"""Weight of the newest decode step in its average."""

_MEMORY = 0.95
"""Weight of a prefill step relative to the next one: about twenty count."""

_MOST_SURPRISE = 3.0
"""A step that took longer than so many times what was expected counts as if it took that: a shape that was
compiled or a machine that paused says little about the next step, and a real change shows again."""

_SURE_AFTER = 4
"""Steps after which an expectation is good enough to clip by."""

_TRUST = (0.3, 1e-4, 0.03)
"""Ridge of the fit, for (chunks, tokens, keys): with few steps known, all cost is taken to be by the token,
which errs to the safe side for larger chunks."""

_CHUNK_UNIT = 64.0
_KEYS_UNIT = 4096.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a step computes.

    Attributes:
        decoding: rows of one token.
        chunks: rows of several.
        tokens: in the chunks.
        keys: that the tokens of the chunks attend to, in all.
        longest: tokens of the longest text that decodes; where rows are padded to it, it makes the cost.
    """

    decoding: int = 0
    chunks: int = 0
    tokens: int = 0
    keys: float = 0.0
    longest: int = 0

    @staticmethod
    def of(plan: StepPlan) -> Load:
        """The load of a plan's rows."""
        chunks = [row for row in plan.rows if len(row.token_ids) > 1]
        singles = [row.start for row in plan.rows if len(row.token_ids) == 1]
        return Load(
            longest=max(singles, default=-1) + 1,
            decoding=len(singles),
            chunks=len(chunks),
            tokens=sum(len(row.token_ids) for row in chunks),
            keys=sum(len(row.token_ids) * (row.start + len(row.token_ids) / 2) for row in chunks),
        )


class CostModel:
    """Seconds of a step = decoding, an average by number of rows, + chunks, a linear fit.

    The fit is of the cost of a token: a part of its own, a share of its chunk's, and a part for each key it
    attends to; none is negative. Old steps fade. Of a shape that was not seen before the first step does
    not count: it may have been compiled.
    """

    def __init__(self) -> None:
        self._decode_s: dict[tuple[int, int], float] = {}  # by `_rows_key`
        self._seen: set[tuple[tuple[int, int], int]] = set()
        self._fit = Fit(_TRUST, _MEMORY)
        self.largest_tokens = 0
        """Most prefill tokens of a step that was learnt from."""

    def observe(self, load: Load, seconds: float) -> None:
        """Learn from a step that took so long; a clock that stood still teaches nothing."""
        if seconds <= 0 or not (load.decoding or load.tokens):
            return
        shape = (_rows_key(load.decoding, load.longest), _rounded(load.tokens))
        if shape not in self._seen:
            self._seen.add(shape)
        elif load.tokens:
            self._observe_chunks(load, seconds - (self.decode_s(load.decoding, load.longest) or 0.0))
        else:
            before = self._decode_s.get(shape[0], seconds)
            self._decode_s[shape[0]] = before + _SMOOTHING * (min(seconds, _MOST_SURPRISE * before) - before)

    def decode_s(self, rows: int, longest: int) -> float | None:
        """Expected seconds of a step of so many rows of one token; None before any was seen."""
        if rows == 0:
            return 0.0
        if not self._decode_s:
            return None
        wanted = _rows_key(rows, longest)
        known = self._decode_s.get(wanted)
        if known is not None:
            return known

        def distance(other: tuple[int, int]) -> tuple[int, int]:
            return abs(other[0] - wanted[0]), abs(other[1] - wanted[1])

        return self._decode_s[min(self._decode_s, key=distance)]

    def chunk_s(self, start: int, tokens: int) -> float | None:
        """Expected seconds that a chunk adds to a step; None before any was seen."""
        if not self._fit.count:
            return None
        features = _per_token(Load(chunks=1, tokens=tokens, keys=tokens * (start + tokens / 2)))
        return tokens * self._fit.predict(features)

    def _observe_chunks(self, load: Load, seconds: float) -> None:
        features = _per_token(load)
        cost_s = max(seconds, 0.0) / load.tokens
        if self._fit.count >= _SURE_AFTER:
            cost_s = min(cost_s, _MOST_SURPRISE * self._fit.predict(features))
        self._fit.add(features, cost_s)
        self.largest_tokens = max(self.largest_tokens, load.tokens)


class Fit:
    """Least squares of y = w x with w >= 0, upon samples that fade.

    Args:
        ridge: added to the diagonal of the normal equations, one for each feature.
        memory: weight of a sample relative to the one after it.
    """

    def __init__(self, ridge: Sequence[float], memory: float) -> None:
        self._ridge = tuple(ridge)
        self._memory = memory
        size = len(self._ridge)
        self._products = [[0.0] * size for _ in range(size)]
        self._targets = [0.0] * size
        self._weights: list[float] | None = None  # None: to be solved for
        self.count = 0

    def add(self, features: Sequence[float], y: float) -> None:
        """Take in a sample."""
        for i, x in enumerate(features):
            self._targets[i] = self._memory * self._targets[i] + x * y
            for j, other in enumerate(features):
                self._products[i][j] = self._memory * self._products[i][j] + x * other
        self.count += 1
        self._weights = None

    def predict(self, features: Sequence[float]) -> float:
        """The expected y."""
        if self._weights is None:
            self._weights = self._solve()
        return sum(w * x for w, x in zip(self._weights, features, strict=True))

    def _solve(self) -> list[float]:
        """Leaves out the most negative weight until there is none."""
        kept = list(range(len(self._ridge)))
        while kept:
            found = _solved(
                [[self._products[i][j] + (self._ridge[i] if i == j else 0.0) for j in kept] for i in kept],
                [self._targets[i] for i in kept],
            )
            worst = min(range(len(kept)), key=found.__getitem__)
            if found[worst] >= 0:
                weights = dict(zip(kept, found, strict=True))
                return [weights.get(i, 0.0) for i in range(len(self._ridge))]
            del kept[worst]
        return [0.0] * len(self._ridge)


def _solved(matrix: list[list[float]], targets: list[float]) -> list[float]:
    """Gaussian elimination; the matrix is positive definite, so it needs no pivots."""
    size = len(targets)
    for i in range(size):
        for k in range(i + 1, size):
            factor = matrix[k][i] / matrix[i][i]
            for j in range(i, size):
                matrix[k][j] -= factor * matrix[i][j]
            targets[k] -= factor * targets[i]
    solution = [0.0] * size
    for i in reversed(range(size)):
        rest = sum(matrix[i][j] * solution[j] for j in range(i + 1, size))
        solution[i] = (targets[i] - rest) / matrix[i][i]
    return solution


def _per_token(load: Load) -> tuple[float, float, float]:
    return _CHUNK_UNIT * load.chunks / load.tokens, 1.0, load.keys / load.tokens / _KEYS_UNIT


def _rows_key(rows: int, longest: int) -> tuple[int, int]:
    return _rounded(rows), longest.bit_length()


def _rounded(count: int) -> int:
    """Down to three leading binary digits."""
    low = max(0, count.bit_length() - 3)
    return count >> low << low
