"""The four keys of an entry, and the Lua scripts that change them in one step.

For an entry under K: K the payload, {K}:stamp what has to be true for it to be trusted, {K}:lease the token of the one
reader that may fill it, {K}:fence the tokens of the writers that are about to commit or have just done so.
"""

import re
from dataclasses import dataclass
from hashlib import sha1

# A reader that is killed between LEASE and FILL keeps others from filling for this long.
LEASE_SECONDS = 2.0
# A writer that is killed after FENCE keeps readers from filling for this long. What the scheme cannot bar, and the
# time to live of an entry bounds: a COMMIT that takes longer than this and whose writer is then killed; a fence that
# is lost to an old snapshot of Redis and whose writer is killed before UNFENCE.
FENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Script:
    """Lua, and the digest under which Redis remembers it. Every script takes the four keys of one entry."""

    source: str
    digest: str

    @classmethod
    def of(cls, source: str) -> "Script":
        """The script of `source`."""
        return cls(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


def entry_keys(key: str) -> tuple[str, str, str, str]:
    """The four keys of the entry under `key`; the braces put them into its slot of a Redis Cluster."""
    return key, f"{{{key}}}:stamp", f"{{{key}}}:lease", f"{{{key}}}:fence"


# Somebody else's value under one of our keys would be refused with WRONGTYPE, or stay for ever: it goes.
_NAMES = """
local payload, stamp, lease, fence = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function drop_foreign(key, kind)
    local found = redis.call('TYPE', key).ok
    if found ~= 'none' and (found ~= kind or redis.call('PTTL', key) < 0) then redis.call('DEL', key) end
end
local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

# ARGV: trusted stamp, token, lease in ms. Answers {'hit', payload}, {'fenced'}, {'busy'} or {'lease'}.
# Nothing is written before the SET: Redis refuses a script for want of memory only at its first write.
LEASE = Script.of(
    _NAMES
    + """
local entry = redis.call('MGET', payload, stamp)
if entry[1] and entry[2] == ARGV[1] then return {'hit', entry[1]} end
drop_foreign(fence, 'zset')
drop_foreign(lease, 'string')
if redis.call('ZCOUNT', fence, '(' .. now_ms(), '+inf') > 0 then return {'fenced'} end
if redis.call('SET', lease, ARGV[2], 'NX', 'PX', ARGV[3]) then return {'lease'} end
return {'busy'}
"""
)

# ARGV: token, payload, stamp, time to live in ms. Answers whether the token still had the lease.
FILL = Script.of(
    _NAMES
    + """
if redis.call('GET', lease) ~= ARGV[1] then return 0 end
redis.call('SET', payload, ARGV[2], 'PX', ARGV[4])
redis.call('SET', stamp, ARGV[3], 'PX', ARGV[4])
redis.call('DEL', lease)
return 1
"""
)

# ARGV: token. For the reader that has a lease and nothing to fill.
RELEASE = Script.of(
    _NAMES
    + """
if redis.call('GET', lease) == ARGV[1] then redis.call('DEL', lease) end
return 1
"""
)

# ARGV: token, fence in ms. The DEL comes first: it works when Redis is out of memory, and lets the ZADD work too.
FENCE = Script.of(
    _NAMES
    + """
redis.call('DEL', payload, stamp, lease)
drop_foreign(fence, 'zset')
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', fence, '-inf', now)
redis.call('ZADD', fence, now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', fence, ARGV[2])
return 1
"""
)

# ARGV: token; one that never was a fence's only drops the entry.
UNFENCE = Script.of(
    _NAMES
    + """
redis.call('DEL', payload, stamp, lease)
drop_foreign(fence, 'zset')
redis.call('ZREM', fence, ARGV[1])
return 1
"""
)

# What a user of Redis has to be allowed.
COMMANDS = sorted(
    {"eval", "evalsha", "info", "mget"}
    | {
        name.lower()
        for script in (LEASE, FILL, RELEASE, FENCE, UNFENCE)
        for name in re.findall(r"redis\.call\('(\w+)'", script.source)
    }
)
