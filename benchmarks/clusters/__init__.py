"""The parts of benchmarks/clustering.py."""
