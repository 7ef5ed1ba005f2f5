"""One small module a family: its `OutputFormat`, nothing else."""
