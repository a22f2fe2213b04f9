"""Move a monolithic handler to a fan-out of branches, in shadow first, then step by step."""
