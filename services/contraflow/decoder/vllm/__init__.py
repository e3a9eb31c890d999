"""vLLM inside this process: its engine, which arms of the same weights share, and how much that is given at once."""
