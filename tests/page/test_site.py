"""Who may come in, what they see, what they can do, and what a refusal tells them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from rollout.domain.report import Report
from rollout.domain.state import BranchPolicy, Mode
from rollout.errors import DatabaseError
from rollout.usecases import reporting, steer
from rollout_page import Page
from rollout_page.site import REPORTS_AT_ONCE
from tests.page.visits import BOTH, OPERATE, VIEW, Visitor, served

PAGES = ("/rollout", "/rollout/", "/rollout/r/profile", "/rollout/r/profile/report")
PROTECTED: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}


def said(text: str) -> str:
    """What a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


# Who comes in


@pytest.mark.parametrize("path", PAGES)
async def test_a_stranger_is_led_to_the_form_and_back(path: str) -> None:
    async with served() as page, page.visitor() as ann:
        answer = await ann.get(path)
        assert (answer.status, answer.headers["Location"]) == (303, f"/rollout/sign-in?onward={path}")
        form = await ann.get(answer.headers["Location"])
        assert f'name="onward" value="{path if path != "/rollout" else "/rollout"}"' in form.text
        answer = await ann.post("/rollout/sign-in", {"token": VIEW, "name": "ann", "onward": path})
        assert (answer.status, answer.headers["Location"]) == (303, path)
        assert (await ann.get(path)).status == 200


@pytest.mark.parametrize(
    "onward",
    ["https://evil.example/", "//evil.example", "/other", "/rolloutx", "javascript:1", "/rollout/\r\nSet-Cookie: a=b"],
)
async def test_signing_in_leads_nowhere_else(onward: str) -> None:
    async with served() as page, page.visitor() as ann:
        answer = await ann.post("/rollout/sign-in", {"token": VIEW, "name": "ann", "onward": onward})
        assert answer.headers["Location"] == "/rollout"


async def test_the_cookie_is_kept_from_scripts_and_other_sites() -> None:
    async with served() as page, page.visitor() as ann:
        cookie = (await ann.sign_in()).headers["Set-Cookie"]
        for part in ("HttpOnly", "SameSite=Strict", "Path=/rollout", "Max-Age=43200"):
            assert part in cookie
        assert OPERATE not in cookie
        assert "Secure" not in cookie
        form = {"token": OPERATE, "name": "ann"}
        behind = await ann.post("/rollout/sign-in", form, **{"X-Forwarded-Proto": "https"})
        assert "Secure" in behind.headers["Set-Cookie"]


async def test_a_wrong_token_is_refused_and_after_five_a_right_one_too() -> None:
    async with served() as page, page.visitor() as ann:
        for number in range(5):
            answer = await ann.sign_in(f"a-wrong-token-of-somebody-{number}")
            assert answer.status == 403
            assert "Set-Cookie" not in answer.headers
        answer = await ann.sign_in()
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 61


