r"""The Redis keys of a channel, and the Lua scripts that are the only ones to write them.

    kn:{channel}:position  hash: token, generation, epoch, offset, count, and "m:<key>" for the meta
    kn:{channel}:snapshot  hash of the entries; `count` is how many, so that a lost or evicted hash is noticed
    kn:{channel}:history   stream of the last publications; "<offset>-0" is the id, "p" the payload
    kn:{channel}           the pub/sub channel; a message is "<epoch> <offset>\n<payload>"

A message with offset 0 announces that a snapshot was replaced, one with the epoch "-" that the channel was removed.
Each script answers a list that begins with OK, FENCED, LOST or MOVED.
"""

from typing import Final

from app.storage.redis import Script

META: Final = b"m:"
REMOVED: Final = b"-"
TOKEN_KEPT_S: Final = 3600  # how long the fence of a removed channel stands; far longer than a lease can hang

_FENCE: Final = """
local held = redis.call('HMGET', KEYS[1], 'token', 'epoch', 'offset', 'count', 'generation')
if held[1] and tonumber(held[1]) > tonumber(ARGV[1]) then return {'FENCED', held[1]} end
"""

PUBLISH: Final = Script(
    _FENCE
    + """
-- ARGV: token, epoch, offset before, history length, channel, payload, number of sets, key, value ..., removed key ...
if held[2] ~= ARGV[2] then return {'LOST', 'another epoch'} end
if held[3] ~= ARGV[3] then return {'MOVED', held[3]} end
if redis.call('HLEN', KEYS[2]) ~= tonumber(held[4]) then return {'LOST', 'the snapshot'} end
local function each(command, first, last)
  for i = first, last, 1000 do
    redis.call(command, KEYS[2], unpack(ARGV, i, math.min(i + 999, last)))
  end
end
local sets = 7 + 2 * tonumber(ARGV[7])
each('HSET', 8, sets)
each('HDEL', sets + 1, #ARGV)
local offset = tonumber(ARGV[3]) + 1
redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[4], offset .. '-0', 'p', ARGV[6])
redis.call('HSET', KEYS[1], 'offset', offset, 'count', redis.call('HLEN', KEYS[2]))
redis.call('PUBLISH', ARGV[5], ARGV[2] .. ' ' .. offset .. '\\n' .. ARGV[6])
return {'OK', offset}
"""
)

ADMIT: Final = Script(
    _FENCE
    + """
-- ARGV: token. Before a snapshot is loaded: no work for a writer that will be refused.
return {'OK', 0}
"""
)

REPLACE: Final = Script(
    _FENCE
    + """
-- KEYS[4]: the loaded snapshot. ARGV: token, epoch, channel, count, generation, meta key, meta value ...
-- A late try of the same writer must not undo its next one.
if held[1] == ARGV[1] and held[5] and tonumber(held[5]) >= tonumber(ARGV[5]) then
  return {'LOST', 'a later snapshot'}
end
if redis.call('HLEN', KEYS[4]) ~= tonumber(ARGV[4]) then return {'LOST', 'the loaded snapshot'} end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
if tonumber(ARGV[4]) > 0 then
  redis.call('RENAME', KEYS[4], KEYS[2])
  redis.call('PERSIST', KEYS[2])
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'epoch', ARGV[2], 'offset', 0, 'count', ARGV[4],
  'generation', ARGV[5])
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[1], 'm:' .. ARGV[i], ARGV[i + 1]) end
redis.call('PUBLISH', ARGV[3], ARGV[2] .. ' 0\\n')
return {'OK', 0}
"""
)

REMOVE: Final = Script(
    _FENCE
    + """
-- ARGV: token, channel, seconds. The token stays for a while, so that a paused predecessor is refused all the same.
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'token', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[2], '- 0\\n')
return {'OK', 0}
"""
)

RECOVER: Final = Script(
    """
-- ARGV: epoch, offset. The publications after it: all of them or an answer that says why not.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if not held[1] then return {'LOST', 'the channel'} end
if held[1] ~= ARGV[1] then return {'MOVED', held[1]} end
local behind = tonumber(held[2]) - tonumber(ARGV[2])
if behind < 0 then return {'LOST', 'later publications'} end
if behind == 0 then return {'OK'} end
local found = redis.call('XRANGE', KEYS[3], (tonumber(ARGV[2]) + 1) .. '-0', held[2] .. '-0')
if #found ~= behind then return {'MOVED', held[1]} end
local answer = {'OK'}
for i = 1, #found do answer[i + 1] = found[i][2][2] end
return answer
"""
)


def name(channel: str) -> str:
    """The pub/sub channel."""
    return f"kn:{channel}"


def keys(channel: str) -> list[str]:
    """Position, snapshot, history. The braces keep them in one slot of a Redis cluster."""
    return [f"kn:{{{channel}}}:{part}" for part in ("position", "snapshot", "history")]
