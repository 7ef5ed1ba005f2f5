"""The use cases, and the one place where text, engine and tools are joined."""
