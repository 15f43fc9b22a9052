"""A read-through cache in Redis that is never stale. It knows keys, bytes and epochs, neither SQL nor HTTP.

scripts     the keys beside an entry, and what happens to them in one step
wire        the scripts over a connection, and their rehearsal
epoch       how long this process may believe the epoch that it read
flights     one load at a time per key and process
breaker     whether Redis is in use, and what must be cleaned before it is again
fenced      the cache itself: read, fence, unfence
hits        hits for the event loop
"""

from service.cache.epoch import EpochSource
from service.cache.fenced import Cache, Cached, Fence
from service.cache.hits import HitReader
from service.cache.scripts import COMMANDS
from service.cache.wire import rehearse

__all__ = ["COMMANDS", "Cache", "Cached", "EpochSource", "Fence", "HitReader", "rehearse"]
