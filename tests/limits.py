"""How long a test waits before it calls that a fault: far more than a slow and busy machine needs."""

from __future__ import annotations

LIMIT_S = 60
