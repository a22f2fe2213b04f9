"""One rollout in one process: what its trials share. ``admit`` is the fast path, and the only thing most calls ever
touch.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rollout.definition import SAFE_METHODS, Rollout
from rollout.domain.budget import DailyBudget
from rollout.domain.call import NOTHING, Call, Reply
from rollout.domain.codec import STANDARD, Codec
from rollout.domain.comparison import Comparator
from rollout.domain.cost import nano_usd
from rollout.domain.evidence import Figures
from rollout.domain.flags import NO_ANSWER
from rollout.domain.histogram import MANY, Histogram
from rollout.domain.labels import labels_of
from rollout.domain.paths import Path
from rollout.domain.redaction import Redactor
from rollout.domain.routing import Assignment
from rollout.domain.state import BranchState, Policy
from rollout.engine.cells import Cell, Fault, Scored
from rollout.engine.clean import expanded
from rollout.engine.counting import Tally
from rollout.engine.declared import policy_of, prices_in_force
from rollout.engine.fanout import FanOuts
from rollout.engine.joining import Unjoinable, forsake
from rollout.engine.recorder import Recorder
from rollout.engine.scoring import Scoring
from rollout.engine.second import Second
from rollout.engine.shadow import ShadowLane
from rollout.engine.standin import StandIn
from rollout.engine.station import stations_of
from rollout.engine.timers import Timers, clock_of
from rollout.engine.tracing import TracedTrial
from rollout.engine.trial import Trial
from rollout.engine.view import View
from rollout.ports import FlagAnswer, FlagSource, Host, Tracing, TrialRecord

log = logging.getLogger("rollout")

_OBJECT: Final = 2_000  # bytes, roughly, that a waiting trial holds besides its bodies


class Runtime:
    """See the module. ``active``: whether the request path has anything to do; False until the first view, and
    without a database.
    """

    def __init__(
        self,
        definition: Rollout,
        *,
        host: Host,
        flags: FlagSource,
        recorder: Recorder,
        timers: Timers,
        loop: asyncio.AbstractEventLoop,
        dice: Callable[[], float],
        process: str,
        redactor: Redactor,
        codec: Codec = STANDARD,
        tracing: Tracing | None = None,
    ) -> None:
        self.definition = definition
        self.name = definition.name
        self.host = host
        self.flags = flags
        self.recorder = recorder
        self.loop = loop
        self.time = clock_of(loop)
        self.dice = dice
        self.redactor = redactor
        self.latency_s = definition.budget.latency_s
        self.methods = frozenset(method.upper() for method in definition.methods)
        self._all_safe = definition.effects == "safe" or self.methods.issubset(SAFE_METHODS)
        self.replaces = definition.join == "replace"
        self.captures = definition.capture is not None
        self.active = False
        self.measuring = False  # the next admission is to be measured: one a second is enough for a histogram
        self._overhead = Histogram()
        self.view: View | None = None
        self._declared = policy_of(definition)
        self.tally = Tally(self.name, process, definition.settle_s, self.time)
        self.lane = ShadowLane(loop, definition.shadow)
        self.codec = codec
        self.tracing = tracing
        self._trial = Trial if tracing is None else TracedTrial
        self.matched = 0  # clean trials; the other comparisons are in `comparisons`
        self.part_paths = {b.name: Path.parse(b.part) for b in definition.branches if b.part is not None}
        self.comparator = Comparator(
            definition.compare, {b.name: b.part for b in definition.branches if b.part is not None}
        )
        self.live_stations = stations_of(definition.branches, "live", timers, self.time())
        self.shadow_stations = stations_of(definition.branches, "shadow", timers, self.time())
        self._timers = timers
        per_day = definition.shadow.usd_per_day
        self.fan_outs = FanOuts(
            rollout=self.name,
            loop=loop,
            time=self.time,
            live=self.live_stations,
            shadow=self.shadow_stations,
            deadlines=timers.lane(self.latency_s),
            hook_failed=self.hook_failed,
            blocked=self.blocked,
            asks=definition.aggregate is not None,
            dispatch=definition.dispatch,
            quorum=definition.quorum,
            tokens=definition.budget.tokens,
            nano=definition.budget.nano,
            prices=definition.prices,
            daily=None if per_day is None else DailyBudget(nano_usd(per_day)),
            dice=dice,
        )
        self._seals = any(
            getattr(f, "needs_request", False) for f in (definition.aggregate, *(b.run for b in definition.branches))
        )
        self.comparisons: dict[tuple[str, str], int] = {}
        self.side_effects: dict[str, int] = {}
        self.faults: dict[str, int] = {}
        self.candidate_latency = Histogram()
        overlaid = definition.aggregate is None and not self.replaces
        self.overlaid = overlaid and len(self.part_paths) == len(definition.branches)
        #: The place of each part: its name where it is a field of control's JSON, else its path.
        self.places = tuple((name, _field(path), path) for name, path in self.part_paths.items())
        self.stores_all = True
        self.labels = definition.store.labels
        self.ids = itertools.count(1)
        self._id_base = os.urandom(5).hex()
        self._branches = tuple(self.part_paths)
        self._writes = frozenset(b.name for b in definition.branches if b.writes)
        self.stand_in = StandIn(definition) if definition.join == "replace" else None
        self._key = definition.key
        self._source = host.source
        self._peek = flags.peek
        self._answers_alike = flags.answers_alike
        self._alike = False  # what it said when the second began
        self.scoring = Scoring(redactor)
        self.least_sla_s = min((station.sla_s for station in self.shadow_stations.values()), default=float("inf"))

    # ---- what was decided

    def decide(self, policy: Policy, states: Mapping[str, BranchState]) -> None:
        """Work from these states from the next call on."""
        stale = self.view is not None and self.view.stale
        self.view = View(policy, states, self.tally, self._declared)
        if self.view.stale and not stale:
            log.warning(
                "rollout %s: policy v%d is of other code than this process runs; its calls are no evidence until it "
                "is restarted with that code",
                self.name,
                policy.version,
                extra={"event": "stale_code"},
            )
        self.stores_all = policy.store_sample >= 1.0
        self.latency_s = policy.latency_s
        self.fan_outs.deadlines = self._timers.lane(policy.latency_s)
        self._spend_by(policy)
        self.tally.settle_s = policy.settle_s
        self.scoring.begin(self.view)
        self.active = self.view.active

    def _spend_by(self, policy: Policy) -> None:
        """Keep to the budgets and prices of the policy. What was spent today is spent, whatever the limit becomes."""
        shared = self.fan_outs
        shared.tokens, shared.nano = policy.tokens, policy.nano
        shared.prices = prices_in_force(policy, self.definition.prices)
        if shared.daily is not None:
            shared.daily.limit_nano = policy.nano_per_day
        elif policy.nano_per_day is not None:
            shared.daily = DailyBudget(policy.nano_per_day)

    # ---- the fast path

    def admit(self, native: Any, now: float) -> Cell | Scored | Trial | None:
        """What happens to a call: a ``Cell`` to count it in (control alone answers), or a ``Trial`` to serve it;
        None: not counted.

        ``now``: the loop's time in seconds. Decided from memory alone; costs about a microsecond for a key that was
        seen before.
        """
        view = self.view
        if view is None:
            return None
        call = Call(self._source(native))
        if self.captures:  # the key may be in what is captured
            return self._trial(self, view, native, call, None, now)
        key: str | None = None
        if self._key is not None:
            try:
                key = self._key(call)
            except Exception as error:
                self.hook_failed("key", error)
            else:
                if not key or key.__class__ is not str:
                    key = self._checked(key)
        second = view.open
        if now >= second.ends:
            second = self._next_second(view, now)
        assignment = view.by_key.get(key)  # type: ignore[arg-type]  # None is never among them
        if assignment is None or not self._alike:
            assignment = self._assign(view, key)
            if assignment is None:  # a provider of the user's: it must be waited for
                return self._trial(self, view, native, call, key, now)
        own = second.cells.get(assignment) or second.cell(assignment)
        own.started += 1
        cell: Cell | Scored = own
        if view.scored and key is not None and key not in view.seen:
            cell = self.scoring.cell(view, second, own, assignment, key, now)
        if assignment.runs:
            sample = view.sample
            if sample >= 1.0 or assignment.live or (sample and self.dice() < sample):
                return self._drawn(self._trial(self, view, native, call, key, now, second, assignment, cell))
        return cell

    def _next_second(self, view: View, now: float) -> Second:
        """Open the second of ``now``; and look once a second at what changes less often than calls come."""
        self._alike = self._answers_alike()
        self.measuring = True
        return view.second(int(now + self.tally.offset))

    def _drawn(self, trial: Trial) -> Trial | Cell | Scored:
        """The trial, if its request can be shadowed (and copied, where it is live); else its cell, the reason
        counted.
        """
        second = trial.second
        assert second is not None
        assert trial.cell is not None
        assert trial.assignment is not None
        reason = self.host.skip_reason(trial.native, self.definition.max_body)
        if reason is None and not self._all_safe and not trial.assignment.live and not self._may_shadow(trial.call):
            reason = "unsafe"
        if reason is not None:
            second.funnel.add(f"skipped:{reason}")
            return trial.cell
        second.drawn += 1
        trial.drawn = True
        if not self.captures and not self.host.has_body(trial.native):
            self.keep(trial)
            trial.ready = True
        return trial

    def keep(self, trial: Trial) -> None:
        """Draw the noise run, and copy of the request what will be needed once control has run."""
        view = trial.view
        if trial.assignment is not None and not trial.assignment.live and view.noise > 0.0:
            trial.noise = trial.call.method in SAFE_METHODS and self.dice() < view.noise
        self.host.keep(trial.call.source, whole=self._seals or trial.noise or self.replaces)

    def draw(self, trial: Trial) -> bool:
        """As in ``admit``, for a call whose flag had to be waited for. Drawn once for each call."""
        if trial.drawn:
            return True
        assignment, sample = trial.assignment, trial.view.sample
        assert assignment is not None
        if not assignment.live and (sample <= 0.0 or (sample < 1.0 and self.dice() >= sample)):
            return False
        return self._drawn(trial) is trial

    def _assign(self, view: View, key: str | None) -> Assignment | None:
        answer = self._peek(view.flag, key)
        if answer is None:
            return None
        own: dict[str, FlagAnswer] = {}
        for flag in view.flags:
            if flag is not None and flag not in own:
                found = self.flags.peek(flag, key)
                if found is None:
                    return None
                own[flag] = found
        return self._settle(view, key, answer, own, keep=True)

    def _settle(
        self, view: View, key: str | None, answer: FlagAnswer, own: Mapping[str, FlagAnswer], *, keep: bool
    ) -> Assignment:
        ceilings, buckets = view.ceilings(answer, own), view.buckets(key, self.dice)
        assignment = view.assignment(ceilings, buckets, keyed=key is not None)
        if keep and key is not None and view.policy.sticky:
            view.remember(key, assignment)
        return assignment

    async def route(self, trial: Trial) -> bool:
        """Route a trial that must wait for it: for what the user captures, or for a flag of somebody else's. False
        where control answers alone.
        """
        view = trial.view
        if self.captures:
            state = await self.capture(trial.native)
            if state is None:
                self.unrouted(trial)
                self.skipped(trial.second, "capture")
                return False
            trial.state = state
            trial.call = Call.of(trial.call.source, state=state)
            trial.key = self._key_of(trial.call)
        key = trial.key
        answer = self._peek(view.flag, key)
        assignment = None
        if answer is not None:
            assignment = view.by_key.get(key) or self._assign(view, key)  # type: ignore[arg-type]  # as in `admit`
        if assignment is None:
            assignment = await self._ask(trial)
        self._enter(trial, assignment)
        return True

    async def _ask(self, trial: Trial) -> Assignment:
        """The assignment by flags that must be waited for."""
        view, call, key = trial.view, trial.call, trial.key
        context: Mapping[str, Any] = NOTHING
        if self.definition.context is not None:
            try:
                context = self.definition.context(call)
            except Exception as error:
                self.hook_failed("context", error)
        flags = [view.policy.flag, *{flag for flag in view.flags if flag is not None}]
        answer, *answers = await asyncio.gather(*(self.flags.ask(flag, key, context) for flag in flags))
        for found in (answer, *(own for own in answers if own.found)):
            if found.value == "off" and found.reason in NO_ANSWER:
                view.second(int(self.time() + self.tally.offset)).funnel.add(f"flag:{found.reason}")
        trial.flags = dict(zip(flags, (answer, *answers), strict=True))
        return self._settle(view, key, answer, dict(zip(flags[1:], answers, strict=True)), keep=False)

    def _enter(self, trial: Trial, assignment: Assignment) -> None:
        """Count a trial that was routed late, in the second of its start."""
        view, key = trial.view, trial.key
        trial.assignment = assignment
        second = trial.second = view.second(int(trial.started + self.tally.offset))
        cell = second.cell(assignment)
        cell.started += 1
        trial.cell = cell
        if key is not None and view.scored:
            trial.cell = self.scoring.cell(view, second, cell, assignment, key, trial.started)

    def unrouted(self, trial: Trial) -> None:
        """Count a trial that could not be routed, if nobody did: in no arm."""
        if trial.cell is None:
            self._enter(trial, trial.view.nobody)

    def _key_of(self, call: Call) -> str | None:
        """The targeting key; None where there is none, or the user's function fails."""
        if self._key is None:
            return None
        try:
            return self._checked(self._key(call))
        except Exception as error:
            self.hook_failed("key", error)
            return None

    def _checked(self, key: object) -> str | None:
        """A key that is a text. An empty one is none: else all who are nobody would share a bucket."""
        if key is not None and not isinstance(key, str):
            self.hook_failed("key", TypeError("key= must return a str or None"))
            return None
        return key or None

    def _may_shadow(self, call: Call) -> bool:
        effects = self.definition.effects
        if call.method in SAFE_METHODS or effects == "safe":
            return True
        if effects is None:
            return False
        try:
            return bool(effects(call))
        except Exception as error:
            self.hook_failed("effects", error)
            return False

    # ---- counting

    def measured(self, started: float) -> None:
        """A call was admitted that came at ``started``: what the middleware cost it before its handler."""
        self.measuring = False
        self._overhead.add(self.time() - started)

    def count(self, cell: Cell | Scored, started: float, response: Any) -> None:
        """Control alone has answered. The common case is written out: two calls less on a path of a microsecond."""
        took = self.time() - started
        if cell.plain and response.status < 500:
            durations = cell.took  # type: ignore[union-attr]  # no Scored is plain
            durations.append(took)
            if len(durations) >= MANY:
                durations.fold()
        elif cell.sealed:
            self.tally.late += 1
        elif response.status >= 500:
            cell.fault(Fault(None, "", took))
        else:
            cell.finish(took)
        if self.stand_in is not None:
            self.stand_in.control.add(took)

    def count_error(self, cell: Cell | Scored, started: float, error: BaseException) -> None:
        """Control alone has raised. Client gone: bad, in both arms alike."""
        if isinstance(error, asyncio.CancelledError):
            fault: Fault | None = Fault(None, "", None)
        else:
            reply = self.reply_of_error(error)
            fault = Fault(None, "", None) if reply is None or reply.status >= 500 else None
        if cell.sealed:
            self.tally.late += 1
        elif fault is not None:
            cell.fault(fault)
        else:
            cell.finish(self.time() - started)

    def funnel(self, second: Second, name: str) -> None:
        if second.sealed:
            self.tally.totals.add(name)
        else:
            second.funnel.add(name)

    def skipped(self, second: Second | None, reason: str) -> None:
        if second is not None:
            self.funnel(second, f"skipped:{reason}")

    def compared(self, branch: str, outcome: str) -> None:
        key = (branch, str(outcome))
        self.comparisons[key] = self.comparisons.get(key, 0) + 1

    def served_candidate(self, latency_s: float) -> None:
        self.candidate_latency.add(latency_s)

    # ---- what trials need

    async def capture(self, native: Any) -> Mapping[str, Any] | None:
        """What the user's ``capture=`` returns; None where it raised: the call is then served by control alone, as
        branches that do not know whose call it is could answer anything.
        """
        assert self.definition.capture is not None
        try:
            return await self.definition.capture(native) or NOTHING
        except Exception as error:
            self.hook_failed("capture", error)
            return None

    def reply_of(self, response: Any) -> Reply | None:
        try:
            return self.host.reply_of(response)
        except Exception as error:
            self.fault("reply_of", error)
            return None

    def reply_of_error(self, error: BaseException) -> Reply | None:
        try:
            return self.host.reply_of_error(error)
        except Exception as inner:
            self.fault("reply_of_error", inner)
            return None

    def submit(self, trial: Trial) -> None:
        """Hand a trial to the shadow lane if it is drawn for a comparison: shadow trials are already, live ones are
        here.
        """
        view, assignment = trial.view, trial.assignment
        assert assignment is not None
        if trial.mode == "live":
            control_ran = trial.control_s is not None
            share = view.sample if control_ran else view.reverse
            if not control_ran and not self._writes.isdisjoint(assignment.live):
                share = 0.0  # what a branch has written, control would write once more
            if share <= 0.0 or (share < 1.0 and self.dice() >= share) or not self._may_shadow(trial.call):
                trial.release()
                return
            if not control_ran:
                trial.mode = "reverse"
        trial.capture_context()
        trial.size += _OBJECT + (len(trial.reply.body) if trial.reply is not None else 0)
        if not self.lane.submit(trial, self.time()):
            trial.release()

    def join_failed(self, error: Exception) -> str:
        """Count that there is no candidate, as the aggregator's fault or as ours; the reason of the fallback."""
        if isinstance(error, Unjoinable):
            return error.reason
        if self.definition.aggregate is not None:
            self.hook_failed("aggregate", error)
        else:
            self.fault("aggregate", error)
        return "aggregate"

    async def run_control_again(self, call: Call) -> Reply:
        """Control on a sealed copy of the request, by the deadline of a call. Raises what it raises."""
        task = self.loop.create_task(self.host.run_again(self.definition.control, call.with_(is_shadow=True)))
        try:
            done, _ = await asyncio.wait([task], timeout=self.latency_s)
        except asyncio.CancelledError:
            forsake(task)
            raise
        if not done:
            forsake(task)
            raise TimeoutError("control, run once more, was not ready by the deadline")
        return task.result()

    def blocked(self, method: str, address: str) -> None:
        """The guarded client refused a side effect of a shadow."""
        self.side_effects[method] = self.side_effects.get(method, 0) + 1
        log.warning(
            "a shadow of %s tried %s %s; refused", self.name, method, address, extra={"event": "side_effect_blocked"}
        )

    def epoch(self, at: float) -> float:
        """Epoch seconds of a time on the loop's clock."""
        return at + self.tally.offset

    def trial_id(self, at: float) -> str:
        """32 hex digits that rise with time, unique over processes."""
        return self._id(at, next(self.ids))

    def _id(self, at: float, number: int) -> str:
        return f"{int(at * 1000):012x}{self._id_base}{number:010x}"

    def expand(self, row: tuple[Any, ...]) -> TrialRecord:
        """The record of a clean trial that waits to be written."""
        at = self.epoch(row[1])
        return expanded(row, self._id(at, row[2]), at, self._branches)

    def all_comparisons(self) -> dict[tuple[str, str], int]:
        """(branch, outcome) → trials; branch ``""`` is the whole reply."""
        found = dict(self.comparisons)
        for branch in ("", *(branch.name for branch in self.definition.branches)):
            found[(branch, "matched")] = found.get((branch, "matched"), 0) + self.matched
        return found

    def labels_of(self, call: Call) -> Mapping[str, str]:
        """What the user groups calls by; nothing where that fails."""
        if self.labels is None:
            return {}
        try:
            return labels_of(self.labels(call))
        except Exception as error:
            self.hook_failed("labels", error)
            return {}

    # ---- our failures

    def hook_failed(self, hook: str, error: BaseException) -> None:
        """A hook of the user's raised."""
        self._failed(f"hook:{hook}", error, f"the hook {hook}= of rollout {self.name} raised")

    def fault(self, where: str, error: BaseException) -> None:
        """Something of ours raised. The user was served all the same."""
        self._failed(f"fault:{where}", error, f"rollout {self.name}: {where} failed; control answered")

    def _failed(self, name: str, error: BaseException, sentence: str) -> None:
        count = self.faults[name] = self.faults.get(name, 0) + 1
        if self.view is not None:
            self.view.second(int(self.time() + self.tally.offset)).funnel.add(name)
        else:
            self.tally.totals.add(name)
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th … time, so that a log cannot fill a disk
            where = f"{type(error).__name__} (its text may hold secrets and is not logged)"
            log.error("%s: %s; so far %d times", sentence, where, count, extra={"event": name.replace(":", "_")})

    def figures(self) -> Figures:
        """The totals since the start, for a scrape."""
        figures = self.tally.so_far()
        figures.histogram("overhead").merge(self._overhead)
        return figures

    def stations(self) -> Sequence[Any]:
        return [*self.live_stations.values(), *self.shadow_stations.values()]


def _field(path: Path) -> str | None:
    """The field's name of a path such as ``$.orders``; None for any other path."""
    return path.steps[0] if len(path.steps) == 1 and isinstance(path.steps[0], str) else None
