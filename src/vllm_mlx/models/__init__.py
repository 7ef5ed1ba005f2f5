"""What a model is: where it lies, what it needs, how it is loaded."""
