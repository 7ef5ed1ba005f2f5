"""The socket between the front and a child, as both ends set it up."""

from __future__ import annotations

import zmq

Pair = zmq.Socket[bytes]


def new_pair(context: zmq.Context[Pair]) -> Pair:
    """A socket for exactly one peer, on which sending never waits.

    What can pile up in it is bounded by the engine's queue one way, by what was asked for the other way.
    """
    pair = context.socket(zmq.PAIR)
    pair.set_hwm(0)
    return pair


def has_message(pair: Pair) -> bool:
    """Whether `recv` would return at once."""
    events = pair.getsockopt(zmq.EVENTS)
    return isinstance(events, int) and bool(events & zmq.POLLIN)
