"""What may come in, who comes first, who must give way, and whose prompt is read in a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from vllm_mlx.core.errors import ContextOverflow, InvalidRequest
from vllm_mlx.engine.draft import Draft
from vllm_mlx.engine.pacing import Pace
from vllm_mlx.engine.sequence import Sequence
from vllm_mlx.engine.wire import EngineRequest

Rank = tuple[int, int, int]
Turn = tuple[int, int, int, int, int]

PATIENCE = 4
"""Steps that a prompt is passed over before its turn comes, however much of it is left."""


def check_ids(request: EngineRequest, *, vocab_size: int, limit: int) -> None:
    """Refuse a prompt that cannot be computed, and rules of thought whose tokens the model has not.

    Raises:
        InvalidRequest: no prompt, or an id outside the vocabulary.
        ContextOverflow: more than `limit` tokens.
    """
    if not request.prompt_ids:
        raise InvalidRequest("the prompt has no tokens", param="prompt")
    if min(request.prompt_ids) < 0 or max(request.prompt_ids) >= vocab_size:
        raise InvalidRequest("the prompt has a token id outside the vocabulary", param="prompt")
    if len(request.prompt_ids) > limit:
        raise ContextOverflow(
            f"the prompt has {len(request.prompt_ids)} tokens; at most {limit} fit", param="prompt"
        )
    rules = request.thinking
    tags = () if rules is None else (*rules.open_ids, *rules.close_ids, *rules.forced_ids)
    if tags and not 0 <= min(tags) <= max(tags) < vocab_size:
        raise InvalidRequest("a tag of the thought has a token id outside the vocabulary", param="thinking")


def rank(seq: Sequence) -> Rank:
    """Smaller comes first: priority, then arrival, then choice."""
    return seq.state.request.priority, seq.state.arrival, seq.choice


def victim(running: Iterable[Sequence]) -> Sequence:
    """Who gives its blocks back when one that runs already needs another."""
    return max(running, key=rank)


def outranked(running: Iterable[Sequence], newcomer: Sequence) -> list[Sequence]:
    """Who may be preempted to let `newcomer` in, first victim first.

    Only a strictly worse priority gives way: among equals, those who run would otherwise be thrown out and
    computed again without end.
    """
    priority = newcomer.state.request.priority
    worse = (seq for seq in running if seq.state.request.priority > priority)
    return sorted(worse, key=rank, reverse=True)


class Reading(NamedTuple):
    """How many prompt tokens of one sequence a step takes at most, and of how many sequences (None: any)."""

    most: int
    places: int | None


def share_out(draft: Draft, running: Iterable[Sequence], pace: Pace, reading: Reading) -> None:
    """Add a chunk for each who has a prompt to read, as budget, time and settings allow.

    A chunk that the rest of the budget would cut short waits for the next step, unless it is the only one:
    two pieces cost more than one.

    Of equal priority the one with the least left goes first: it soon is out of the way, and who has much
    left hardly notices. Who was passed over `PATIENCE` times goes before those who were passed over less
    often; so among n readers of its priority, and none of a better one, each gets a chunk at least every
    `PATIENCE` + n steps.
    """
    (most, places), first = reading, True
    for seq in sorted(readers_of(running), key=turn):
        chunk = min(seq.num_missing, most)
        wanted = min(chunk, draft.budget_tokens)
        if places == 0 or (wanted < chunk and not first):
            wanted = 0
        whole = wanted == seq.num_missing and seq.num_submitted <= seq.state.cached_tokens
        tokens = pace.take(seq.num_submitted, wanted, whole=whole) if wanted > 0 else 0
        if tokens:
            draft.add(seq, tokens)
            first = False
            seq.num_passed_over = 0
            places = None if places is None else places - 1
        else:
            seq.num_passed_over += 1


def readers_of(running: Iterable[Sequence]) -> list[Sequence]:
    """Those who have more to compute than the token that decoding adds."""
    return [seq for seq in running if seq.num_missing > 1]


def turn(seq: Sequence) -> Turn:
    """Smaller comes first: priority, then who waited long, then the shortest rest, then arrival."""
    waited = seq.num_passed_over if seq.num_passed_over >= PATIENCE else 0
    return seq.state.request.priority, -waited, seq.num_missing, seq.state.arrival, seq.choice
