"""The shop without a rollout, and the customers who judge it."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from rollout_demo import truth
from rollout_demo.client import Customers, obey
from rollout_demo.services import KINDS
from tests.demo.conftest import Street


async def page(street: Street, customer: int) -> Any:
    async with (
        ClientSession() as session,
        session.get(f"{street.monolith}/profile/{customer}?context=100&generate=10") as reply,
    ):
        return await reply.json()


@pytest.mark.parametrize("customer", [1, 17, truth.CUSTOMERS])
async def test_the_monolith_answers_right(street: Street, customer: int) -> None:
    assert truth.fault_of(await page(street, customer), customer) == ""


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda page: page.update(id=2), "id is 2, not 1"),
        (lambda page: page.update(orders=[]), "orders are not the customer's"),
        (lambda page: page["tickets"].pop(), "tickets are not the customer's"),
        (lambda page: page.update(tickets="none"), "tickets are not the customer's"),
        (lambda page: page["picks"].reverse(), "picks are not the customer's"),
        (lambda page: page.update(summary="They asked about the weather."), "the summary misses the topic"),
    ],
)
async def test_the_truth_names_what_is_wrong(street: Street, spoil: Callable[[Any], None], fault: str) -> None:
    found = await page(street, 1)
    spoil(found)
    assert truth.fault_of(found, 1) == fault


async def test_the_order_of_tickets_is_nobodys_business(street: Street) -> None:
    found = await page(street, 1)
    found["tickets"].reverse()
    assert truth.fault_of(found, 1) == ""


async def test_the_newer_endpoint_has_the_same_tickets_newest_first(street: Street) -> None:
    async with ClientSession() as session, session.get(f"{street.addresses['tickets']}/v2/tickets/5") as reply:
        assert await reply.json() == truth.tickets(5)[::-1]


async def test_an_ill_endpoint_notes_its_bad_answers_to_live_calls_only(street: Street) -> None:
    street.tickets.ill = True
    async with ClientSession() as session:
        for headers in ({"X-Rollout-Shadow": "1"}, {}):
            address = f"{street.addresses['tickets']}/v2/tickets/5"
            async with session.get(address, headers=headers) as reply:
                assert reply.status == 200
            assert street.tickets.bad == (0 if headers else 1)
    assert street.tickets.first_bad_at is not None


def test_services_have_a_database_each(street: Street) -> None:
    assert {kind.name for kind in KINDS} == {"orders", "tickets", "picks"}


async def test_customers_count_right_replies(street: Street) -> None:
    async with ClientSession() as session:
        customers = Customers(session, "", rate=400, seed=3)
        customers.use(street.monolith)
        await customers.come(seconds=5, calls=40)
    counts = customers.count().to_dict()
    assert (counts["ok"], counts["wrong"], counts["errors"]) == (40, 0, 0)
    assert 0 < counts["p50_s"] <= counts["p95_s"]


async def test_customers_notice_a_wrong_reply(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_demo.services.Tickets.rows", lambda self, customer, order="id": [])
    async with ClientSession() as session:
        customers = Customers(session, "", rate=400, seed=3)
        customers.use(street.monolith)
        await customers.come(seconds=5, calls=10)
    counts = customers.count().to_dict()
    assert (counts["wrong"], counts["faults"]) == (10, {"tickets are not the customer's": 10})


async def test_customers_who_pause_send_nothing_until_they_go_on(street: Street) -> None:
    async with ClientSession() as session:
        customers = Customers(session, "", rate=400, seed=3)
        load = asyncio.create_task(customers.come(seconds=10, calls=20))
        customers.use(street.monolith)
        await asyncio.sleep(0.02)
        await obey(customers, {"do": "pause"})
        before = customers.counts.ok
        await asyncio.sleep(0.05)
        assert customers.counts.ok == before < 20
        customers.use(street.monolith)
        await load
    assert customers.count().ok == 20


async def test_the_customers_are_a_process_that_says_how_it_went(street: Street) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rollout_demo.client", "--base", street.monolith, "--calls", "20", "--rate", "200"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["ok"] == 20
