"""The gates of ``rollout.gates`` as threshold gates: for tests that are about limits and windows, or about what follows
from a breach and need few calls for one.
"""

from functools import partial

from rollout import gates

GateSpec = gates.GateSpec
errors = partial(gates.errors, mode="threshold")
latency = partial(gates.latency, mode="threshold")
mismatches = partial(gates.mismatches, mode="threshold")
cost = partial(gates.cost, mode="threshold")
sla = partial(gates.sla, mode="threshold")
fallbacks = partial(gates.fallbacks, mode="threshold")
