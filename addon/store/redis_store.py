"""Records on a Redis or Valkey server, shared by several instances."""

from __future__ import annotations

import contextlib
import itertools
import math
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from ..values.record import Record
from .protocol import StoreError

_TIMEOUT = 1.0  # seconds for one answer of the server; only the background thread waits
_BATCH = 500  # records per script call
_MAX_CHANGES = 50_000  # that an instance may miss without reading everything
_SCAN = 1000
_OFFSET_TTL = 30.0  # seconds for which a measured clock offset holds
_MIN_OFFSET = 2.0  # seconds; a smaller offset counts as none
_MAX_OFFSET = 90 * 86_400.0  # seconds; beyond it one of the clocks is not set
_OWN_CLOCK = frozenset(("rest",))  # kinds with times in their values: all their times stay by the writer's clock

# Merges many records atomically. KEYS: the stream of changes, then the records. ARGV: writer, longest stream, then five
# values for each record.
_MERGE = """
for i = 2, #KEYS do
  local at = 3 + (i - 2) * 5
  local kind, key, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local rank, expires = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local held = redis.call('HMGET', KEYS[i], 'rank', 'expires', 'value')
  local known_rank, known_expires = tonumber(held[1] or ''), tonumber(held[2] or '')
  local newer = not known_rank or rank > known_rank
  if known_rank and rank == known_rank then
    newer = expires > known_expires or (expires == known_expires and value > held[3])
  end
  if newer then
    redis.call('HSET', KEYS[i], 'kind', kind, 'key', key, 'value', value,
      'rank', ARGV[at + 3], 'expires', ARGV[at + 4])
    redis.call('PEXPIREAT', KEYS[i], string.format('%.0f', math.ceil(expires * 1000)))
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'writer', ARGV[1], 'kind', kind, 'key', key,
      'value', value, 'rank', ARGV[at + 3], 'expires', ARGV[at + 4])
  end
end
"""
NO_REDIS = "a redis:// store needs the package redis: pip install 'redis>=5'"
_FIELDS = ("kind", "key", "value", "rank", "expires")


class RedisStore:
    """
    A store on the server of *url*, separate from those of other *space*s.

    Stored times are by the server's clock, so that instances with different clocks agree.

    Raises StoreError if the package `redis` is not installed.
    """

    shared = True

    def __init__(self, url: str, space: str) -> None:
        try:
            import redis
        except ImportError:
            raise StoreError(NO_REDIS) from None
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._server: Any = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
        )
        self._merge = self._server.register_script(_MERGE)
        self._where = f"redis at {urlsplit(url).hostname or 'localhost'}"
        self._prefix = f"patchbay:{{{space}}}:"  # braces: all keys on one node of a cluster
        self._stream = f"{self._prefix}changes"
        self._writer = secrets.token_hex(8)
        self._denied: type[Exception] = redis.ResponseError
        self._seen = ""
        self._offset = 0.0  # seconds by which the server's clock is ahead of ours
        self._measured = -math.inf

    def write(self, records: Sequence[Record], now: float) -> None:
        with self._guarded():
            self._measure(now)
            told = (_moved(record, self._offset) for record in records if record.expires > now)
            for batch in itertools.batched(told, _BATCH):
                keys = [self._stream, *(f"{self._prefix}{record.kind}:{record.key}" for record in batch)]
                self._merge(keys=keys, args=[self._writer, _MAX_CHANGES, *itertools.chain(*map(_values, batch))])

    def news(self, now: float) -> list[Record]:
        with self._guarded():
            self._measure(now)
            told = (_moved(record, -self._offset) for record in self._changes())
            return [record for record in told if record.expires > now]

    def close(self) -> None:
        self._seen = ""
        with contextlib.suppress(*self._errors):
            self._server.close()

    def _measure(self, now: float) -> None:
        if abs(now - self._measured) < _OFFSET_TTL:
            return
        self._measured = now
        with contextlib.suppress(self._denied):  # users may lack the right to the TIME command
            seconds, micros = self._server.time()
            offset = seconds + micros / 1e6 - now
            self._offset = float(round(offset)) if _MIN_OFFSET <= abs(offset) <= _MAX_OFFSET else 0.0

    def _changes(self) -> list[Record]:
        if not self._seen:
            newest = self._server.xrevrange(self._stream, count=1)
            found = sorted(self._everything(), key=lambda record: record.expires)
            self._seen = newest[0][0] if newest else "0-0"
            return found
        told = self._server.xread({self._stream: self._seen}, count=_MAX_CHANGES)
        rows = told[0][1] if told else []
        if rows:
            self._seen = rows[-1][0]
        others = (row for _, row in rows if row.get("writer") != self._writer or not row.get("value"))
        return list(_records(others))

    def _everything(self) -> Iterator[Record]:
        keys = self._server.scan_iter(match=f"{self._prefix}*:*", count=_SCAN)  # not the stream: no second colon
        for some in itertools.batched(keys, _SCAN):
            steps = self._server.pipeline(transaction=False)
            for key in some:
                steps.hgetall(key)
            yield from _records(steps.execute())

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except self._errors as e:  # its text may hold the arguments
            self.close()
            raise StoreError(f"{self._where}: {type(e).__name__}") from e


def _moved(record: Record, seconds: float) -> Record:
    if record.kind in _OWN_CLOCK:
        return record
    return replace(record, rank=record.rank and record.rank + seconds, expires=record.expires + seconds)


def _values(record: Record) -> tuple[str, str, str, str, str]:
    return record.kind, record.key, record.value, repr(record.rank), repr(record.expires)


def _records(rows: Iterable[dict[str, str]]) -> Iterator[Record]:
    for row in rows:
        with contextlib.suppress(KeyError, ValueError):  # expired meanwhile, or of another program
            kind, key, value, rank, expires = (row[name] for name in _FIELDS)
            yield Record(kind, key, value, float(rank), float(expires))
