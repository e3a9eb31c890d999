"""Language models behind an API: one small interface, money that cannot be overspent, answers that are paid for once."""
