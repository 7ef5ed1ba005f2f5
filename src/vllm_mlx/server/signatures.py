"""Signatures of thoughts: opaque to the client, which sends them back with its next turn."""

from __future__ import annotations

import base64
import binascii
import hashlib

_SEALED = "vllm-mlx-sealed."


def digest(thought: str) -> str:
    """The signature of a thought that is shown. Nobody checks it: a client may write what turns it likes."""
    return base64.b64encode(hashlib.sha256(thought.encode()).digest()).decode()


def seal(thought: str) -> str:
    """The signature of a thought that is not shown; it carries the thought to the next turn."""
    return _SEALED + base64.b64encode(thought.encode()).decode()


def unseal(signature: str) -> str | None:
    """The thought that a signature carries; None if it carries none."""
    if not signature.startswith(_SEALED):
        return None
    try:
        return base64.b64decode(signature.removeprefix(_SEALED), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
