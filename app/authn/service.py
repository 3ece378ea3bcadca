"""Accounts: the first administrator, sign-in by password or one-time link, sign-out, change of password.

Knows no framework. A refused sign-in has the same text and cost whatever was wrong with it.
"""

import hashlib
import secrets
from typing import Final, cast
from uuid import uuid4

import msgspec
import structlog

from app.authn import limits
from app.authn.passwords import Passwords, faults, one_time
from app.authn.sessions import Handle, Session, Sessions, handle_of
from app.authn.tables import SetupStep, User
from app.authz import service as authz
from app.authz.identity import Binding, Identity
from app.authz.roles import Role
from app.clock import SYSTEM_CLOCK, Clock
from app.problems import InvalidInput, NotFound, TooManyRequests, Unauthenticated
from app.storage.postgres import Engine
from app.storage.redis import Redis

log = structlog.get_logger()

FIRST_NAME: Final = "admin"
FIRST_STEP: Final = "first administrator"
FIRST_LOCK: Final = 0x6B6E0001  # PostgreSQL advisory lock: two supervisors may start at once
LINK_S: Final = 300
KNOWN_S: Final = 1.0  # how long a user and their bindings are believed without asking PostgreSQL again
KNOWN_USERS: Final = 1000
REFUSED: Final = "The name or the password is wrong."


class Caller(msgspec.Struct, frozen=True):
    """Where a sign-in comes from, for its limits and the list of sessions."""

    address: str
    agent: str


class _Known(msgspec.Struct, frozen=True):
    until: float
    name: str
    password_expired: bool
    bindings: tuple[Binding, ...]


