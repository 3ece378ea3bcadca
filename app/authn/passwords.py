"""Argon2id hashes, made and checked in a bounded pool, and the rules for a new password.

A password is text of up to `LONGEST` characters after NFKC. Never logs or keeps one. Parameters are the floor of
OWASP's Password Storage Cheat Sheet; rules are NIST SP 800-63B-4's for a single factor.
"""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

import msgspec
from pwdlib.hashers.argon2 import Argon2Hasher

from app.problems import TooManyRequests

T = TypeVar("T")

SHORTEST: Final = 15  # characters, where there is no second factor
LONGEST: Final = 256  # characters: bounds the time that hashing takes
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
WORKERS: Final = 2  # each holds a core and MEMORY_KIB for about 90 ms
BACKLOG: Final = 32  # waiting checks: about 1.5 s of work; more would only be waited for in vain
ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that reads as something else


class Verdict(msgspec.Struct, frozen=True):
    """Whether the password fits, and whether its hash was made with other parameters than today's."""

    fits: bool
    outdated: bool = False


class Passwords:
    """Hashes and checks passwords; a context manager, which owns the threads."""

    def __init__(self) -> None:
        self._hasher = Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="argon2")
        self._waiting = 0
        # Checked where there is no such user, so that the time tells nothing (security.md S43).
        self._nobody = self._hasher.hash(secrets.token_urlsafe(32))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """The encoded hash of a password that `faults` found nothing in."""
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def check(self, password: str, encoded: str | None) -> Verdict:
        """Whether `password` fits `encoded`; None is a user who is not there, and takes the same time."""
        if len(password) > LONGEST:
            password = ""
        fits = await self._run(lambda: self._hasher.verify(_normal(password), encoded or self._nobody))
        if encoded is None or not fits:
            return Verdict(fits=False)
        return Verdict(fits=True, outdated=self._hasher.check_needs_rehash(encoded))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= BACKLOG:
            raise TooManyRequests("Many sign-ins are being checked at this moment. Try again in a few seconds.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def faults(password: str, *, name: str) -> str:
    """A sentence that says why `password` cannot be chosen by the user `name`; "" when it can."""
    length = len(_normal(password))
    if length < SHORTEST:
        return f"Use at least {SHORTEST} characters; a sentence is fine. This has {length}."
    if length > LONGEST:
        return f"Use at most {LONGEST} characters. This has {length}."
    plain = _normal(password).casefold()
    if len(set(plain)) < 5:
        return "This repeats too few characters. Use a sentence of several words."
    if plain.replace(name.casefold(), "").replace("kubenexus", "").replace("password", "").strip("0123456789!. ") == "":
        return "This is made of your name or of words that are tried first. Use a sentence of several words."
    return ""


def one_time() -> str:
    """A password for one use: 4 groups of 5, about 98 bits."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(4))


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
