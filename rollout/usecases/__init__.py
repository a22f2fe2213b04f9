"""The verbs of the product, as coroutines over the ports: ``steer`` (what changes a rollout), ``look`` (what shows
one)."""
