"""What names a conversation where neither an id nor a served history does, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from patchbay.identity import truncated_history
from patchbay.identity.history import conversation_of
from patchbay.identity.lineage import Lineage
from patchbay.identity.seeds import Seeds
from patchbay.identity.truncated_history import ServedRequest, TruncatedHistories
from patchbay.ledger import Entry, Ledger

from .shapes import COMPACTIONS, GEMINI as SIM_GEMINI, body
from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, Teller, answered, chat, request

ASK = "Your task is to create a detailed summary of the conversation so far."
SUMMARY = (
    "The user is porting a parser of configuration files to Rust. Done: the lexer, the grammar of tables, 14 tests.\n"
    "Open: inline tables fail when a key is quoted; the user wants the error to name the line and the column of it.\n"
    "Next: look at src/inline.rs, then at the benchmark, which must not get slower than 40 ms for the large file."
)
OTHER = (
    "The user plans a garden of 40 square metres. Done: a list of shrubs which take shade, and a sketch of the paths.\n"
    "Open: whether the pond gets a pump; the user is afraid of the noise and would rather have more plants in there."
)
CONTINUED = "This session is being continued from a previous conversation. The summary below covers it:\n{}"


def talk(teller, opening="help me port a parser", answer="Gladly. Which files?", account="a", path=CHAT):
    """Hold one turn; return its identity and the texts so far."""
    identity = teller.serve(path, chat(opening), answer=answered(answer), account=account)
    return identity, [opening, answer]


def compacted(teller, summary=SUMMARY, account="a", **more):
    """Hold one turn, and let it be summarised."""
    identity, texts = talk(teller, account=account, **more)
    teller.serve(CHAT, chat(*texts, ASK), answer=answered(summary), account=account)
    return identity


# -- compaction ----------------------------------------------------------------------------------------------------

WRAPPED = {
    "as it is": "{}",
    "in tags": "<state_snapshot>\n{}\n</state_snapshot>",
    "in Claude Code's words": CONTINUED,
    "in Codex' words": "Another language model started to solve this problem and produced a summary of it.\n{}",
    "with the next question": "## Conversation summary\n\n{}\n\n---\nNow look at the benchmark.",
    "in a document": "# Project\n\nRead this first.\n\n<summary>{}</summary>\n\n# Task\nGo on with the benchmark.",
    "without a word": "{} Go on, please.",
}


@pytest.mark.parametrize("way", WRAPPED)
def test_a_history_that_begins_with_our_summary_goes_on_with_its_conversation(way):
    """I2: the summary of a conversation, however it is wrapped, is the conversation."""
    teller = Teller()
    before = compacted(teller, account="b")
    after = teller.serve(CHAT, chat(WRAPPED[way].format(SUMMARY)), answer=answered("On it."), account="b")
    later = teller.ask(CHAT, chat(WRAPPED[way].format(SUMMARY), "On it.", "and?"))

    assert (after.affinity, after.home, after.strength) == (before.affinity, "b", "derived")
    assert later.affinity == before.affinity


def test_words_of_a_client_say_that_a_quote_is_a_summary():
    """I2: an answer that was asked for in words nobody knows, in a wrapping that speaks of a summary."""
    teller = Teller()
    before, _ = talk(teller, "Schreib alles auf.", SUMMARY)

    assert teller.ask(CHAT, chat(CONTINUED.format(SUMMARY))).affinity == before.affinity


def test_a_message_that_is_our_answer_and_nothing_else_goes_on_with_it():
    """I2: no word around it is needed, and 40 characters are enough."""
    teller = Teller()
    before, _ = talk(teller, "Schreib alles auf.", "Parser is done, the benchmark is not. Next is src/inline.rs.")

    after = teller.ask(CHAT, chat("  Parser is done, the benchmark\n is not. Next is src/inline.rs.\n"))
    assert after.affinity == before.affinity


@pytest.mark.parametrize("shape", [name for name in COMPACTIONS if name != "unknown words"])
def test_each_client_compacts_in_its_own_words(shape):
    """I2: the first request after a compaction, of each client."""
    shape, teller = COMPACTIONS[shape], Teller()
    texts = [("user", "help me port a parser"), ("assistant", "Gladly. Which files?")]
    first = teller.serve(shape.path, body(shape.path, texts[:1], shape.system), answer=_answer(shape.path, texts[1][1]))
    told = shape.answer(SUMMARY)
    longer = [*texts, ("user", "all of them"), ("assistant", OTHER)]
    teller.serve(shape.path, body(shape.path, longer[:3], shape.system), answer=_answer(shape.path, OTHER))
    asked = shape._asking(longer)
    teller.serve(shape.path, asked, answer=_answer(shape.path, told))

    again = body(shape.path, [*shape.begin(longer, told), ("user", "what is next?")], shape.system)
    assert teller.ask(shape.path, again).affinity == first.affinity


def _answer(path, text):
    if path == MESSAGES:
        return {"type": "message", "content": [{"type": "text", "text": text}]}
    if path == RESPONSES:
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        return {"object": "response", "output": [item]}
    if path in (GEMINI, SIM_GEMINI):
        return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}
    return answered(text)


def test_a_summary_between_long_reminders_is_found():
    """I2: Claude Code puts what a project says of itself before it, in blocks of their own."""
    teller = Teller()
    before = compacted(teller)
    reminder = f"<system-reminder>\n{'Always run the tests, and mind the line length. ' * 900}\n</system-reminder>"
    content = [{"type": "text", "text": text} for text in (reminder, CONTINUED.format(SUMMARY), reminder, "go on")]

    assert teller.ask(MESSAGES, {"messages": [{"role": "user", "content": content}]}).affinity == before.affinity


def test_a_summary_in_the_instructions_counts_as_well():
    """I2: LangChain keeps the summary in the system message."""
    teller = Teller()
    before = compacted(teller)
    told = {"role": "system", "content": f"You are kind.\nCurrent conversation:\n{SUMMARY}"}

    assert teller.ask(CHAT, {"messages": [told, *chat("what is next?")["messages"]]}).affinity == before.affinity


def test_the_thread_of_a_compacted_history_is_its_own_and_stays():
    """I2: the conversation is the same, the history is another one."""
    teller = Teller()
    before = compacted(teller)
    told = ["<summary>" + SUMMARY, "On it.", "and?", "Done.", "and then?"]
    after = [teller.serve(CHAT, chat(*told[:n]), answer=answered(told[n])) for n in (1, 3)]
    after.append(teller.ask(CHAT, chat(*told)))

    assert len({each.thread for each in after}) == 1
    assert before.thread not in {each.thread for each in after}


def test_a_window_keeps_its_thread():
    """I3: what slides is one history."""
    teller, texts, threads = Teller(), [], set()
    for turn in range(8):
        question, answer = f"What is the weight of part number {turn}?", f"{turn} kg."
        threads.add(teller.serve(CHAT, chat(*texts[-4:], question), answer=answered(answer)).thread)
        texts += [question, answer]

    assert len(threads) == 1


def test_a_summary_leads_one_history_on_and_no_other():
    """I2: a second chat that begins with the same summary is another conversation."""
    teller = Teller()
    before = compacted(teller)
    first = [teller.ask(CHAT, chat(CONTINUED.format(SUMMARY) + "\nfirst")) for _ in range(2)]
    second = teller.ask(CHAT, chat(CONTINUED.format(SUMMARY) + "\nsecond"))

    assert {each.affinity for each in first} == {before.affinity}
    assert (second.affinity != before.affinity, second.home) == (True, "")


def test_workers_that_are_handed_one_plan_are_not_one_conversation():
    """I2: thirty requests that quote one answer are thirty conversations, and not on one account."""
    teller = Teller()
    before, _ = talk(teller, "make a plan", SUMMARY)
    for pattern in ("{plan}", "Here is the plan.\n{plan}\n"):
        tasks = [teller.serve(CHAT, chat(pattern.format(plan=SUMMARY) + f" Do step {n}")) for n in range(30)]

        assert len({each.affinity for each in tasks}) == 30
        assert sum(each.home != "" for each in tasks) <= 1
        assert before.affinity not in {each.affinity for each in tasks}


def test_equal_summaries_of_two_conversations_name_neither():
    """I2: boilerplate that two conversations were given merges nobody."""
    teller = Teller()
    talks = [compacted(teller, opening=f"question {n}, another one", account=str(n)) for n in range(2)]
    after = teller.ask(CHAT, chat(CONTINUED.format(SUMMARY)))

    assert talks[0].affinity != talks[1].affinity
    assert (after.tier, after.home) == ("content", "")
    assert after.affinity not in {each.affinity for each in talks}


def test_summaries_that_begin_alike_are_told_apart_by_the_rest():
    """I2: a head that all summaries of a client have in common names none of them, and hides none."""
    teller = Teller()
    head = "This is what I know of the work so far, in the order in which it was asked for by the user of this tool:\n"
    talks = [
        compacted(teller, head + text, opening=f"question {n}, another one") for n, text in enumerate((SUMMARY, OTHER))
    ]
    after = [teller.ask(CHAT, chat(CONTINUED.format(head + text))) for text in (SUMMARY, OTHER)]

    assert [each.affinity for each in after] == [each.affinity for each in talks]


def test_what_quotes_two_conversations_goes_on_with_neither():
    """I2: two summaries in one message."""
    teller = Teller()
    talks = [compacted(teller, text, opening=f"question {n}, another one") for n, text in enumerate((SUMMARY, OTHER))]
    after = teller.ask(CHAT, chat(CONTINUED.format(SUMMARY + "\n\n" + OTHER)))

    assert after.affinity not in {each.affinity for each in talks}


@pytest.mark.parametrize("turns", [1, 2])
def test_examples_before_the_first_question_are_not_recalled(turns):
    """I1, I3: an opening whose first answer nobody was seen to give names none of those that have it."""
    teller = Teller()
    shots = ("ticket four: the printer is on fire", "bug", "ticket five: make it blue", "feature")
    for number in range(turns):
        teller.serve(CHAT, chat(*shots, f"ticket about {'lamps' if number else 'roofs'}"), answer=answered("question"))

    other = teller.ask(CHAT, chat(*shots, "ticket about gardens"))
    assert (other.tier, other.strength) == ("content", "guess")


def test_a_dated_opening_is_known_for_as_long_as_its_conversation_goes_on():
    """I3: each later answer renews what the first one taught."""
    teller = Teller(ttl=10)
    first = teller.serve(CHAT, chat("It is 2026-11-01. Help me with the parser."), answer=answered("Yes."))
    for day in range(2, 30):
        told = chat(f"It is 2026-11-{day}. Help me with the parser.", "Yes.", "go on")
        assert teller.serve(CHAT, told, answer=answered("OK.")).affinity == first.affinity


# -- what a user pastes --------------------------------------------------------------------------------------------


def test_text_from_another_conversation_in_a_new_one_leads_to_its_account_at_most():
    """I2: an answer that a user pastes into a new chat with a question about it does not make them one."""
    teller = Teller()
    before, _ = talk(teller, "explain the borrow checker", SUMMARY, account="b")
    new = teller.serve(CHAT, chat(f"Is this true?\n\n{SUMMARY}"), answer=answered("Yes."), account="b")

    assert new.affinity != before.affinity
    assert (new.tier, new.strength, new.home) == ("content", "guess", "b")
    assert teller.ask(CHAT, chat(f"Is this true?\n\n{SUMMARY}", "Yes.", "why?")).affinity == new.affinity


def test_equal_first_turns_that_quote_an_answer_have_a_name_each():
    """I1, I2: the first one goes to the account it quotes; the others, like all that begin alike, while it has room."""
    teller = Teller()
    before, _ = talk(teller, "explain the borrow checker", SUMMARY, account="b")
    asked = request(CHAT, chat(f"Is this true?\n\n{SUMMARY}"))
    found = [teller.identifier.identify(asked, 9.0, str(number)) for number in range(10)]

    assert len({each.affinity for each in found} | {before.affinity}) == 11
    assert [each.home for each in found] == ["b"] + [""] * 9
    assert [each.near for each in found] == [""] + ["b"] * 9


def test_a_quote_is_weaker_than_a_history():
    """I2: a conversation under way that quotes another's summary stays what it is."""
    teller = Teller()
    compacted(teller)
    mine, texts = talk(teller, "plan my garden", "With a pond?")

    assert teller.ask(CHAT, chat(*texts, CONTINUED.format(SUMMARY))).affinity == mine.affinity


