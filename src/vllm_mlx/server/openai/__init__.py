"""The OpenAI dialect: its request and response shapes, and the routes that speak it."""
