"""The schema of an answer that is data."""

from __future__ import annotations

from pydantic import BaseModel


class Told(BaseModel):
    """What is known."""

    sentence: str