async def test_guesses_that_are_under_way_together_are_no_way_around_the_limit() -> None:
    async with served() as page:
        connections = [await asyncio.open_connection("127.0.0.1", page.server.port) for _ in range(8)]
        bodies = [b"name=eve&token=a-wrong-token-of-somebody-%d" % number for number in range(8)]
        for (reader, writer), body in zip(connections, bodies, strict=True):
            writer.write(
                b"POST /rollout/sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: same-origin\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
                b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            assert b"100" in await reader.readuntil(b"\r\n\r\n")  # it is let in, and waits for its form
        statuses = []
        for (reader, writer), body in zip(connections, bodies, strict=True):
            writer.write(body)
            statuses.append(int((await reader.read()).split()[1]))
            writer.close()
        assert statuses == [403] * 5 + [429] * 3


async def test_a_password_that_a_proxy_asks_for_is_no_token_and_keeps_nobody_out() -> None:
    async with served() as page, page.visitor() as ann:
        basic = {"Authorization": "Basic b3A6b3A="}
        for _ in range(6):
            assert (await ann.get("/rollout", **basic)).status == 303
        assert (await ann.post("/rollout/sign-in", {"token": OPERATE, "name": "ann"}, **basic)).status == 303
        assert (await ann.get("/rollout", **basic)).status == 200
        form = {**await ann.form(), "event": "pause"}
        assert (await ann.post("/rollout/r/profile", form, **basic, **{"Sec-Fetch-Site": "cross-site"})).status == 403
        assert (await ann.post("/rollout/r/profile", form, **basic)).status == 303


async def test_a_token_that_a_proxy_sends_of_its_own_keeps_nobody_out() -> None:
    async with served() as page, page.visitor() as ann:
        own = {"Authorization": "Bearer the-proxy-s-own-token"}
        for _ in range(20):
            assert (await ann.get("/rollout", **own)).status == 303
        assert (await ann.post("/rollout/sign-in", {"token": OPERATE, "name": "ann"}, **own)).status == 303
        assert (await ann.get("/rollout", **own)).status == 200
        form = {**await ann.form(), "event": "pause"}
        assert (await ann.post("/rollout/r/profile", {**form, "proof": "x"}, **own)).status == 403
        assert (await ann.post("/rollout/r/profile", form, **own)).status == 303


@pytest.mark.parametrize(("charset", "body"), [("no-such", b"name=ann"), ("utf-8", b"name=\xff")])
async def test_a_form_that_cannot_be_read_is_refused(charset: str, body: bytes) -> None:
    async with served() as page, page.visitor() as eve:
        kind = f"application/x-www-form-urlencoded; charset={charset}"
        assert (await eve.post("/rollout/sign-in", body, **{"Content-Type": kind})).status == 415


async def test_a_bearer_is_no_way_around_the_limit_and_a_session_is_not_in_its_way() -> None:
    async with served() as page, page.operator() as ann, page.visitor() as eve:
        for number in range(5):
            assert (await eve.get("/rollout", Authorization=f"Bearer nonsense-{number}")).status in (303, 401)
        assert (await eve.get("/rollout", Authorization=f"Bearer {OPERATE}")).status == 429
        assert (await ann.get("/rollout")).status == 200


@pytest.mark.parametrize("header", ["Basic b3A6b3A=", "Bearer", f"Digest {OPERATE}", "Bearer \u00e9"])
async def test_only_a_bearer_of_a_token_is_let_in(header: str) -> None:
    async with served() as page, page.visitor() as eve:
        answer = await eve.get("/rollout", Accept="*/*", Authorization=header)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_name_is_asked_for_and_somebody_who_signs_out_is_a_stranger() -> None:
    async with served() as page, page.visitor() as ann:
        assert (await ann.sign_in(name="  ")).status == 400
        await ann.sign_in()
        assert (await ann.get("/rollout")).status == 200
        assert (await ann.post("/rollout/sign-out", {})).status == 303
        assert (await ann.get("/rollout")).status == 303


async def test_without_a_token_this_machine_may_look_and_nobody_may_act() -> None:
    async with served(Page()) as page, page.visitor() as ann:
        answer = await ann.get("/rollout/r/profile")
        assert answer.status == 200
        assert "You may look." in said(answer.text)
        assert "<button" not in answer.text
        assert (await ann.post("/rollout/r/profile", {"event": "rollback", "reason": "x"})).status == 403
        assert not [one for one in await page.backend.state.decisions() if one.action == "rollback"]


@pytest.mark.parametrize(
    "header",
    [
        {"Host": "evil.example"},  # whose name was made to point here
        {"Host": "[::1"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
)
async def test_without_a_token_what_may_come_from_elsewhere_is_refused(header: Mapping[str, str]) -> None:
    async with served(Page()) as page, page.visitor() as eve:
        for path in (*PAGES, "/rollout/stream", "/rollout/static/page.js"):
            assert (await eve.get(path, **header)).status == 403


# What they get


@pytest.mark.parametrize(
    "path", [*PAGES, "/rollout/sign-in", "/rollout/static/page.css", "/rollout/nowhere", "/rollout/r/nobody"]
)
async def test_every_answer_is_protected(path: str) -> None:
    async with served() as page, page.operator() as ann:
        for answer in (await ann.get(path), await ann.post(path, {}), await ann.get(path, Authorization="Bearer x")):
            assert PROTECTED.items() <= dict(answer.headers).items()
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy


async def test_no_page_has_a_script_or_a_style_of_its_own() -> None:
    async with served(told=True) as page, page.operator() as ann:
        for path in PAGES:
            text = (await ann.get(path)).text
            assert re.findall(r"<script(?! type=\"module\" src=| type=\"application/json\")", text) == []
            assert re.findall(r"<[^>]* (?:style|on\w+)=", text) == []


async def test_the_page_tells_what_a_stranger_asks() -> None:
    async with served(told=True) as page, page.operator() as ann:
        overview = said((await ann.get("/rollout")).text)
        detail = (await ann.get("/rollout/r/profile")).text
        for text in (
            "Rolled back: tickets, which users get from control",
            "orders",
            "25%",
            "holding",
            "shop-1:4127 decides",
        ):
            assert text in overview
        for text in ("compared calls differed", "Still missing", "every gate passes", "flag profile is on for alice"):
            assert text in said(detail)
        assert detail.count('aria-label="evidence of ') == 3
        assert 'class="rollout-report"' in (await ann.get("/rollout/r/profile/report")).text


async def test_few_reports_are_made_at_once_and_the_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0

    async def counted(*asked: Any) -> Report:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(20):
            await asyncio.sleep(0)
        under_way -= 1
        return await report(*asked)

    report = reporting.report
    monkeypatch.setattr(reporting, "report", counted)
    async with served(told=True) as page, page.operator() as ann:
        answers = await asyncio.gather(*(ann.get("/rollout/r/profile/report") for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert most == REPORTS_AT_ONCE


async def test_what_is_not_there_is_named() -> None:
    async with served() as page, page.operator() as ann:
        for path in ("/rollout/r/profil", "/rollout/r/profil/report", "/rollout/r/profil/stream"):
            answer = await ann.get(path)
            assert answer.status == 404
            assert "Did you mean" in answer.text


async def test_without_the_database_it_says_so_and_comes_back() -> None:
    async with served() as page, page.operator() as ann:
        page.backend.fail_with(DatabaseError("The database went away. Look after it."))
        for path in PAGES:
            answer = await ann.get(path)
            assert (answer.status, "Look after it." in answer.text) == (503, True)
        page.backend.heal()
        assert (await ann.get("/rollout")).status == 200


# What they do


async def test_each_button_does_what_it_says_and_is_recorded_with_who_and_why() -> None:
    async with served() as page, page.operator() as ann:
        await steer.promote(page.backend, "profile", force=True, reason="x", actor="x")
        for event, mode in (("pause", Mode.paused), ("resume", Mode.active), ("rollback", Mode.rolled_back)):
            answer = await ann.act(event, reason=f"because of {event}")
            (newest, *_) = await page.backend.state.decisions("profile", limit=1)
            assert (answer.status, answer.headers["Location"]) == (303, f"/rollout/r/profile#decision-{newest.number}")
            assert (newest.action, newest.actor, newest.reason) == (event, "ann@page", f"because of {event}")
            assert (await page.backend.state.load()).states["profile"]["orders"].mode is mode


async def test_the_buttons_are_those_that_the_lifecycle_allows() -> None:
    async def buttons(ann: Visitor) -> list[str]:
        return re.findall(r'name="event" value="(\w+)"', (await ann.get("/rollout/r/profile")).text)

    async with served() as page, page.operator() as ann:
        assert await buttons(ann) == ["promote", "pause", "rollback"]
        await steer.promote(page.backend, "profile", force=True, reason="x", actor="x")
        assert await buttons(ann) == ["approve", "pause", "rollback"]  # 50% must be approved first
        await steer.pause(page.backend, "profile", reason="x", actor="x")
        assert await buttons(ann) == ["resume", "rollback"]
        await steer.rollback(page.backend, "profile", reason="x", actor="x")
        assert await buttons(ann) == ["resume"]


async def test_a_step_that_the_gates_hold_is_refused_with_why_and_the_reason_is_kept() -> None:
    async with served() as page, page.operator() as ann:
        answer = await ann.act("promote", reason='I "looked" at it')
        assert answer.status == 409
        assert "profile is not promoted, nothing was changed" in answer.text
        assert "soak: 10m left" in said(answer.text)
        assert 'value="I &#34;looked&#34; at it"' in answer.text


async def test_of_two_operators_who_saw_the_same_one_wins_and_the_other_is_told_of_it() -> None:
    async with served() as page, page.operator("ann") as ann, page.operator("ben") as ben:
        forms = [await ann.form(), await ben.form()]
        answers = await asyncio.gather(
            *(
                who.post("/rollout/r/profile", {**form, "event": "pause", "reason": f"said {name}"})
                for who, form, name in zip((ann, ben), forms, ("ann", "ben"), strict=True)
            )
        )
        assert sorted(answer.status for answer in answers) == [303, 409]
        (decision,) = [one for one in await page.backend.state.decisions() if one.action == "pause"]
        winner, loser = ("ann", "ben") if decision.actor == "ann@page" else ("ben", "ann")
        (lost,) = [answer.text for answer in answers if answer.status == 409]
        (notice,) = re.findall(r'role="alert">(.*?)</section>', lost, re.DOTALL)
        assert "it changed since you looked" in notice
        assert f"pause orders paused at shadow · said {winner} {winner}@page (person)" in said(notice)
        assert f"#{decision.number}" in notice
        assert f'value="said {loser}"' in lost
        assert 'value="resume"' in lost


async def test_what_another_did_meanwhile_is_in_the_way_of_everything_but_a_rollback() -> None:
    async with served() as page, page.operator() as ann:
        stale = await ann.form()
        await steer.promote(page.backend, "profile", force=True, reason="in a hurry", actor="ben")
        for event in ("promote", "approve", "pause", "resume"):
            answer = await ann.post("/rollout/r/profile", {**stale, "event": event})
            assert answer.status == 409
            assert "promote orders shadow → 10% · forced: in a hurry ben (person)" in said(answer.text)
        assert (await ann.post("/rollout/r/profile", {**stale, "event": "rollback"})).status == 303


async def test_a_group_has_one_form_and_moves_as_one() -> None:
    pair = [BranchPolicy(name=name, unit="orders+tickets", salt="pair") for name in ("orders", "tickets")]
    async with served(join="replace", branches=pair) as page, page.operator() as ann:
        text = (await ann.get("/rollout/r/profile")).text
        assert "orders + tickets" in text
        assert text.count('name="event" value="pause"') == 1
        assert (await ann.act("pause")).status == 303
        states = (await page.backend.state.load()).states["profile"]
        assert {state.mode for state in states.values()} == {Mode.paused}


async def test_every_branch_is_rolled_back_at_once() -> None:
    async with served(branches=("orders", "tickets")) as page, page.operator() as ann:
        proof = (await ann.form())["proof"]
        assert "Roll back every branch" in (await ann.get("/rollout/r/profile")).text
        form = {"proof": proof, "event": "rollback", "reason": "INC-42"}
        assert (await ann.post("/rollout/r/profile", form)).status == 303
        states = (await page.backend.state.load()).states["profile"]
        assert {state.mode for state in states.values()} == {Mode.rolled_back}


async def test_a_rollback_of_what_is_rolled_back_is_told_as_such() -> None:
    async with served() as page, page.operator() as ann:
        await ann.act("rollback")
        answer = await ann.act("rollback")
        assert answer.status == 200
        assert "rolled back already" in answer.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reason": " \u00a0 "}, "A reason is missing"),
        ({"reason": "x" * 501}, "The reason has 501 characters, at most 500"),
        ({"event": "reset"}, "&#34;reset&#34; is nothing to be done here"),
        ({"event": "<script>"}, "&lt;script&gt;"),
        ({"version": ""}, "does not say which version"),
        ({"version": "1e9"}, "does not say which version"),
        ({"policy": "new"}, "does not say which version"),
    ],
)
async def test_a_form_that_is_not_clear_is_explained(changes: Mapping[str, str], says: str) -> None:
    async with served() as page, page.operator() as ann:
        answer = await ann.post("/rollout/r/profile", {**await ann.form(), "event": "pause", **changes})
        assert answer.status == 400
        assert says in answer.text
        assert (await page.backend.state.load()).states["profile"]["orders"].mode is Mode.active


async def test_a_branch_that_is_not_there_is_named() -> None:
    async with served() as page, page.operator() as ann:
        answer = await ann.act("pause", branch="order")
        assert answer.status == 404
        assert "Did you mean" in answer.text


async def test_who_views_does_not_act() -> None:
    async with served() as page, page.visitor() as ann:
        await ann.sign_in(VIEW)
        assert "<button form=" not in (await ann.get("/rollout/r/profile")).text
        answer = await ann.post("/rollout/r/profile", {"event": "rollback", "reason": "x"})
        assert (answer.status, "You may look" in answer.text) == (403, True)
        answer = await ann.post("/rollout/r/profile", {}, Authorization=f"Bearer {VIEW}")
        assert answer.status == 403


async def test_a_bearer_acts_without_a_cookie() -> None:
    async with served() as page, page.visitor() as script:
        form = {"event": "pause", "branch": "orders", "reason": "deploy", "version": "1", "policy": "1"}
        bearer = {"Authorization": f"Bearer {OPERATE}", "Sec-Fetch-Site": ""}
        answer = await script.post("/rollout/r/profile", form, **bearer)
        assert answer.status == 303
        (newest, *_) = await page.backend.state.decisions("profile", limit=1)
        assert newest.actor == "bearer@page"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
    ],
)
@pytest.mark.parametrize("path", ["/rollout/r/profile", "/rollout/sign-in", "/rollout/sign-out"])
async def test_a_form_of_another_site_does_nothing(path: str, headers: Mapping[str, str]) -> None:
    async with served() as page, page.operator() as ann:
        answer = await ann.post(path, {**await ann.form(), "event": "rollback", "token": OPERATE}, **headers)
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers
        assert (await page.backend.state.load()).states["profile"]["orders"].mode is Mode.active


async def test_where_a_browser_sends_no_fetch_metadata_the_origin_decides() -> None:
    async with served() as page, page.operator() as ann:
        form = {**await ann.form(), "event": "rollback"}
        own = f"http://127.0.0.1:{page.server.port}"
        async with aiohttp.ClientSession(cookies=ann.cookies) as old:
            for origin, status in (
                ("", 403),
                ("null", 403),
                ("http://evil.example", 403),
                (f"{own}.evil.example", 403),
                ("http://127.0.0.1:1", 403),
                (f"https://127.0.0.1:{page.server.port}", 303),  # a proxy ended the TLS
            ):
                headers = {"Origin": origin} if origin else {}
                url = f"{own}/rollout/r/profile"
                async with old.post(url, data=form, headers=headers, allow_redirects=False) as answer:
                    assert answer.status == status, origin


async def test_a_form_made_for_somebody_else_does_nothing() -> None:
    async with served() as page, page.operator("ann") as ann, page.operator("ben") as ben:
        for form in ({**await ann.form(), "event": "rollback"}, {"event": "rollback", "reason": "x"}):
            assert (await ben.post("/rollout/r/profile", form)).status == 403


async def test_nothing_is_done_by_looking() -> None:
    async with served() as page, page.operator() as ann:
        before = await page.backend.state.decisions()
        for path in ("/rollout/r/profile?event=rollback&reason=x", "/rollout/sign-out"):
            await ann.get(path)
        assert await page.backend.state.decisions() == before
        assert (await ann.get("/rollout")).status == 200


@pytest.mark.parametrize("size", [16 * 1024 + 1, 1_000_000])
async def test_a_large_form_is_not_read(size: int) -> None:
    async with served() as page, page.operator() as ann:
        answer = await ann.post("/rollout/r/profile", {"reason": "x" * size})
        assert answer.status == 413


async def test_what_is_no_form_is_not_read() -> None:
    async with served() as page, page.operator() as ann:
        with_file = aiohttp.FormData()
        with_file.add_field("reason", b"x", filename="x")
        assert (await ann.post("/rollout/r/profile", with_file)).status == 415
        assert (await ann.post("/rollout/r/profile", b"{}", **{"Content-Type": "application/json"})).status == 415

        async def unbounded() -> object:
            yield b"reason=x"

        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await ann.post("/rollout/r/profile", unbounded(), **kind)).status == 413


