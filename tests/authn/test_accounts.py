"""Accounts and sessions on a real PostgreSQL and Valkey."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from app.authn import limits
from app.authn.passwords import LONGEST, SHORTEST, Passwords, faults, one_time
from app.authn.service import AccountService, Caller
from app.authn.sessions import Sessions, handle_of
from app.authn.tables import User
from app.authz.identity import Binding, Identity
from app.authz.roles import Role
from app.problems import InvalidInput, TooManyRequests, Unauthenticated

HERE = Caller(address="203.0.113.9", agent="a browser")
GOOD = "correct horse battery staple"
OTHER = "seven green trees in the rain"


@pytest.fixture(scope="module")
def passwords() -> Iterator[Passwords]:
    with Passwords() as opened:
        yield opened


@pytest.fixture
def sessions(redis, clock) -> Sessions:
    return Sessions(redis, idle_s=1800, absolute_s=43200, clock=clock)


@pytest.fixture
def accounts(engine, redis, sessions, passwords, clock) -> AccountService:
    return AccountService(engine, redis, sessions, passwords, clock)


@pytest_asyncio.fixture
async def ada(accounts: AccountService) -> str:
    return await accounts.create("Ada", GOOD, Binding(role=Role.VIEWER), expired=False)


async def identity(accounts: AccountService, secret: str) -> Identity:
    found = await accounts.identify(secret)
    assert found is not None
    return found


async def test_the_first_administrator_is_made_once_and_must_change_the_password(accounts) -> None:
    password = await accounts.ensure_administrator()
    assert password is not None
    assert await accounts.ensure_administrator() is None

    who = await identity(accounts, await accounts.sign_in("admin", password, HERE))
    assert who.password_expired
    assert who.roles == {Role.ADMINISTRATOR}

    secret = await accounts.change_password(who, password, GOOD, HERE)
    assert not (await identity(accounts, secret)).password_expired
    with pytest.raises(Unauthenticated):
        await accounts.sign_in("admin", password, HERE)


async def test_two_processes_that_start_at_once_make_one_administrator(
    accounts, engine, redis, sessions, passwords
) -> None:
    other = AccountService(engine, redis, sessions, passwords)

    made = await asyncio.gather(accounts.ensure_administrator(), other.ensure_administrator())

    assert sum(password is not None for password in made) == 1
    assert await User.count() == 1


@pytest.mark.case("S44")
async def test_a_removed_first_administrator_does_not_come_back(accounts) -> None:
    await accounts.ensure_administrator()
    await User.delete(force=True)

    assert await accounts.ensure_administrator() is None
    assert await User.count() == 0


@pytest.mark.case("S43")
async def test_a_refusal_is_the_same_whatever_was_wrong(accounts, ada) -> None:
    await accounts.create("gone", GOOD, Binding(role=Role.VIEWER), expired=False)
    await User.update({User.disabled: True}).where(User.name == "gone")

    said = set()
    for name, password in (
        ("ada", "wrong"),
        ("nobody", "wrong"),
        ("nobody", GOOD),
        ("gone", GOOD),
        ("", ""),
        ("ada", "x" * 999),
    ):
        with pytest.raises(Unauthenticated) as raised:
            await accounts.sign_in(name, password, HERE)
        said.add((raised.value.detail, raised.value.status, tuple(raised.value.errors.items())))

    assert len(said) == 1


@pytest.mark.case("S43")
async def test_a_user_who_is_not_there_costs_as_many_hashes(passwords, monkeypatch) -> None:
    spent = []
    verify = passwords._hasher.verify
    monkeypatch.setattr(
        passwords._hasher, "verify", lambda text, encoded: spent.append(encoded) or verify(text, encoded)
    )
    encoded = await passwords.hash(GOOD)

    await passwords.check("wrong", encoded)
    await passwords.check("wrong", None)

    assert len(spent) == 2
    # The same parameters, so the same time: m, t, p and the lengths stand in front of the salt.
    assert spent[0].rpartition("$")[0].rpartition("$")[0] == spent[1].rpartition("$")[0].rpartition("$")[0]
    assert "m=19456,t=2,p=1" in spent[1]


@pytest.mark.case("S38")
async def test_each_sign_in_and_each_change_of_password_has_a_new_session_and_ends_the_old(
    accounts, sessions, ada
) -> None:
    first = await accounts.sign_in("ada", GOOD, HERE)
    second = await accounts.sign_in("ADA ", GOOD, HERE)
    assert first != second

    third = await accounts.change_password(await identity(accounts, first), GOOD, OTHER, HERE)

    assert await accounts.identify(first) is None
    assert await accounts.identify(second) is None
    assert (await identity(accounts, third)).user_id == ada


@pytest.mark.case("S38")
async def test_an_identifier_that_somebody_else_chose_is_never_a_session(accounts, redis, ada) -> None:
    chosen = "A" * 43
    assert await accounts.identify(chosen) is None
    await accounts.sign_in("ada", GOOD, HERE)

    assert await accounts.identify(chosen) is None
    assert not [key async for key in redis.scan_iter(match=f"*{handle_of(chosen)}*")]


@pytest.mark.case("S52")
async def test_no_secret_of_a_session_or_link_or_password_is_at_rest(accounts, redis, ada, engine) -> None:
    admin = await accounts.ensure_administrator()
    secret = await accounts.sign_in("ada", GOOD, HERE)
    link = await accounts.create_sign_in_link("http://127.0.0.1:1")
    held = []
    async for key in redis.scan_iter():
        held.append(key)
        held.append(await redis.dump(key))
    rows = str(await User.select())

    for canary in (secret, link.partition("#")[2], GOOD, admin):
        assert not any(canary.encode() in raw for raw in held)
        assert canary not in rows


async def test_a_session_ends_when_it_is_not_used_and_at_its_last_hour(accounts, ada, clock) -> None:
    secret = await accounts.sign_in("ada", GOOD, HERE)
    for _ in range(23):
        await clock.advance(1799)
        assert await accounts.identify(secret) is not None
    await clock.advance(43200 - 23 * 1799)
    assert await accounts.identify(secret) is None

    secret = await accounts.sign_in("ada", GOOD, HERE)
    await clock.advance(1801)
    assert await accounts.identify(secret) is None


async def test_a_revoked_session_does_not_come_back_by_a_request_in_flight(
    accounts, sessions, ada, clock, redis
) -> None:
    secret = await accounts.sign_in("ada", GOOD, HERE)
    handle = handle_of(secret)
    read = sessions._read

    async def revoked_meanwhile(wanted):
        session = await read(wanted)
        await redis.delete(f"kn:session:{wanted}")
        return session

    sessions._read = revoked_meanwhile
    await clock.advance(100)
    await sessions.find(handle)
    sessions._read = read

    assert await sessions.find(handle) is None


async def test_only_ones_own_sessions_can_be_seen_and_ended(accounts, sessions, ada) -> None:
    grace = await accounts.create("grace", OTHER, Binding(role=Role.VIEWER), expired=False)
    hers = handle_of(await accounts.sign_in("grace", OTHER, HERE))
    mine = handle_of(await accounts.sign_in("ada", GOOD, HERE))

    assert list(await sessions.of(ada)) == [mine]
    assert not await sessions.revoke(ada, hers)
    assert await sessions.revoke(grace, hers)
    assert await sessions.of(grace) == {}


@contextlib.asynccontextmanager
async def listening(sessions: Sessions) -> AsyncIterator[None]:
    from app import tasks

    async with tasks.running("ended sessions", sessions.end_streams()):
        yield


@pytest.mark.case("S23")
async def test_streams_in_other_processes_end_with_their_session(accounts, ada, redis) -> None:
    web = Sessions(redis, idle_s=1800, absolute_s=43200)
    elsewhere = Sessions(redis, idle_s=1800, absolute_s=43200)
    first = handle_of(await web.create(ada, method="password", address="", agent=""))
    second = handle_of(await web.create(ada, method="password", address="", agent=""))

    async with listening(elsewhere):
        with elsewhere.held(first) as ended, elsewhere.held(second) as untouched:
            await asyncio.sleep(0.2)
            await web.revoke(ada, first)
            async with asyncio.timeout(5):
                await ended.wait()
            assert not untouched.is_set()
    assert not elsewhere._streams


async def test_streams_end_when_the_message_was_lost(accounts, ada, redis) -> None:
    sessions = Sessions(redis, idle_s=0.4, absolute_s=43200)
    handle = handle_of(await sessions.create(ada, method="password", address="", agent=""))

    async with listening(sessions):
        with sessions.held(handle) as ended:
            await asyncio.sleep(0.8)
            assert not ended.is_set(), "an open stream counts as use"
            await redis.delete(f"kn:session:{handle}")
            async with asyncio.timeout(5):
                await ended.wait()


async def test_a_link_signs_in_once(accounts) -> None:
    await accounts.ensure_administrator()
    link = await accounts.create_sign_in_link("http://127.0.0.1:8420")
    place, _, token = link.partition("#")
    assert place == "http://127.0.0.1:8420/sign-in/link"

    who = await identity(accounts, await accounts.sign_in_by_link(token, HERE))
    assert not who.password_expired, "who holds the machine is not asked for the password that was printed on it"
    with pytest.raises(Unauthenticated, match="used already"):
        await accounts.sign_in_by_link(token, HERE)


@pytest.mark.case("S41")
async def test_tries_are_limited_by_account_and_address_and_other_names_do_not_reset_them(accounts, ada) -> None:
    for _ in range(limits.PER_ACCOUNT.burst):
        with pytest.raises(Unauthenticated):
            await accounts.sign_in("ada", "wrong", HERE)
    for n in range(20):
        with contextlib.suppress(Unauthenticated, TooManyRequests):
            await accounts.sign_in(f"other{n}", "wrong", HERE)

    with pytest.raises(TooManyRequests) as raised:
        await accounts.sign_in("ada", GOOD, HERE)
    assert raised.value.retry_after_s > 0
    assert await accounts.sign_in("ada", GOOD, Caller(address="198.51.100.1", agent="")), "nobody locks ada out"


async def test_right_tries_are_not_used_up(accounts, ada) -> None:
    for _ in range(limits.PER_ACCOUNT.burst * 2):
        await accounts.sign_in("ada", GOOD, HERE)


async def test_a_limit_is_exact_between_those_who_try_at_once(redis) -> None:
    limit = limits.Limit("test", burst=7, interval_s=60)

    waits = await asyncio.gather(*(limits.take(redis, limit, "a") for _ in range(40)))

    assert sum(wait == 0 for wait in waits) == 7


def test_an_ipv6_network_is_one_caller() -> None:
    assert limits.network_of("2001:db8::1") == limits.network_of("2001:db8::ffff:2")
    assert limits.network_of("2001:db8:0:1::1") != limits.network_of("2001:db8::1")
    assert limits.network_of("::ffff:203.0.113.1") == "203.0.113.1"


@pytest.mark.parametrize(
    "bad",
    ["short", "x" * 14, "x" * (LONGEST + 1), "aaaaaaaaaaaaaaaaaaaa", "adaadaadaadaadaada", "kubenexuspassword123"],
)
async def test_a_password_that_would_be_tried_first_is_refused_with_a_reason(accounts, ada, bad) -> None:
    who = await identity(accounts, await accounts.sign_in("ada", GOOD, HERE))

    with pytest.raises(InvalidInput) as raised:
        await accounts.change_password(who, GOOD, bad, HERE)

    assert raised.value.errors["new"].endswith(".")
    assert await accounts.identify(await accounts.sign_in("ada", GOOD, HERE)) is not None


async def test_a_change_takes_the_present_password(accounts, ada) -> None:
    who = await identity(accounts, await accounts.sign_in("ada", GOOD, HERE))

    with pytest.raises(InvalidInput) as raised:
        await accounts.change_password(who, "wrong", OTHER, HERE)

    assert raised.value.errors.keys() == {"current"}


def test_one_time_passwords_obey_the_rules_and_differ() -> None:
    made = {one_time() for _ in range(100)}

    assert len(made) == 100
    assert all(not faults(p, name="admin") and len(p) >= SHORTEST for p in made)


async def test_typing_the_same_letters_in_another_way_is_the_same_password(passwords) -> None:
    encoded = await passwords.hash("caf\u00e9 au lait every day")

    assert (await passwords.check("cafe\u0301 au lait every day", encoded)).fits


async def test_more_sign_ins_than_can_be_checked_soon_are_turned_away(passwords) -> None:
    results = await asyncio.gather(*(passwords.check("x", None) for _ in range(40)), return_exceptions=True)

    assert sum(isinstance(r, TooManyRequests) for r in results) == 8
