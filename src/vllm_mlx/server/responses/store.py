"""Answers that can be asked for again and gone on from: in memory, bounded in number, size and age."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from vllm_mlx.core.clock import Clock
from vllm_mlx.core.errors import NotFound
from vllm_mlx.core.naming import shorten

_OVERHEAD_BYTES = 256
"""What an object costs beside its text."""


class StoredItem(msgspec.Struct, frozen=True):
    """An item of a conversation; `data` is JSON in the form in which it is listed."""

    id: str
    data: bytes


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An answer and what it adds to its conversation.

    Attributes:
        data: the answer as JSON.
        input: the items of its request.
        output: its own items.
        previous_id: the answer that its request went on from.
    """

    id: str
    data: bytes
    input: tuple[StoredItem, ...]
    output: tuple[StoredItem, ...]
    previous_id: str | None = None

    def size_bytes(self) -> int:
        """About how much memory it takes."""
        items = (*self.input, *self.output)
        return len(self.data) + sum(len(item.data) + _OVERHEAD_BYTES for item in items) + _OVERHEAD_BYTES


_Key = tuple[str, str]
"""Whose, and which."""


class ResponseStore:
    """The newest answers; what was longest not asked for makes room. Only the event loop may call it.

    Args:
        max_responses: most answers; 0 stores none.
        max_bytes: most memory for them, about.
        ttl_s: an answer that nobody asked for in so many seconds is gone.
    """

    def __init__(self, *, max_responses: int, max_bytes: int, ttl_s: float, clock: Clock) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._held: OrderedDict[_Key, StoredResponse] = OrderedDict()  # longest not used first
        self._used_at: dict[_Key, float] = {}
        self._items: dict[_Key, _Key] = {}  # an item to the newest answer that holds it
        self._bytes = 0

    @property
    def on(self) -> bool:
        """Whether anything is stored at all."""
        return self._max_responses > 0

    def add(self, caller: str, response: StoredResponse) -> None:
        """Keep an answer. One that is larger than the whole store is not kept."""
        key = (caller, response.id)
        self._drop_old()
        self._held[key] = response
        self._used_at[key] = self._clock()
        self._bytes += response.size_bytes()
        for item in (*response.input, *response.output):
            self._items[caller, item.id] = key
        while self._held and (len(self._held) > self._max_responses or self._bytes > self._max_bytes):
            self._drop(next(iter(self._held)))

    def get(self, caller: str, response_id: str) -> StoredResponse:
        """An answer of this caller.

        Raises:
            NotFound: it is not here, or no more.
        """
        self._drop_old()
        key = (caller, response_id)
        if key not in self._held:
            raise _gone(response_id)
        self._held.move_to_end(key)
        self._used_at[key] = self._clock()
        return self._held[key]

    def chain(self, caller: str, response_id: str) -> list[StoredResponse]:
        """The answers of a conversation up to this one, oldest first; all of them are in use again.

        Raises:
            NotFound: one of them is not here, or no more.
        """
        found: list[StoredResponse] = []
        wanted: str | None = response_id
        try:
            while wanted is not None:
                found.append(self.get(caller, wanted))
                wanted = found[-1].previous_id
        except NotFound as error:
            earlier = "" if wanted == response_id else f" It is an earlier turn of {shorten(response_id)!r}."
            remedy = " The whole conversation can stand in input instead."
            raise NotFound(
                error.message + earlier + remedy,
                param="previous_response_id",
                code="previous_response_not_found",
            ) from None
        return found[::-1]

    def item(self, caller: str, item_id: str, param: str) -> bytes:
        """An item of any of this caller's answers.

        Raises:
            NotFound: no answer that is still here holds it.
        """
        self._drop_old()
        holder = self._items.get((caller, item_id))
        if holder is None:
            raise NotFound(
                f"{param} refers to {shorten(item_id)!r}, which no stored response holds.",
                param=param,
                code="item_not_found",
            )
        response = self._held[holder]
        return next(item.data for item in (*response.output, *response.input) if item.id == item_id)

    def delete(self, caller: str, response_id: str) -> None:
        """Forget an answer.

        Raises:
            NotFound: it is not here, or no more.
        """
        self.get(caller, response_id)
        self._drop((caller, response_id))

    def _drop_old(self) -> None:
        deadline = self._clock() - self._ttl_s
        while self._held:
            oldest = next(iter(self._held))
            if self._used_at[oldest] > deadline:
                return
            self._drop(oldest)

    def _drop(self, key: _Key) -> None:
        response = self._held.pop(key)
        del self._used_at[key]
        self._bytes -= response.size_bytes()
        for item in (*response.input, *response.output):
            if self._items.get((key[0], item.id)) == key:
                del self._items[key[0], item.id]


def _gone(response_id: str) -> NotFound:
    return NotFound(
        f"No response {shorten(response_id)!r} is stored: it never was, was deleted, has expired, "
        "or made room for newer ones.",
        param="response_id",
        code="response_not_found",
    )
