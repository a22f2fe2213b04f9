"""The spec file `rollout.toml`: its model, its JSON Schema and its mistakes."""
