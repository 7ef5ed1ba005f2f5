"""Who may ask, how often, and what is written down about it: ASGI middleware in front of every route."""