class AccountService:
    """The accounts of one platform. It opens nothing: `engine`, `redis` and `passwords` are started by their owner."""

    def __init__(
        self, engine: Engine, redis: Redis, sessions: Sessions, passwords: Passwords, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._engine = engine
        self._redis = redis
        self._sessions = sessions
        self._passwords = passwords
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def ensure_administrator(self) -> str | None:
        """Make the first administrator, once in the life of a database; their one-time password, or None.

        An administrator who was removed later does not come back (security.md S44).
        """
        password = one_time()
        encoded = await self._passwords.hash(password)
        async with self._engine.transaction():
            await SetupStep.raw("SELECT pg_advisory_xact_lock({})", FIRST_LOCK)
            if await SetupStep.exists().where(SetupStep.name == FIRST_STEP):
                return None
            user_id = await self._insert(FIRST_NAME, encoded, expired=True)
            await authz.bind(user_id, Binding(role=Role.ADMINISTRATOR), self._clock.now())
            await SetupStep(name=FIRST_STEP, done_at=self._clock.now()).save()
        log.info("account.first_administrator", name=FIRST_NAME)
        return password

    async def create(self, name: str, password: str, binding: Binding, *, expired: bool = True) -> str:
        """Make a user; the id. Raises `InvalidInput` for a name that is taken or a password that may not be."""
        name = name.strip().casefold()
        if not name or len(name) > 100 or not name.isprintable():
            raise InvalidInput("Give a name of 1 to 100 printable characters.", errors={"name": "Give a name."})
        if fault := faults(password, name=name):
            raise InvalidInput(fault, errors={"password": fault})
        encoded = await self._passwords.hash(password)
        async with self._engine.transaction():
            if await User.exists().where(User.name == name):
                taken = f'There is a user "{name}" already. Choose another name.'
                raise InvalidInput(taken, errors={"name": taken})
            user_id = await self._insert(name, encoded, expired=expired)
            await authz.bind(user_id, binding, self._clock.now())
        return user_id

    async def sign_in(self, name: str, password: str, caller: Caller) -> str:
        """The secret of a new session. Raises `Unauthenticated` or `TooManyRequests`."""
        name = name.strip().casefold()
        network = limits.network_of(caller.address)
        await self._limit(limits.PER_ADDRESS, network)
        await self._limit(limits.PER_ACCOUNT, name, network)
        row = await User.select().where(User.name == name[:100]).first()
        verdict = await self._passwords.check(password, row["password_hash"] if row else None)
        if row is None or not verdict.fits or row["disabled"]:
            log.info("account.refused", address=caller.address)
            raise Unauthenticated(REFUSED, errors={"password": REFUSED})
        await limits.forget(self._redis, limits.PER_ACCOUNT, name, network)
        if verdict.outdated:
            renewed = await self._passwords.hash(password)
            await User.update({User.password_hash: renewed}).where(User.id == row["id"])
        log.info("account.signed_in", user=row["id"], address=caller.address)
        return await self._begin(row["id"], "password", caller)

    async def create_sign_in_link(self, where: str) -> str:
        """A link that signs its first user in as the first administrator still there, within 5 minutes.

        where: the origin, e.g. "http://127.0.0.1:8420". The token is in the fragment, which browsers do not send:
        see docs/decisions/0003-one-time-link.md. Raises `NotFound` without an administrator.
        """
        for row in await User.select(User.id).where(User.disabled.eq(value=False)).order_by(User.created_at):
            if Binding(role=Role.ADMINISTRATOR) in await authz.bindings_of(row["id"]):
                token = secrets.token_urlsafe(32)
                await self._redis.set(_link_key(token), row["id"], ex=LINK_S)
                return f"{where}/sign-in/link#{token}"
        raise NotFound("There is no administrator left who could be signed in.")

    async def sign_in_by_link(self, token: str, caller: Caller) -> str:
        """The secret of a new session for the holder of an unused link. Raises `Unauthenticated`."""
        await self._limit(limits.PER_ADDRESS, limits.network_of(caller.address))
        raw = cast("bytes | None", await self._redis.getdel(_link_key(token)))
        user_id = raw.decode() if raw else ""
        if not await User.exists().where(User.id == user_id).where(User.disabled.eq(value=False)):
            raise Unauthenticated("This link was used already or is older than 5 minutes. Sign in with your password.")
        log.info("account.signed_in_by_link", user=user_id, address=caller.address)
        return await self._begin(user_id, "link", caller)

    async def sign_out(self, identity: Identity) -> None:
        """End the session of `identity` and all its streams."""
        await self._sessions.revoke(identity.user_id, identity.session)

    async def change_password(self, identity: Identity, current: str, new: str, caller: Caller) -> str:
        """Set a new password and end every session of the user; the secret of the one that replaces the caller's.

        Raises `InvalidInput` with a sentence for "current" or "new"; then nothing has changed.
        """
        await self._limit(limits.PER_ACCOUNT, identity.name, limits.network_of(caller.address))
        row = await User.select().where(User.id == identity.user_id).first()
        if row is None or not (await self._passwords.check(current, row["password_hash"])).fits:
            wrong = "This is not your present password."
            raise InvalidInput(wrong, errors={"current": wrong})
        fault = faults(new, name=identity.name) or (
            "This is the present one. Choose another." if new == current else ""
        )
        if fault:
            raise InvalidInput(fault, errors={"new": fault})
        encoded = await self._passwords.hash(new)
        await User.update(
            {
                User.password_hash: encoded,
                User.password_expired: False,
                User.password_changed_at: self._clock.now(),
            }
        ).where(User.id == identity.user_id)
        self._known.pop(identity.user_id, None)
        await limits.forget(self._redis, limits.PER_ACCOUNT, identity.name, limits.network_of(caller.address))
        await self._sessions.revoke_all(identity.user_id)
        log.info("account.password_changed", user=identity.user_id)
        return await self._begin(identity.user_id, "password", caller)

    async def identify(self, secret: str) -> Identity | None:
        """Who holds this cookie; None when the session ended or the user is gone or disabled."""
        handle = handle_of(secret)
        session = await self._sessions.find(handle)
        if session is None:
            return None
        known = self._known.get(session.user_id)
        if known is None or known.until <= self._clock.monotonic():
            known = await self._know(session.user_id)
        return None if known is None else _identity(handle, session, known)

    async def _know(self, user_id: str) -> _Known | None:
        row = await User.select(User.name, User.password_expired, User.disabled).where(User.id == user_id).first()
        if row is None or row["disabled"]:
            self._known.pop(user_id, None)
            return None
        if len(self._known) >= KNOWN_USERS:
            self._known.clear()
        known = _Known(
            until=self._clock.monotonic() + KNOWN_S,
            name=row["name"],
            password_expired=row["password_expired"],
            bindings=await authz.bindings_of(user_id),
        )
        self._known[user_id] = known
        return known

    async def _insert(self, name: str, encoded: str, *, expired: bool) -> str:
        now = self._clock.now()
        user_id = uuid4().hex
        await User(
            id=user_id,
            name=name,
            password_hash=encoded,
            password_expired=expired,
            created_at=now,
            password_changed_at=now,
        ).save()
        return user_id

    async def _begin(self, user_id: str, method: str, caller: Caller) -> str:
        return await self._sessions.create(user_id, method=method, address=caller.address, agent=caller.agent)

    async def _limit(self, limit: limits.Limit, *subject: str) -> None:
        if wait_s := await limits.take(self._redis, limit, *subject):
            sentence = f"Too many tries from here. Try again in {round(wait_s) + 1} seconds."
            raise TooManyRequests(sentence, retry_after_s=wait_s)


def _identity(handle: Handle, session: Session, known: _Known) -> Identity:
    return Identity(
        user_id=session.user_id,
        name=known.name,
        session=handle,
        bindings=known.bindings,
        # Who opened the link owns the machine; the password that was printed is asked for when it is used.
        password_expired=known.password_expired and session.method != "link",
    )


def _link_key(token: str) -> str:
    return f"kn:sign-in-link:{hashlib.sha256(token.encode()).hexdigest()}"
