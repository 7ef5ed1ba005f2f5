"""Decides what to compute next and tells who asked: sequences, scheduler, loop, clients."""
