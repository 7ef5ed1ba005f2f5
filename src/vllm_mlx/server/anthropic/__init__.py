"""The Anthropic dialect: its request and response shapes, and the routes that speak it."""
