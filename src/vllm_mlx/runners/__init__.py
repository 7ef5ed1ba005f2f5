"""Computes: the only place where a model is executed."""
