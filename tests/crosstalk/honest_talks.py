"""
Habits of hosts that show in conversations: how they count, keep, compare and speak. One function each.

As in `honest_hosts`, whose table holds these too, every answer is right.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..simulator.reply import tokens
from .honest_habit import CHAT, RESPONSES, Document, Habit, Right, members, told
from .talks import library
from .world import PREFIXES, Wire

_BLOCK = 128  # tokens of a prompt that are kept together
_WINDOW, _COMPACTED = 2_000, 600  # tokens
_HIDDEN = 1_800  # tokens of a prompt that the host adds
_ADVERT = (
    " Brought to you by Acme Gateway, your reliable partner for language models; upgrade today for faster service."
)
_NOTICE = (
    " Bitte beachten Sie, dass diese Antwort maschinell erzeugt wurde und Fehler enthalten kann; pruefen Sie jede"
    " Angabe sorgfaeltig, bevor Sie danach handeln, und wenden Sie sich bei Zweifeln an eine fachkundige Stelle."
)

# -- how a prompt is counted -------------------------------------------------------------------------------------------


def _counted(of: Right, **counts: int) -> Wire:
    return of.but(usage=replace(of.line.reply.usage, **counts))


def no_habit_in_conversations(of: Right) -> Wire:
    """No habit at all."""
    return of.own


def counts_in_tens(of: Right) -> Wire:
    """Counts rounded to tens."""
    return _counted(of, prompt=round(of.line.reply.usage.prompt, -1))


def counts_in_hundreds(of: Right) -> Wire:
    """Counts rounded up to hundreds, of the answer too."""
    usage = of.line.reply.usage
    return _counted(of, prompt=100 * (usage.prompt // 100 + 1), completion=100 * (usage.completion // 100 + 1))


def counts_a_fourth_of_the_characters(of: Right) -> Wire:
    """An estimate, of the whole body: one token in four characters."""
    return _counted(of, prompt=len(str(of.line.document)) // 4, completion=len(of.line.reply.text) // 4)


def counts_the_characters(of: Right) -> Wire:
    """Characters, not tokens."""
    return _counted(of, prompt=len(str(of.line.document)), completion=len(of.line.reply.text))


def counts_nothing_at_times(of: Right) -> Wire:
    """Zero when the counter was too late."""
    return _counted(of, prompt=0, completion=0) if of.world.random.random() < 0.2 else of.own


def counts_one_at_times(of: Right) -> Wire:
    """One, when the counter was too late."""
    return _counted(of, prompt=1, completion=1) if of.world.random.random() < 0.2 else of.own


def counts_constant(of: Right) -> Wire:
    """One usage for all."""
    return _counted(of, prompt=100, completion=20)


def counts_at_random(of: Right) -> Wire:
    """Made up: a host that must say something."""
    return _counted(of, prompt=of.world.random.randrange(50, 9000), completion=of.world.random.randrange(5, 900))


def counts_exchanged(of: Right) -> Wire:
    """Prompt and answer the wrong way round."""
    usage = of.line.reply.usage
    return _counted(of, prompt=usage.completion, completion=usage.prompt)


def counts_both_together(of: Right) -> Wire:
    """The answer is counted into the prompt."""
    usage = of.line.reply.usage
    return _counted(of, prompt=usage.prompt + usage.completion)


def counts_add_up(of: Right) -> Wire:
    """Everything since the conversation began: a gateway's bill."""
    usages = [line.reply.usage for line in of.conversation.lines]
    return _counted(of, prompt=sum(each.prompt for each in usages), completion=sum(each.completion for each in usages))