# What they follow


async def test_the_stream_tells_what_changes_and_keeps_nobody_s_secrets() -> None:
    async with served() as page, page.operator() as ann:
        proof = (await ann.form())["proof"]
        async with ann.follow("/rollout/r/profile/stream") as heard:
            first = await heard()
            assert set(first) == {"verdict", "timeline", "unit-0", "acts-0"}
            assert proof not in str(first)
            await steer.pause(page.backend, "profile", reason="lunch", actor="ben")
            second = await heard()
        assert "by a person: lunch" in second["unit-0"]
        assert 'value="resume"' in second["acts-0"]
        assert "pause" in second["timeline"]


async def test_who_joins_those_who_follow_asks_the_database_nothing() -> None:
    async with served() as page, page.operator() as ann:
        async with ann.follow("/rollout/r/profile/stream") as heard:
            whole = await heard()
            page.backend.fail_with(DatabaseError("The database went away."))
            async with ann.follow("/rollout/r/profile/stream") as too:
                assert set(await too()) == set(whole)
        page.backend.heal()


async def test_who_asks_for_the_head_of_a_stream_does_not_follow() -> None:
    async with served() as page, page.operator() as ann:
        for path in ("/rollout/stream", "/rollout/r/profile/stream"):
            assert (await ann.head(path)).status == 405