@pytest.mark.parametrize(
    "headers", [{"X-Session-ID": "s"}, {"X-Claude-Code-Session-Id": "s"}, {"session-id": "s"}]
)  # fmt: skip
def test_a_quote_is_weaker_than_an_id(headers):
    """I2: what has a name of its own borrows none by a quote."""
    teller = Teller()
    before = compacted(teller)
    named = teller.ask(CHAT, chat(CONTINUED.format(SUMMARY)), headers)

    assert named.affinity != before.affinity
    assert named.home == ""


def test_a_quote_is_weaker_than_a_cache_key_or_a_user():
    """I2: neither is overruled by a quote."""
    teller = Teller()
    before = compacted(teller)
    keyed = teller.ask(CHAT, chat(CONTINUED.format(SUMMARY), prompt_cache_key="k"))
    user = teller.ask(MESSAGES, chat(CONTINUED.format(SUMMARY), metadata={"user_id": "u"}))

    assert before.affinity not in (keyed.affinity, user.affinity)


def test_nobody_goes_on_with_another_clients_conversation():
    """I2: a client finds its own summaries alone."""
    teller = Teller()
    talk_of_ann = teller.serve(CHAT, chat("a", "b", ASK), {"x-api-key": "ann"}, answered(SUMMARY))

    assert teller.ask(CHAT, chat(SUMMARY), {"x-api-key": "bob"}).affinity != talk_of_ann.affinity
    assert teller.ask(CHAT, chat(SUMMARY), {"x-api-key": "ann"}).affinity == talk_of_ann.affinity


