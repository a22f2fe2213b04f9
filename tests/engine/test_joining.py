"""What the parts become: JSON that the user's client can read, or no candidate at all."""

from __future__ import annotations

import pytest

from rollout import Branch, Shadow
from tests.support.trials import Response, answering, giving, rollout_of, running

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
async def test_a_part_with_a_number_that_json_does_not_have_falls_back(number: float) -> None:
    declared = rollout_of(Branch("a", giving([number]), part="$.a"), Branch("b", giving(2), part="$.b"))
    async with running(declared, live={"a": 1.0, "b": 1.0}) as world:
        assert (await world.get()).body == b'{"a": 1, "b": 2, "c": 3}'
        assert world.funnel["fallback:part_not_json"] == 1
        figures = world.sealed()
        assert figures["a", "B"]["bad"] == 1
        assert figures["b", "B"]["bad"] == 0


async def test_where_control_answers_so_the_parts_may_too() -> None:
    nan = float("nan")
    declared = rollout_of(Branch("a", giving(nan), part="$.a"), control=answering({"a": nan, "b": 1}))
    async with running(declared, live={"a": 1.0}) as world:
        assert (await world.get()).body == b'{"a": NaN, "b": 1}'
        assert world.funnel["served:candidate"] == 1


async def test_an_aggregator_that_gives_no_json_falls_back() -> None:
    declared = rollout_of(Branch("a", giving(1)), aggregate=lambda call, control, parts: {"a": float("nan")})
    async with running(declared, live={"a": 1.0}) as world:
        assert (await world.get()).json() == {"a": 1, "b": 2, "c": 3}
        assert world.funnel["hook:aggregate"] == 1


async def test_no_branch_is_to_blame_where_control_s_reply_is_no_json() -> None:
    async def control(_: object) -> Response:
        return Response(b"<a/>", headers=(("Content-Type", "text/xml"),))

    async with running(rollout_of(Branch("a", giving(1), part="$.a"), control=control), live={"a": 1.0}) as world:
        assert (await world.get()).body == b"<a/>"
        await world.settled()
        assert world.funnel["fallback:control_not_json"] == 1
        figures = world.sealed()
        assert figures["a", "B"]["calls"] == 1
        assert figures["a", "B"]["bad"] == 0


async def test_control_never_writes_again_in_reverse_what_a_branch_has_written() -> None:
    ran: list[str] = []

    async def control(_: object) -> Response:
        ran.append("control")
        return Response(b"{}")

    for effects, expected in (("write", []), ("safe", ["control"])):
        ran.clear()
        declared = rollout_of(
            Branch("a", giving(1), part="$.a", effects=effects),  # type: ignore[arg-type]
            control=control,
            join="replace",
            methods=["POST"],
            effects="safe",
            shadow=Shadow(noise=0.0, reverse=1.0),
        )
        async with running(declared, live={"a": 1.0}) as world:
            assert (await world.get(method="POST")).json() == {"a": 1}
            await world.settled()
            assert ran == expected
