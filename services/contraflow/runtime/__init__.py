"""The exactly-once runtime: consume, process, and commit outputs, positions and state together."""
