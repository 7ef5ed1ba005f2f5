"""The name of a full block: a digest over the model, the salt and every token up to the block's end."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

DIGEST_BYTES = 32


def root_name(fingerprint: str, salt: str) -> bytes:
    """What the first block of a prompt has for a parent.

    Each part is hashed by itself before both are joined, so that no two (fingerprint, salt) pairs run
    together.
    """
    parts = b"".join(_digest(b"part", part.encode("utf-8", "surrogatepass")) for part in (fingerprint, salt))
    return _digest(b"root", parts)


def child_name(parent: bytes, token_ids: Sequence[int]) -> bytes:
    """Name of the block that holds `token_ids` (each below 2**32) and follows the block named `parent`.

    The chain puts position and whole prefix into the name: equal names mean equal KV.
    """
    return _digest(b"block", parent + struct.pack(f"<{len(token_ids)}I", *token_ids))


def _digest(use: bytes, data: bytes) -> bytes:
    # A collision would show one user's context to another, hence a cryptographic digest.
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, person=use).digest()
