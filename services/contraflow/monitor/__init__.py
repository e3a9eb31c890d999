"""The monitor: progress, throughput and lag, read from offsets and counters."""