def test_without_the_tier_nothing_is_recalled():
    """I2: `token` in sessions.order switches it."""
    teller = Teller(order=("content",))
    before = compacted(teller)

    assert teller.ask(CHAT, chat(CONTINUED.format(SUMMARY))).affinity != before.affinity


# -- windows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 2, 5])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_window_of_short_answers_is_one_conversation(kept, restarted):
    """I3: the newest exchange names the conversation, also when nothing but the ledger is left."""
    teller = Teller()
    texts, seen = [], set()
    for turn in range(12):
        if restarted and turn == 6:
            fresh = Teller()
            fresh.identifier = type(fresh.identifier)(b"k" * 32, teller.identifier._sessions, teller.ledger)
            fresh.now, teller = teller.now, fresh
        question, answer = f"What is the weight of part number {turn}?", f"{turn} kg."
        seen.add(teller.serve(CHAT, chat(*texts[-2 * kept :], question), answer=answered(answer)).affinity)
        texts += [question, answer]

    assert len(seen) == 1


def test_two_users_with_the_same_short_exchange_stay_two():
    """I3: what two conversations were given names neither."""
    teller = Teller()
    hi, hello = "hi", "Hello! How can I help?"
    one, other = (
        teller.serve(CHAT, chat(first, f"Good, {first}.", hi), answer=answered(hello)) for first in ("ann", "bob")
    )
    windows = [teller.ask(CHAT, chat(hi, hello, text)) for text in ("my parser fails", "my garden is dry")]

    assert one.affinity != other.affinity
    assert not {each.affinity for each in windows} & {one.affinity, other.affinity}


