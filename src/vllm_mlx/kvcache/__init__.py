"""The KV pool's bookkeeping: blocks, their names, who holds them."""
