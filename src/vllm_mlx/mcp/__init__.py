"""The client of MCP servers: their processes and connections, their tools, and what may be run."""
