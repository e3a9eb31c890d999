"""What two runs have in common and what differs: configurations, findings matched one to one, and what they cost."""
