"""GPU kernels of our own, each from one source text for both dialects, and the check that admits them."""
