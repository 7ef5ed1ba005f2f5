"""What arrived for whom: the asyncio side that every engine client shares."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from vllm_mlx.core.errors import AppError, InvalidRequest, Overloaded, Unavailable
from vllm_mlx.engine.wire import Abort, Command, Confirm, EngineRequest, TokenOutput


class _Inbox:
    """What arrived for one request and was not read yet. Lives on the asyncio loop.

    The mailroom holds inboxes, callers hold streams: so a stream that is dropped is noticed.

    A client that reads slowly does not slow the engine down; what it has not read waits here. That is at most
    the whole answer, `max_tokens` for each choice within the context: 350 bytes a token, 2.8 KB with 20
    alternatives. An answer that is not streamed is held whole just so; and the HTTP side ends a client that
    reads nothing.
    """

    def __init__(self, request: EngineRequest) -> None:
        self.request_id = request.request_id
        self.open_choices = set(range(request.sampling.n))
        self.accepted = False  # outputs before that belong to an earlier request of the same id
        self.ended = False  # nothing more comes
        self.done = False  # and nothing is left to read
        self._items: deque[TokenOutput | AppError] = deque()
        self._reader: asyncio.Future[None] | None = None  # waits for news; a stream has one reader

    def put(self, output: TokenOutput) -> None:
        """Keep an output, unless its choice was aborted; ends with the last choice or an error."""
        if self.ended:
            return
        if output.error is not None:
            code, message = output.error
            if code == Overloaded.code:
                self.end(Overloaded(message, retry_after_s=output.retry_after_s or 1.0))
            else:
                self._items.append(output)
                self.end()
        elif output.choice in self.open_choices:
            self._items.append(output)
            if output.finish is not None:
                self.close_choice(output.choice)
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def close_choice(self, choice: int) -> None:
        self.open_choices.discard(choice)
        if not self.open_choices:
            self.end()

    def end(self, error: AppError | None = None) -> None:
        """Nothing more comes; `error` is raised to the reader after what is already here."""
        if self.ended:
            return
        self.ended = True
        if error is not None:
            self._items.append(error)
        self._wake()

    def break_off(self, error: AppError) -> None:
        """Nothing more comes; unless all of it has, `error` takes the place of what was not read."""
        if not self.ended:
            self._items.clear()
            self.end(error)

    def abandon(self, choice: int | None) -> None:
        """Drop what the caller no longer wants to see, read or not."""
        kept = [item for item in self._items if choice is not None and not _is_of(item, choice)]
        self._items = deque(kept)
        if choice is None:
            self.end()
            self.done = True
        else:
            self.close_choice(choice)

    async def get(self) -> TokenOutput | None:
        """The next output; None after the last one.

        Raises:
            AppError: what ended the request.
        """
        while not self._items:
            if self.ended:
                self.done = True
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        item = self._items.popleft()
        if isinstance(item, AppError):
            self.done = True
            raise item
        return item


def _is_of(item: TokenOutput | AppError, choice: int) -> bool:
    return isinstance(item, TokenOutput) and item.error is None and item.choice == choice


class Stream:
    """The caller's end of a request: an `OutputStream`."""

    def __init__(self, inbox: _Inbox, mailroom: Mailroom) -> None:
        self._inbox = inbox
        self._mailroom = mailroom

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> TokenOutput:
        try:
            output = await self._inbox.get()
        except (asyncio.CancelledError, AppError):
            self._mailroom.abandon(self._inbox)
            raise
        if output is None:
            self._mailroom.abandon(self._inbox)
            raise StopAsyncIteration
        return output

    async def aclose(self) -> None:
        """Abort the request if it still runs."""
        self._mailroom.abandon(self._inbox)

    def __del__(self) -> None:
        # The garbage collector may call this on any thread.
        if not self._inbox.done:
            self._mailroom.abandon_soon(self._inbox)


class Mailroom:
    """The requests in flight by id, and their unread outputs.

    Args:
        send: hands a command to the engine, which takes commands in the order of these calls.
        on_loop: runs a function on the asyncio loop soon; called from any thread.
    """

    def __init__(
        self,
        send: Callable[[Command], None],
        on_loop: Callable[[Callable[[_Inbox], None], _Inbox], None],
    ) -> None:
        self._send = send
        self._on_loop = on_loop
        self._inboxes: dict[str, _Inbox] = {}
        self._sent: deque[_Inbox] = deque()  # submitted, and not yet taken by the engine

    def submit(self, request: EngineRequest) -> Stream:
        """Send a request and open its inbox.

        Raises:
            InvalidRequest: a request with that id is in flight.
        """
        earlier = self._inboxes.get(request.request_id)
        if earlier is not None and not earlier.ended:
            raise InvalidRequest("a request with this id is already in flight", param="request_id")
        self._send(request)
        inbox = self._inboxes[request.request_id] = _Inbox(request)
        self._sent.append(inbox)
        return Stream(inbox, self)

    def abort(self, request_id: str, *, choice: int | None = None) -> None:
        """Stop a request (or one choice) at the next step; unknown ids are ignored."""
        inbox = self._inboxes.get(request_id)
        if inbox is None:
            return
        if not inbox.ended and (choice is None or choice in inbox.open_choices):
            self._send(Abort(request_id, choice))
        inbox.abandon(choice)
        if inbox.done:
            del self._inboxes[request_id]

    def confirm(self, request_id: str, choice: int, num_tokens: int) -> None:
        """Tell the engine that a choice's next tokens belong to its text, ended or not."""
        if num_tokens:
            self._send(Confirm(request_id, choice, num_tokens))

    def abandon(self, inbox: _Inbox) -> None:
        """The stream of this inbox was read to its end or closed, or its reader was cancelled."""
        if self._inboxes.get(inbox.request_id) is inbox:
            self.abort(inbox.request_id)

    def abandon_soon(self, inbox: _Inbox) -> None:
        """The stream of this inbox was dropped, on whatever thread."""
        self._on_loop(self.abandon, inbox)

    def deliver(self, num_taken: int, outputs: Iterable[TokenOutput]) -> None:
        """Sort outputs into inboxes.

        Args:
            num_taken: requests that the engine took before it made these outputs, since the last call.
        """
        for _ in range(num_taken):
            self._sent.popleft().accepted = True
        for output in outputs:
            found = self._inboxes.get(output.request_id)
            if found is not None and found.accepted:
                found.put(output)

    @property
    def awaits_acceptance(self) -> bool:
        """Whether the engine has not taken every request yet."""
        return bool(self._sent)

    def end_all(self, message: str) -> None:
        """Nothing more comes for anyone, and everyone whose text is not complete hears of it next.

        What such a reader has not read yet is dropped: after a deadline there is no time left for it.
        """
        self._sent.clear()
        for inbox in self._inboxes.values():
            inbox.break_off(Unavailable(message))
