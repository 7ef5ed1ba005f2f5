"""Measurements, each with the question it answers; results in `LOG.md` and `results/`."""
