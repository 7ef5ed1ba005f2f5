"""Between generated text and events: stop strings, reasoning, tool calls."""
