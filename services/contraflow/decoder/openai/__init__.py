"""Any server that speaks OpenAI's wire format: how it is asked, what its replies say, and what they cost."""
