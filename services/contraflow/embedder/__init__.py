"""The embedder: vectors for texts, each encoded once in its life."""
