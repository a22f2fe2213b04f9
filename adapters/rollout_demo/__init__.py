"""The demo: a small shop that moves from a monolith to a fan-out, by public names only."""
