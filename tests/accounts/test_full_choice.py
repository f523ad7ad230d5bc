"""
The choice from what is remembered is the one that a full look makes: at every account, each time.
"""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

from hypothesis import given, strategies as st

from patchbay import keyed
from patchbay.accounts import selection
from patchbay.accounts.lease import Ask, Lease
from patchbay.accounts.pool import Accounts
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config, QueueSettings, SessionSettings
from patchbay.values.account import Account, Models, Secret
from patchbay.values.answer import Head
from patchbay.values.decision import Identity, Outcome
from patchbay.values.http import Client, Headers, Origin

ORIGINS = (Origin("https", "one.example", 443), Origin("https", "two.example", 443), None)
MODELS = (Models(), Models(allow=("m*",)), Models(deny=("n",)), Models(aliases={"m": "n"}))
OUTCOMES = (
    *(Outcome(kind) for kind in ("ok", "ok", "rate", "overload", "server", "permission", "model", "cancelled")),
    Outcome("auth", scope="account"), Outcome("quota", scope="account"), Outcome("rate", until=900.0),
    Outcome("request", scope="exchange"),
)  # fmt: skip
LITTLE = Head(200, Headers([("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "1"),
                            ("x-ratelimit-reset-requests", "60s")]))  # fmt: skip


class Full(Accounts):
    """Looks at every account for each request: remembers no pool, and no home comes first."""

    def _at_home(self, ask, now):
        return None

    def _use(self, config):
        super()._use(config)
        look = self._eligibility

        def options(ask, now):
            found = ((account, look.origin(ask, account)) for account in config.accounts)
            return [look.option(ask, account, origin, now) for account, origin in found if origin is not None]

        look.options = options
        self.health.low = lambda now: {account.id for account in config.accounts}  # type: ignore[method-assign]


def by_formula(seed, candidates, state):
    """The order of a rendezvous, in one line for each account."""

    def place(account):
        digest = keyed.digest(state.key, seed.encode(), account.id.encode(), size=8)
        unit = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
        return account.weight / math.log(unit), account.id

    return sorted(candidates, key=place) if seed else selection.least_busy(seed, candidates, state)


def an_account(draw: st.DrawFn, number: int) -> Account:
    return Account(
        f"a{number}",
        PRESETS[draw(st.sampled_from(["openai", "anthropic", "generic"]))],
        Secret("literal", f"key-{number}"),
        origin=draw(st.sampled_from(ORIGINS)),
        enabled=draw(st.sampled_from([True, True, True, False])),
        weight=draw(st.sampled_from([1.0, 2.0, 0.0])),
        priority=draw(st.sampled_from([0, 0, 1])),
        quota_group=draw(st.sampled_from(["", "", "shared"])),
        max_concurrent=draw(st.sampled_from([0, 0, 1, 2])),
        rpm=draw(st.sampled_from([0, 0, 2])),
        slots=draw(st.sampled_from([0, 0, 1])),
        serialize=draw(st.sampled_from(["none", "thread", "thread", "account", "model_switch"])),
        models=draw(st.sampled_from(MODELS)),
    )


@st.composite
def pools(draw: st.DrawFn) -> Config:
    accounts = tuple(an_account(draw, number) for number in range(draw(st.integers(1, 7))))
    strategy = draw(st.sampled_from(sorted(selection.STRATEGIES)))
    sessions = SessionSettings(on_error=draw(st.sampled_from(["keep", "clear"])))
    return Config(accounts, strategy=strategy, sessions=sessions, queue=QueueSettings(preferred_wait=1.0))


def an_ask(random: Random, number: int, before: Lease | None) -> Ask:
    names = [f"a{each}" for each in range(7)]
    session = f"{random.randrange(3):032x}" if random.random() < 0.9 else ""
    owner = frozenset(random.sample(names, 2)) if random.random() < 0.1 else None
    asked = Ask(
        family=random.choice(["openai", "openai", "anthropic", ""]),
        destination=random.choice([None, None, *ORIGINS]),
        reverse=random.choice([None, ORIGINS[0]]),
        model=random.choice(["m", "m", "m", "n", "n(high)", "", "m" * 2000]),
        identity=Identity(session, session, owner=owner, binds=random.random() < 0.9, home=random.choice(["", "a1"])),
        client=random.choice([Client(), Client(b"s" * 16, providers=("openai",), key=b"k")]),
        pin=random.choice(names) if random.random() < 0.1 else "",
        websocket=random.random() < 0.1,
        tokens=random.choice([1, 100]),
        waiter=str(number),
        others=("n",) if random.random() < 0.1 else (),
        path=random.choice(["", "", "", "/v1/files"]),
        endpoint=random.choice(["", "", "/responses"]),
        unreadable="it is compressed" if random.random() < 0.3 else "",
    )
    if before is not None and random.random() < 0.3:  # the next attempt of the same exchange
        name = before.account.id
        return replace(before.ask, tried=before.ask.tried | {name}, retry_home=random.choice(["", name]))
    return asked


def told(choice: object, *, at_home: bool) -> object:
    if not isinstance(choice, Lease):
        return choice
    listed = [each for each in choice.candidates if not (at_home and each.reason)]
    return replace(choice, candidates=tuple(listed))


@given(config=pools(), seed=st.integers(0, 2**32))
def test_a_choice_from_what_is_remembered_is_that_of_a_full_look(config: Config, seed: int) -> None:
    ours, full = Accounts(config, bytes(32), Random(1)), Full(config, bytes(32), Random(1))
    if config.strategy == "rendezvous":
        full._strategy = selection.Strategy(by_formula, by_formula, bounded=True)
    random, now, last = Random(seed), 0.0, None
    under_way: list[tuple[Lease, Lease]] = []
    for number in range(40):
        if number % 10 == 9:  # a command switches an account off
            switched = config.without({f"a{random.randrange(7)}"})
            for of in ours, full:
                of.reload(switched)
        now += random.choice([0.0, 0.5, 3.0, 40.0, 1000.0])
        asked = an_ask(random, number, last)
        found, expected = ours.choose(asked, now), full.choose(asked, now)
        at_home = isinstance(found, Lease) and found.binding == "hit"
        assert told(found, at_home=at_home) == told(expected, at_home=at_home)
        last = None
        if isinstance(found, Lease) and isinstance(expected, Lease):
            under_way.append((found, expected))
            last = found
        elif random.random() < 0.8:
            for of in ours, full:
                of.leave_queue(asked.waiter)
        while under_way and random.random() < 0.6:
            ended, outcome = under_way.pop(random.randrange(len(under_way))), random.choice(OUTCOMES)
            for of, lease in zip((ours, full), ended, strict=True):
                if outcome.kind == "ok":
                    of.record_head(lease, LITTLE if lease.ticket % 3 == 0 else Head(200, Headers()), now)
                    of.first_success(lease, now)
                of.record_outcome(lease, outcome, now)
                of.release(lease)
