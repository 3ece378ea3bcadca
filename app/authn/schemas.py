"""What sign-in and accounts take and give over HTTP."""

from typing import Final

import msgspec

ENTERED: Final = "entered"
"""Key in `scope["state"]`: what a form held, less its secrets, for the page that shows it again with its faults."""


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    password: str
    next: str = "/"


class LinkSignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    current: str
    new: str
    repeated: str


class SessionView(msgspec.Struct, frozen=True):
    """One of the caller's sessions. Times are ISO 8601, UTC. current: the one that this request came in."""

    handle: str
    created_at: str
    used_at: str
    expires_at: str
    address: str
    agent: str
    current: bool


class Me(msgspec.Struct, frozen=True):
    """The caller, for clients that want to know who they are."""

    name: str
    roles: list[str]
    permissions: list[str]
    password_expired: bool
