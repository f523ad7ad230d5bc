"""The simulated prompt cache."""

from __future__ import annotations

from simulator.asking import Turn
from simulator.cache import PromptCache

FIRST = (Turn("system", "be brief"), Turn("user", "one"))
SECOND = (*FIRST, Turn("assistant", "yes"), Turn("user", "two"))


def test_a_longer_history_reads_what_the_shorter_one_wrote():
    cache = PromptCache()
    prompt, cached, written = cache.serve("a", "m", FIRST, now=0)
    assert (cached, written) == (0, prompt)
    longer, read, rest = cache.serve("a", "m", SECOND, now=1)
    assert (read, rest) == (prompt, longer - prompt)


def test_accounts_and_models_do_not_share():
    cache = PromptCache()
    cache.serve("a", "m", FIRST, now=0)
    assert cache.serve("b", "m", FIRST, now=1)[1] == 0
    assert cache.serve("a", "n", FIRST, now=1)[1] == 0


def test_a_change_in_front_makes_everything_behind_it_new():
    cache = PromptCache()
    cache.serve("a", "m", SECOND, now=0)
    assert cache.serve("a", "m", (Turn("system", "be long"), *SECOND[1:]), now=1)[1] == 0


def test_what_was_not_used_for_its_lifetime_is_gone():
    cache = PromptCache(ttl=300)
    cache.serve("a", "m", FIRST, now=0)
    assert cache.serve("a", "m", FIRST, now=299)[1] > 0
    assert cache.serve("a", "m", FIRST, now=598)[1] > 0
    assert cache.serve("a", "m", FIRST, now=898)[1] == 0


def test_a_short_prompt_is_not_cached_where_there_is_a_least_length():
    cache = PromptCache(least=1024)
    cache.serve("a", "m", FIRST, now=0)
    assert cache.serve("a", "m", FIRST, now=1)[1:] == (0, 0)


def test_the_memory_is_bounded():
    cache = PromptCache(limit=10)
    for number in range(100):
        cache.serve("a", "m", (Turn("user", str(number)),), now=0)
    assert cache.serve("a", "m", (Turn("user", "0"),), now=1)[1] == 0
    assert cache.serve("a", "m", (Turn("user", "99"),), now=1)[1] > 0


def test_every_dialect_reports_what_was_cached_in_its_own_place(client, question):
    question.ask(client, "the same again")
    usage = question.ask(client, "the same again").json()
    places = {
        "chat": lambda: usage["usage"]["prompt_tokens_details"]["cached_tokens"] - usage["usage"]["prompt_tokens"],
        "responses": lambda: usage["usage"]["input_tokens_details"]["cached_tokens"] - usage["usage"]["input_tokens"],
        "anthropic": lambda: usage["usage"]["input_tokens"] + usage["usage"]["cache_creation_input_tokens"],
        "gemini": lambda: (
            usage["usageMetadata"]["cachedContentTokenCount"] - usage["usageMetadata"]["promptTokenCount"]
        ),
    }
    assert places[question.dialect]() == 0
