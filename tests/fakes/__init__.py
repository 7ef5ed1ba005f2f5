"""Stand-ins at the ports: what a test puts in the place of a model, a clock, an engine or a service."""