async def test_strangers_follow_nothing_and_no_more_follow_than_may() -> None:
    async with served(Page(operate=OPERATE, viewers=1)) as page, page.operator() as ann, page.visitor() as eve:
        assert (await eve.get("/rollout/stream", Accept="text/event-stream")).status == 401
        async with ann.follow("/rollout/stream") as heard:
            assert "rollouts" in await heard()
            answer = await ann.get("/rollout/r/profile/stream")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "60")


async def test_the_tokens_of_a_page_stand_nowhere() -> None:
    async with served(BOTH, told=True) as page, page.operator() as ann:
        for path in (*PAGES, "/rollout/sign-in", "/rollout/static/page.js"):
            text = (await ann.get(path)).text
            assert OPERATE not in text
            assert VIEW not in text


# Where it is


@pytest.mark.parametrize(
    ("page", "below", "asked", "base"),
    [
        (replace(BOTH, path="/rollouts"), "", "/rollouts", "/rollouts"),
        (BOTH, "/shop/admin", "/shop/admin/rollout", "/shop/admin/rollout"),
        (replace(BOTH, external_path="/tools/ramps"), "", "/rollout", "/tools/ramps"),
    ],
)
async def test_whatever_it_leads_to_is_where_browsers_find_it(page: Page, below: str, asked: str, base: str) -> None:
    async with served(page, below=below) as there, there.visitor() as ann:
        led = await ann.get(f"{asked}/r/profile?x=1")
        assert (led.status, led.headers["Location"]) == (303, f"{base}/sign-in?onward={base}/r/profile")
        form = {"token": OPERATE, "name": "ann", "onward": f"{base}/r/profile"}
        signed_in = await ann.post(f"{asked}/sign-in", form)
        assert signed_in.headers["Location"] == f"{base}/r/profile"
        cookie = signed_in.headers["Set-Cookie"]
        assert f"Path={base};" in cookie
        session = {"Cookie": cookie.partition(";")[0]}
        for path in ("", "/r/profile", "/r/profile/report"):
            text = (await ann.get(f"{asked}{path}", **session)).text
            links = re.findall(r'(?:href|src|action|"stream")(?:=|: )"(/[^"]*)"', text)
            assert links
            assert all(link.startswith(base) for link in links), links
