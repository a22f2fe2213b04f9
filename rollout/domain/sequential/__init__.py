"""Sequential gates: evidence that may be looked at as often as one likes, and the account in which it adds up."""