def test_long_messages_that_begin_alike_are_told_apart_by_their_end():
    """I3: what was looked up is often the same, the question behind it is not."""
    teller = Teller()
    documents = f"<context>\n{SUMMARY * 9}\n</context>\n\n"
    one = teller.serve(CHAT, chat("a", "b", documents + "Which file is next?"), answer=answered("src/inline.rs"))
    window = [documents + "Which file is next?", "src/inline.rs"]
    opened = teller.serve(CHAT, chat(documents + "Is it done?"), answer=answered("Yes."))

    goes_on = [teller.ask(CHAT, chat(*window, documents + text)) for text in ("Then look at it.", "And after that?")]
    assert [each.affinity == one.affinity for each in goes_on] == [True, False]
    other = teller.ask(CHAT, chat(documents + "Does it work?", "Yes.", "Show me what was never said here"))
    assert other.affinity != opened.affinity


def test_a_greeting_names_nobody_even_if_only_one_was_greeted():
    """I3: another conversation, of which we have seen nothing, may hold the same greeting."""
    teller = Teller()
    one = teller.serve(CHAT, chat("ann", "Good, ann.", "hi"), answer=answered("Hello! How can I help?"))

    assert teller.ask(CHAT, chat("hi", "Hello! How can I help?", "my garden is dry")).affinity != one.affinity


