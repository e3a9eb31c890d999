"""Worlds with known truth, for benchmarks and tests: none of them has seen a rule, and no rule may be tuned on them."""
