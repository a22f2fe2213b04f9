"""Taking away what was recorded of people."""

from __future__ import annotations

from rollout.domain.durations import seconds
from rollout.domain.redaction import Redactor
from rollout.errors import Refused, UnknownName
from rollout.ports import Backend


async def purge(
    backend: Backend, *, rollout: str | None = None, older_than: str | float | None = None, key: str | None = None
) -> int:
    """Delete trials, their runs and subjects: of a rollout, older than a duration, of a targeting key; all that are
    given must hold. How many trials went. Counts and decisions stay: they name nobody.

    ``Refused`` where nothing is given, or the duration is none; ``UnknownName`` for an unknown rollout.
    """
    if rollout is None and older_than is None and key is None:
        raise Refused("Say what to purge: a rollout, an age such as 30d, or a key.")
    if rollout is not None and rollout not in (known := (await backend.state.load()).policies):
        raise UnknownName("rollout", rollout, sorted(known))
    try:
        age_s = None if older_than is None else seconds(older_than)
    except ValueError as error:
        raise Refused(str(error)) from None
    before = None if age_s is None else await backend.state.now() - age_s
    hashed = None if key is None else Redactor(await backend.state.secret()).key(key)
    return await backend.ledger.purge(rollout=rollout, older_than=before, key_hash=hashed)
