"""Routes for operators: whether the server can serve, and what it is doing."""
