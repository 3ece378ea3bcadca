"""How many tries a person may have: a generic cell rate (GCRA) in Redis, one round trip, exact between processes.

Closed when Redis is away: a sign-in needs Redis for its session anyway.
"""

import hashlib
import ipaddress
from typing import Final

import msgspec

from app.storage.redis import Redis, Script

# The theoretical arrival time of the next conforming try, by Redis's own clock. Returns the wait in ms, 0 if taken.
_TAKE: Final = Script("""
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = tat + interval - burst * interval - now
if wait > 0 then return wait end
redis.call('SET', KEYS[1], tat + interval, 'PX', tat + interval - now)
return 0
""")


class Limit(msgspec.Struct, frozen=True):
    """`burst` tries at once, then one every `interval_s` seconds."""

    name: str
    burst: int
    interval_s: float


# Keyed by account and address together: a stranger cannot lock somebody out of an account from elsewhere.
PER_ACCOUNT: Final = Limit("account", burst=5, interval_s=30.0)
PER_ADDRESS: Final = Limit("address", burst=30, interval_s=6.0)


async def take(redis: Redis, limit: Limit, *subject: str) -> float:
    """Use up one try of `subject`; seconds to wait when there is none, else 0. Raises `RedisError`."""
    interval_ms = round(limit.interval_s * 1000)
    return float(await _TAKE.run(redis, [_key(limit, subject)], [interval_ms, limit.burst])) / 1000


async def forget(redis: Redis, limit: Limit, *subject: str) -> None:
    """Give all tries back, after one that was right."""
    await redis.delete(_key(limit, subject))


def network_of(address: str) -> str:
    """What one caller can change at will counts as one: an IPv6 address's /64; other addresses as they are."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address or "unknown"
    if parsed.version == 6:
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _key(limit: Limit, subject: tuple[str, ...]) -> str:
    # Hashed: names are text that a caller chooses, of any length.
    return f"kn:limit:{limit.name}:{hashlib.sha256(chr(0).join(subject).encode()).hexdigest()}"
