"""The tests; they mirror src/vllm_mlx, and properties of the whole stand in folders of their own."""