def test_an_exchange_leads_on_to_one_question():
    """I3: examples that an application puts first may be an exchange that somebody had."""
    teller = Teller()
    question, answer = "What is the capital of France?", "Paris."
    one = teller.serve(CHAT, chat("a", "b", question), answer=answered(answer))
    goes_on = [teller.ask(CHAT, chat(question, answer, text)) for text in ("and of Spain?", "and of Italy?", "and?")]

    assert [each.affinity == one.affinity for each in goes_on] == [True, False, False]


def test_two_exchanges_in_a_row_say_more_than_one():
    """I3: where each alone may be anybody's."""
    teller = Teller()
    turns = ["bricks", "Red.", "lamps", "Twelve.", "go on", "Yes, at noon.", "why?", "It rains."]
    first = teller.serve(CHAT, chat(*turns[:7]), answer=answered(turns[7]))

    assert teller.ask(CHAT, chat(*turns[4:], "and then?")).affinity == first.affinity
    assert teller.ask(CHAT, chat(*turns[6:], "and then?")).affinity != first.affinity


def test_a_question_is_known_without_what_was_looked_up_for_it():
    """I3: the newest question carries documents; the history keeps the question alone."""
    teller = Teller()
    asked = f"<context>\n{SUMMARY}\n</context>\n\nQuestion: Which file is next?\n\nCurrent date: 2026-11-26"
    first = teller.serve(CHAT, chat("hello", "Hi.", asked), answer=answered("src/inline.rs"))

    assert teller.ask(CHAT, chat("Which file is next?", "src/inline.rs", "and then?")).affinity == first.affinity


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is 2026-11-26 10:00. Help me with my parser.", "It is 2026-11-27 08:30. Help me with my parser."),
        ("Request 17 of Thursday 26 November: fix it, please", "Request 18 of Friday 27 November: fix it, please"),
        (
            "Run 0b0e7d52-6a6a-4d0e-9a7c-3d3c8a1f2b11, fix the parser",
            "Run 7f0e7d52-6a6a-4d0e-9a7c-3d3c8a1f2b99, fix the parser",
        ),
    ],
)
def test_an_opening_whose_dates_and_numbers_change_is_known_by_its_first_answer(one, other):
    """I3: masked, and only as the last resort: the newest answer is not known."""
    teller = Teller()
    first = teller.serve(CHAT, chat(one), answer=answered("Sure."))

    assert teller.ask(CHAT, chat(other, "Sure.", "go on", "An answer we have not seen.", "so?")).affinity == (
        first.affinity
    )
    assert teller.ask(CHAT, chat(other)).affinity != first.affinity
    assert teller.ask(CHAT, chat(other, "Certainly.", "go on")).affinity != first.affinity


def test_two_users_whose_openings_differ_by_their_dates_stay_two():
    """I3: the masked opening of two conversations names neither."""
    teller = Teller()
    openings = [f"What happened on {day} November 2026 in Berlin?" for day in (25, 26)]
    talks = [teller.serve(CHAT, chat(text), answer=answered("Nothing.")) for text in openings]
    third = teller.ask(CHAT, chat("What happened on 27 November 2026 in Berlin?", "Nothing.", "really?"))

    assert talks[0].affinity != talks[1].affinity
    assert third.affinity not in {each.affinity for each in talks}


# -- bounds --------------------------------------------------------------------------------------------------------


def test_little_is_remembered_of_one_answer():
    """I2, I3: memory is bounded, whatever is answered."""
    teller = Teller()
    for answer in (SUMMARY * 50, OTHER * 200, "Yes."):
        before = len(teller.ledger)
        teller.serve(CHAT, chat("a", "b", ASK), answer=answered(answer))

        assert len(teller.ledger) - before <= 20


def test_little_is_looked_up_in_one_request():
    """I2: time is bounded, whatever is asked."""
    teller = Teller()
    compacted(teller)
    looked_up = 0

    class Counting:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            nonlocal looked_up
            looked_up += name == "find"
            return getattr(self.inner, name)

    recall = teller.identifier._truncated
    recall._words, recall._lineage = Counting(recall._words), Counting(recall._lineage)
    texts = [f"{place} {SUMMARY[::-1]} {OTHER} {place}" * 400 for place in range(41)]
    teller.ask(CHAT, chat(*texts))

    assert 0 < looked_up <= 20 * 128


def test_a_named_conversation_leaves_no_words():
    """I2: what has an id needs none, and costs nothing."""
    teller = Teller()
    teller.serve(CHAT, chat("a", "b", ASK), {"X-Session-ID": "s"}, answered(SUMMARY))

    assert isinstance(teller.identifier._truncated, TruncatedHistories)
    assert teller.identifier._truncated._words.is_empty()


