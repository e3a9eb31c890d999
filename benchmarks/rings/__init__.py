"""What the benchmarks of the whole embedded ring share."""
