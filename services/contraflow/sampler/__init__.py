"""The sampler: which prompts are asked next, within the budget, until a reason to stop."""