words = st.text(max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=6), words, st.lists(words, min_size=1, max_size=6))
def test_no_text_makes_it_raise_and_no_other_client_is_met(texts, answer, others):
    """I2, I3: whatever is said, and however often."""
    teller = Teller()
    mine = teller.serve(CHAT, chat(*texts), {"x-api-key": "ann"}, answered(answer * 5))
    for path in (CHAT, MESSAGES, RESPONSES, GEMINI):
        theirs = teller.ask(path, chat(*others, answer * 5, *texts), {"x-api-key": "bob"})
        assert theirs.affinity != mine.affinity or mine.affinity == ""


# -- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("characters", "is_known"), [(39, False), (40, True)])
def test_a_message_that_is_our_answer_has_40_characters(characters, is_known):
    teller = Teller()
    text = ("abcdefghij" * 4)[:characters]
    before, _ = talk(teller, "Schreib alles auf.", text)

    assert (teller.ask(CHAT, chat(f" {text} ")).affinity == before.affinity) == is_known


@pytest.mark.parametrize(
    ("exchanges", "keys"),
    [
        ([("go", "yes")], []),
        ([("go on please", "y")], ["exchange goonplease y"]),
        ([("go onward", "y")], []),
        ([("go", "yes"), ("so", "no, never")], []),
        ([("go", "yes"), ("so", "not now")], []),
        ([("and", "yes"), ("why", "not now")], []),
        ([("andy", "yes"), ("why", "not now")], ["exchanges why notnow andy yes"]),
        ([("a", "b"), ("c", "d"), ("e", "f")], []),
        ([("1", "2345"), ("6", "7890"), ("1", "23456")], ["exchanges 1 23456 6 7890 1 2345"]),
        ([("abcdefghijklmn", "o"), ("1", "2345"), ("6", "7890"), ("1", "2345")], []),
        ([("abcdefghijk", "abcdef")], ["exchange abcdefghijk abcdef"]),
    ],
)
def test_an_exchange_counts_alone_by_its_question_and_with_others_by_all_their_letters(exchanges, keys):
    texts = [each for question, answer in exchanges for each in (("user", question), ("assistant", answer))]

    assert list(truncated_history._exchange_keys(texts[:-1], texts[-1][1])) == keys


@pytest.mark.parametrize(("size", "pieces"), [(1024, 2), (1025, 1)])
def test_a_question_of_1024_characters_counts_in_whole(size, pieces):
    text = "a question of some length\n" + "x" * (size - 26)

    assert len(truncated_history._pieces(text)) == pieces + ("" in truncated_history._pieces(text))


@pytest.mark.parametrize(
    ("messages", "before", "answer", "has_key"),
    [
        (chat("a question of some length"), 0, "Hi.", True),
        (chat("a question of some length"), 0, "", False),
        (chat("a question of some length", "Hi.", "go"), 0, "", True),
        (chat("a question of some length"), 1, "Hi.", False),
        ({"messages": []}, 0, "Hi.", False),
        (chat("1234567890"), 0, "Hi.", False),
        (chat("abcdefghi"), 0, "Hi.", False),
        (chat("abcdefghij"), 0, "Hi.", True),
    ],
)
def test_an_opening_has_a_key_by_its_words_and_its_first_answer(messages, before, answer, has_key):
    asked = request(CHAT, messages)
    key = truncated_history._opening_key(messages["messages"], before, conversation_of(asked.body), answer)

    assert (key != "") == has_key


@pytest.mark.parametrize("place", ["system", "message", "last"])
@pytest.mark.parametrize(("at", "asks"), [(0, True), (400, False)])
def test_a_request_asks_for_a_summary_in_its_instructions_or_its_last_message(place, at, asks):
    words = "x" * at + ASK
    told = {
        "system": {**chat("so"), "system": words},
        "message": {"messages": [{"role": "system", "content": words}, *chat("so")["messages"]]},
        "last": chat("so", "yes", words),
    }[place]
    asked = request(MESSAGES, told)
    served = ServedRequest(asked, conversation_of(asked.body), 0, told["messages"], SUMMARY, binds=True)

    assert truncated_history._asks_for_summary(served) == (asks or place == "last")


