"""Routes of MCP tools: which servers and tools there are, and running one."""
