"""What benchmarks/efficiency.py measures: how soon the rules of steering find what is planted."""