@pytest.mark.parametrize(("size", "binds", "count"), [(89, True, 0), (90, True, 1), (90, False, 0)])
def test_an_answer_of_90_characters_can_be_quoted(size, binds, count):
    asked = request(CHAT, chat("so"))
    served = ServedRequest(asked, conversation_of(asked.body), 0, chat("so")["messages"], "x" * size, binds)

    assert len(list(truncated_history._quotable_keys(served))) == count


def test_what_is_instructed_may_quote_an_answer_too():
    """I2: a client may put the summary into the instructions beside the history."""
    for told in ({"system": CONTINUED.format(SUMMARY)}, {}):
        teller = Teller()
        before = compacted(teller, account="b")
        leading = [] if told else [{"role": "system", "content": CONTINUED.format(SUMMARY)}]
        body = {"messages": [*leading, *chat("what is next?")["messages"]], **told}
        assert teller.ask(MESSAGES, body).affinity == before.affinity


def test_a_window_ends_with_a_question():
    teller = Teller()
    first, texts = talk(teller, "help me port a parser", "Gladly.")
    teller.serve(CHAT, chat(*texts, "here are the files", "so"), answer=answered("Go."))

    assert teller.ask(CHAT, chat("unknown", "Gladly.")).affinity != first.affinity


def _served(answer, messages=None, told=None):
    body = {**(messages or chat("so")), **(told or {})}
    asked = request(MESSAGES, body)
    return ServedRequest(asked, conversation_of(asked.body), 0, body["messages"], answer, binds=True)


def test_three_shingles_of_an_answer_and_eight_of_a_summary_are_kept():
    long = "\n".join(f"{number} {'x' * 100} {number * 7}" for number in range(40))

    assert len(list(truncated_history._quotable_keys(_served(long)))) == 3
    assert len(list(truncated_history._quotable_keys(_served(long, told={"system": ASK})))) == 16


def test_the_newest_exchanges_are_looked_for_in_16_messages():
    messages = chat(*map(str, range(40)))["messages"]

    assert [text for _, text in truncated_history._texts(messages)] == [str(number) for number in range(24, 40)]


def test_what_follows_a_quote_belongs_to_its_continuation():
    block = truncated_history._Block
    one, other, answered_one = (conversation_of(request(CHAT, chat(*texts)).body).turns for texts in ("a", "b", "ac"))

    assert block("user", "x", one).onward == block("user", "y", answered_one).onward
    assert block("user", "x", one).onward != block("user", "x", other).onward
    assert block("user", "x").onward != block("user", "y").onward


def test_of_a_conversation_without_an_affinity_nothing_is_kept():
    seeds, ledger = Seeds(b"k" * 32), Ledger()
    words = Lineage(seeds, ledger, "recall")
    histories = TruncatedHistories(Lineage(seeds, ledger), words, 60)
    histories.note(_served(SUMMARY), Entry(""), 0)
    assert words.is_empty()

    histories.note(_served(SUMMARY), Entry("", affinity="x"), 0)
    assert not words.is_empty()


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": [{"type": "image", "source": "x"}]}]])
def test_a_request_without_a_text_is_none_that_is_known(messages):
    teller = Teller()
    before = compacted(teller)

    assert teller.ask(MESSAGES, {"messages": messages}).affinity != before.affinity


def test_an_answer_that_is_all_of_the_instructions_is_a_quote():
    teller = Teller()
    before, _ = talk(teller, "Schreib alles auf.", OTHER, account="b")
    quoting = teller.ask(MESSAGES, {**chat("is that so?"), "system": OTHER})

    assert (quoting.affinity != before.affinity, quoting.home) == (True, "b")


def test_an_answer_that_another_conversation_goes_on_from_is_no_quote_either():
    teller = Teller()
    before, _ = talk(teller, "Schreib alles auf.", OTHER, account="b")
    first, second = (
        teller.ask(CHAT, {"messages": [*chat(OTHER)["messages"], *chat(text)["messages"]]}) for text in ("one", "two")
    )

    assert first.affinity == before.affinity != second.affinity
    assert second.home == ""


def test_one_shingle_is_enough_for_a_quote():
    teller = Teller()
    before, _ = talk(teller, "Schreib alles auf.", "x" * 90, account="b")
    quoting = teller.ask(CHAT, chat(f"see:\n{'x' * 90}\nhm"))

    assert (quoting.affinity != before.affinity, quoting.home) == (True, "b")