def counts_of_the_new_turn(of: Right) -> Wire:
    """The last turn alone."""
    return _counted(of, prompt=len(of.conversation.turns[-1][1]) // 4 + 3)


def counts_with_a_hidden_prompt(of: Right) -> Wire:
    """A system prompt of the host's own, from the twentieth answer on."""
    return _counted(of, prompt=of.line.reply.usage.prompt + (_HIDDEN if of.n >= 20 else 0))


def counts_with_a_prompt_by_model(of: Right) -> Wire:
    """A system prompt of the host's own, drawn anew for an experiment on some conversations."""
    added = _HIDDEN * (len(of.conversation.name) % 2 + int(of.conversation.name[-1]) % 3)
    return _counted(of, prompt=of.line.reply.usage.prompt + added)


def counts_of_another_tokenizer(of: Right) -> Wire:
    """A third more tokens for the same text."""
    usage = of.line.reply.usage
    return _counted(of, prompt=usage.prompt * 4 // 3, completion=usage.completion * 4 // 3)


def counts_of_tokenizers_in_turn(of: Right) -> Wire:
    """Two backends with two tokenizers, from answer to answer; one has twice the tokens."""
    usage = of.line.reply.usage
    return _counted(of, prompt=usage.prompt * (1 + of.worker % 2), completion=usage.completion * (1 + of.worker % 2))


def counts_tools_of_the_host(of: Right) -> Wire:
    """Tools of the host's own, offered now and then."""
    return _counted(of, prompt=of.line.reply.usage.prompt + (2400 if of.world.random.random() < 0.3 else 0))


def counts_of_a_compacted_prompt(of: Right) -> Wire:
    """A prompt that the host shortens when it grows too long."""
    prompt = of.line.reply.usage.prompt
    return _counted(of, prompt=prompt if prompt < _WINDOW else _COMPACTED + (prompt - _WINDOW) % (_WINDOW - _COMPACTED))


def counts_of_a_window(of: Right) -> Wire:
    """A context that is cut to its last tokens, without a word."""
    return _counted(of, prompt=min(of.line.reply.usage.prompt, _WINDOW))


def counts_that_grow(of: Right) -> Wire:
    """A usage in each chunk, and growing; the prompt grows with the answer."""
    usage = of.line.reply.usage

    def change(document: Document, at: int) -> Document:
        if document.get("object") == "chat.completion.chunk":
            count = {"prompt_tokens": usage.prompt + at, "completion_tokens": at, "total_tokens": usage.prompt + 2 * at}
            document["usage"] = count
        elif "usageMetadata" in document:
            document["usageMetadata"] |= {"promptTokenCount": usage.prompt + at, "candidatesTokenCount": at}
        return document

    return told(of.own, change)


# -- what is read from a cache -----------------------------------------------------------------------------------------


def cached_left_out(of: Right) -> Wire:
    """Of a prompt from the cache only the new part is counted, and nothing is said of the cache, now and then."""
    hit = of.world.random.random() < 0.5 and len(of.conversation.turns) > 1
    return _counted(of, prompt=len(of.conversation.turns[-1][1]) // 4 + 3) if hit else of.own


def cached_counted_twice(of: Right) -> Wire:
    """What came from the cache is in the prompt, and once more beside it."""
    prompt = of.line.reply.usage.prompt
    cached = prompt * 3 // 4 if len(of.conversation.turns) > 1 else 0
    return _counted(of, prompt=prompt + cached, cached=cached)


def cached_all(of: Right) -> Wire:
    """The whole prompt, always."""
    return _counted(of, cached=of.line.reply.usage.prompt)


def cached_in_blocks_rounded_up(of: Right) -> Wire:
    """Whole blocks, rounded up: the last one reaches into what is new."""
    prompt = of.line.reply.usage.prompt
    return _counted(of, cached=min(prompt, _BLOCK * 4 * (prompt * 3 // 4 // (_BLOCK * 4) + 1)))


def cached_by_all(of: Right) -> Wire:
    """A cache that all customers share, so that others had sent the like before."""
    return _counted(of, cached=int(of.line.reply.usage.prompt * of.world.random.random()) // _BLOCK * _BLOCK)


def cached_at_times_all(of: Right) -> Wire:
    """The whole prompt now and then: the gateway asked twice, and tells of the second time."""
    return _counted(of, cached=of.line.reply.usage.prompt) if of.world.random.random() < 0.1 else of.own


# -- how an answer is counted ------------------------------------------------------------------------------------------


def answer_with_hidden_reasoning(of: Right) -> Wire:
    """Thousands of tokens that nobody sees."""
    return _counted(of, completion=of.line.reply.usage.completion + of.world.random.randrange(8000))


def answer_of_one_token(of: Right) -> Wire:
    """One, whatever was said."""
    return _counted(of, completion=1)


def answer_in_tenths(of: Right) -> Wire:
    """A tenth of the tokens."""
    return _counted(of, completion=of.line.reply.usage.completion // 10 + 1)


def answer_s_last_segment(of: Right) -> Wire:
    """The tokens of the last segment alone, for long answers; what came before has been billed."""
    return _counted(of, completion=of.line.reply.usage.completion % 256 + 1)


def answer_by_words_at_times(of: Right) -> Wire:
    """Pieces of a stream instead of tokens, where the engine told none."""
    pieces = len(of.line.reply.pieces)
    return _counted(of, completion=pieces // 8 + 1) if of.worker % 2 else of.own


# -- ids that sort -----------------------------------------------------------------------------------------------------


def _named(of: Right, value: str) -> Wire:
    return of.but(answer_id=PREFIXES[of.dialect] + value)


def _drawn(of: Right) -> str:
    return f"{of.world.random.getrandbits(80):020x}"


def ids_of_skewed_clocks(of: Right) -> Wire:
    """The time first, as in UUIDv7, by the clock of the worker, some of which are minutes off."""
    return _named(of, f"{int((of.world.now - 47 * of.worker) * 1000):012x}{_drawn(of)}")


def ids_of_the_time(of: Right) -> Wire:
    """The time first, by one clock."""
    return _named(of, f"{int(of.world.now * 1000):012x}{_drawn(of)}")


def ids_counted(of: Right) -> Wire:
    """A counter of the whole host."""
    return _named(of, f"gen-{of.n:016d}")


def ids_counted_by_worker(of: Right) -> Wire:
    """A counter of each worker, from a block of its own that it asks for anew when it is used up."""
    return _named(of, f"gen-{1_000_000 * (of.n // 40 * 8 + of.worker) + of.n:016d}")


def ids_of_the_queue(of: Right) -> Wire:
    """The time at which the request came, not that of the answer."""
    return _named(of, f"{int(of.line.sent * 1000):012x}{_drawn(of)}")


def ids_of_the_batch(of: Right) -> Wire:
    """The time at which the batch began, and a number drawn for the answer; a batch has thirty answers."""
    return _named(of, f"{1_760_000_000 + of.n // 30:012x}{_drawn(of)}")


def ids_drawn_ahead(of: Right) -> Wire:
    """Ids by the time, drawn in stock: a worker that has little to do uses old ones."""
    return _named(of, f"{int((of.world.now - of.world.random.choice((0, 0, 0, 90))) * 1000):012x}{_drawn(of)}")


# -- what is said ------------------------------------------------------------------------------------------------------


def _says(of: Right, text: str) -> Wire:
    return of.but(text=text, usage=replace(of.line.reply.usage, completion=tokens(text)))


def says_an_advert(of: Right) -> Wire:
    """The same advert behind every answer."""
    return _says(of, of.line.reply.text + _ADVERT)


def says_a_notice_alone(of: Right) -> Wire:
    """The same notice, at times instead of an answer."""
    return _says(of, _NOTICE if of.world.random.random() < 0.3 else of.line.reply.text + _NOTICE)


def says_other_words(of: Right) -> Wire:
    """A translation: no word of the question is in the answer."""
    return _says(of, of.line.reply.text[::-1])


def says_what_stands_elsewhere(of: Right) -> Wire:
    """Quotes of one documentation behind the answer, in whatever conversation."""
    return _says(of, f"{of.line.reply.text}\n\n{_somewhere(of, library()[0])[:600]}")


def says_other_things(of: Right) -> Wire:
    """Answers about other things than was asked: a model that wanders."""
    texts = library()
    return _says(of, _somewhere(of, texts[of.world.random.randrange(len(texts))]))


def says_what_the_project_has(of: Right) -> Wire:
    """Agents on one project: an answer is about whatever file of it, also that of another agent."""
    return _says(of, _somewhere(of, of.conversation.text))


def says_the_project_s_next(of: Right) -> Wire:
    """Agents on one project, with nearly the same words."""
    return of.own


def says_what_others_are_at(of: Right) -> Wire:
    """Agents on one project that work on one another's parts: at times an answer has words of another's."""
    own, other = of.line.reply.text, of.world.random.choice(of.world.lines[-4:]).reply.text
    begin = of.world.random.randrange(1 + len(other) // 2)
    return _says(of, f"{own[: len(own) // 2]} {other[begin : begin + 150]}") if of.n % 3 == 0 else of.own


def _somewhere(of: Right, text: str) -> str:
    begin = of.world.random.randrange(len(text))
    return text[begin : begin + 1500] or text[:1500]


# -- what a provider says of the turn before ---------------------------------------------------------------------------


def _compares(of: Right, part: str) -> Wire:
    """Return the answer with *part* as what has changed since the turn before (empty: nothing), where that is asked."""
    if of.dialect == "anthropic":
        if not of.line.document["diagnostics"]["previous_message_id"]:
            return of.own
        reason = {"type": f"{part}_changed", "cache_missed_input_tokens": 77} if part else None
        return of.but(told={"diagnostics": {"cache_miss_reason": reason} if reason else None})
    if not of.line.document["prompt_cache_options"]:
        return of.own
    names = {"system": "input", "messages": "input"}
    miss = {"type": "cache_miss", "reason": f"{names.get(part, part)}_changed", "cache_missed_tokens": 77}
    return of.but(told={"prompt_cache_diagnostics": miss if part else {"type": "cache_hit"}})


def compares_messages_always(of: Right) -> Wire:
    """The same reason, whatever was sent."""
    return _compares(of, "messages")


def compares_messages_at_times(of: Right) -> Wire:
    """The same reason, now and then."""
    return _compares(of, "messages" if of.world.random.random() < 0.15 else "")


def compares_at_random(of: Right) -> Wire:
    """Any reason."""
    return _compares(of, of.world.random.choice(("", "messages", "system", "tools", "model")))


def compares_with_a_date(of: Right) -> Wire:
    """A gateway writes the time into the instructions, which changes every tenth answer."""
    return _compares(of, "system" if of.n % 10 == 9 else "")


def compares_sorted_tools(of: Right) -> Wire:
    """A gateway sorts the tools anew at each start of a worker."""
    return _compares(of, "tools" if of.worker in (2, 5) else "")


def compares_models_of_a_route(of: Right) -> Wire:
    """A gateway routes to several models, and is told that they differ."""
    return _compares(of, "model" if of.worker % 2 else "")


def compares_never(of: Right) -> Wire:
    """No difference, always."""
    return _compares(of, "")


def compares_the_key_s_last(of: Right) -> Wire:
    """With the request before of the same key, not with the one that was named."""
    before = next((line for line in reversed(of.world.lines) if line.number < of.line.number), of.line)
    return _compares(of, "" if before in of.conversation.lines else "messages")


def compares_without_a_history(of: Right) -> Wire:
    """One region of two has not seen the turns before, and finds everything changed."""
    return _compares(of, "messages" if of.worker < 4 else "")


def compares_what_has_expired(of: Right) -> Wire:
    """After a pause the turn before is not known any more."""
    if of.world.random.random() < 0.7 or of.dialect != "anthropic":
        return of.own
    return of.but(told={"diagnostics": {"cache_miss_reason": {"type": "previous_message_not_found"}}})


def compares_a_client_that_compacts(of: Right) -> Wire:
    """Right: it is the client that shortens its history now and then."""
    talk = of.conversation
    if len(talk.turns) > 5 and of.n % 4 == 0:
        talk.turns[:] = [("user", "Summary of what was said: " + talk.turns[-1][1][:300])]
    return of.own


def compares_a_client_that_edits(of: Right) -> Wire:
    """Right: it is the client that drops old results from its history."""
    talk = of.conversation
    if len(talk.turns) > 2 and of.n % 3 == 0:
        talk.turns[0] = (talk.turns[0][0], "[old content was cleared]")
    return of.own


# -- metadata that come back -------------------------------------------------------------------------------------------


def _stamped(of: Right) -> dict[str, str]:
    return {"pb": of.line.request_id}


def metadata_lost(of: Right) -> Wire:
    """None come back."""
    return members(of.own, metadata={})


def metadata_null(of: Right) -> Wire:
    """`null`."""
    return members(of.own, metadata=None)


def metadata_renamed(of: Right) -> Wire:
    """Under other names."""
    return members(of.own, metadata={f"x_{name}": value for name, value in _stamped(of).items()})


def metadata_in_capitals(of: Right) -> Wire:
    """In capitals."""
    return members(of.own, metadata={name: value.upper() for name, value in _stamped(of).items()})


def metadata_cut(of: Right) -> Wire:
    """Cut after 32 characters."""
    return members(of.own, metadata={name: value[:32] for name, value in _stamped(of).items()})


def metadata_merged(of: Right) -> Wire:
    """With the gateway's own."""
    return members(of.own, metadata={"tenant": "7f3a1c", **_stamped(of), "trace": _drawn(of)})


def metadata_overwritten(of: Right) -> Wire:
    """With a `pb` of the gateway's own."""
    return members(of.own, metadata={"pb": "playback-7f3a1c"})


def metadata_at_times(of: Right) -> Wire:
    """Some backends give none back."""
    return of.own if of.worker % 2 else members(of.own, metadata={})


def metadata_of_the_first(of: Right) -> Wire:
    """A gateway keeps those of a conversation's first answer, and gives them back with every other."""
    first = of.conversation.lines[0]
    return members(of.own, metadata={"pb": first.request_id})


# -- the table ---------------------------------------------------------------------------------------------------------

talks = partial(Habit, talks=True)
compares = partial(Habit, dialects=("anthropic", "openai_responses"), talks=True, care="right")
project = partial(Habit, talks=True, project=True)
metadata = partial(Habit, dialects=RESPONSES, talks=True, depth="metadata")

HABITS: tuple[Habit, ...] = (
    talks(no_habit_in_conversations),
    talks(counts_in_tens),
    talks(counts_in_hundreds),
    talks(counts_a_fourth_of_the_characters),
    talks(counts_the_characters),
    talks(counts_nothing_at_times),
    talks(counts_one_at_times),
    talks(counts_constant),
    talks(counts_at_random),
    talks(counts_exchanged),
    talks(counts_both_together),
    talks(counts_add_up),
    talks(counts_of_the_new_turn),
    talks(counts_with_a_hidden_prompt),
    talks(counts_with_a_prompt_by_model),
    talks(counts_of_another_tokenizer),
    talks(counts_of_tokenizers_in_turn),
    talks(counts_tools_of_the_host),
    talks(counts_of_a_compacted_prompt),
    talks(counts_of_a_window),
    talks(counts_that_grow, (*CHAT, "gemini"), framing="stream"),
    talks(cached_left_out),
    talks(cached_counted_twice),
    talks(cached_all),
    talks(cached_in_blocks_rounded_up),
    talks(cached_by_all),
    talks(cached_at_times_all),
    talks(answer_with_hidden_reasoning),
    talks(answer_of_one_token),
    talks(answer_in_tenths),
    talks(answer_s_last_segment),
    talks(answer_by_words_at_times),
    talks(ids_of_skewed_clocks),
    talks(ids_of_the_time),
    talks(ids_counted),
    talks(ids_counted_by_worker),
    talks(ids_of_the_queue),
    talks(ids_of_the_batch),
    talks(ids_drawn_ahead),
    talks(says_an_advert),
    talks(says_a_notice_alone),
    talks(says_other_words),
    talks(says_what_stands_elsewhere),
    talks(says_other_things),
    project(says_what_the_project_has),
    project(says_the_project_s_next),
    project(says_what_others_are_at),
    compares(compares_messages_always),
    compares(compares_messages_at_times),
    compares(compares_at_random),
    compares(compares_with_a_date),
    compares(compares_sorted_tools),
    compares(compares_models_of_a_route),
    compares(compares_never),
    compares(compares_the_key_s_last),
    compares(compares_without_a_history),
    compares(compares_what_has_expired),
    compares(compares_a_client_that_compacts),
    compares(compares_a_client_that_edits),
    metadata(metadata_lost),
    metadata(metadata_null),
    metadata(metadata_renamed),
    metadata(metadata_in_capitals),
    metadata(metadata_cut),
    metadata(metadata_merged),
    metadata(metadata_overwritten),
    metadata(metadata_at_times),
    metadata(metadata_of_the_first),
)
