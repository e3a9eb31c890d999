"""What may be claimed, as pure functions: e-processes, confidence sequences, weighted e-BH, stopping criteria."""
