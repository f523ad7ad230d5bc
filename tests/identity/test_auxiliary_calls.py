"""Calls beside a conversation."""

# ruff: noqa: E501  (prompts stand here as their clients send them)

from __future__ import annotations

import pytest

from patchbay.identity import auxiliary_calls

from ..each_row import each_row
from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, Teller, answered, chat, request

TITLE = "You are a title generator. You output ONLY a thread title. Nothing else."


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages/count_tokens?beta=true", {}),
        ("/v1beta/models/gemini-2.5-pro:countTokens", {}),
        ("/v1/responses/input_tokens", {}),
        (MESSAGES, {"max_tokens": 1}),
        (CHAT, {"max_completion_tokens": 1}),
        (RESPONSES, {"max_output_tokens": 0}),
        (GEMINI, {"generationConfig": {"maxOutputTokens": 1}}),
    ],
)
def test_counting_and_warming_up_is_a_probe(path, body):
    assert auxiliary_calls.wants_no_answer(request(path, body))


@pytest.mark.parametrize("limit", [2, 4096, None, True, "1"])
def test_a_call_that_may_say_something_is_none(limit):
    assert not auxiliary_calls.wants_no_answer(request(MESSAGES, {"max_tokens": limit}))


def test_a_short_call_for_a_title_serves_a_chat():
    told = {"role": "system", "content": TITLE}

    assert auxiliary_calls.serves_a_chat(request(CHAT, {"messages": [told, *chat("fix the parser")["messages"]]}))
    assert auxiliary_calls.serves_a_chat(
        request(MESSAGES, chat("hi", system="Write a short title for this conversation."))
    )


def test_a_call_with_tools_or_a_history_does_not():
    assert not auxiliary_calls.serves_a_chat(request(MESSAGES, chat("hi", system=TITLE, tools=[{"name": "read"}])))
    assert not auxiliary_calls.serves_a_chat(request(MESSAGES, chat("a", "b", "c", "d", "e", system=TITLE)))


def test_a_user_who_wants_a_title_has_a_conversation():
    assert not auxiliary_calls.serves_a_chat(request(CHAT, chat("Write a title for my essay")))


SAID = "What is a borrow checker, and why does Rust need one?"
LONG = (
    "The borrow checker proves at compile time that no reference outlives what it refers to, and that nobody writes to "
    "a value while another one reads it. Without it a program would need a garbage collector, or the care of people."
)
HISTORY = f"USER: {SAID}\nASSISTANT: {LONG}"


def told(text, **more):
    return chat(text) | more


def instructed(system, *texts, **more):
    return {"messages": [{"role": "system", "content": system}, *chat(*texts)["messages"]]} | more


# The words of the released clients, in their shapes.
CHORES = {
    "Open WebUI, title": (CHAT, told(
        "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Guidelines:\n- The "
        "title should clearly represent the main theme or subject of the conversation.\n### Output:\nJSON format: "
        f'{{ "title": "your concise title here" }}\n### Chat History:\n<chat_history>\n{HISTORY}\n</chat_history>',
        max_completion_tokens=1000)),
    "Open WebUI, tags": (CHAT, told(
        "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history, along with 1-3 more specific "
        f"subtopic tags.\n### Output:\nJSON format\n### Chat History:\n<chat_history>\n{HISTORY}\n</chat_history>")),
    "Open WebUI, follow-ups": (CHAT, told(
        "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next in this "
        f"conversation as a **user**\n### Chat History:\n<chat_history>\n{HISTORY}\n</chat_history>")),
    "Open WebUI, queries": (CHAT, told(
        "### Task:\nAnalyze the chat history to determine the necessity of generating search queries, in the given language."
        f" By default, prioritize generating 1-3 broad and relevant search queries\n<chat_history>\n{HISTORY}"
        "\n</chat_history>")),
    "Open WebUI, autocomplete": (CHAT, told(
        "### Task:\nYou are an autocompletion system. Continue the text in `<text>` based on the **completion type** in "
        f"`<type>` and the given language.\n<chat_history>\n{HISTORY}\n</chat_history>\n<text>Why is</text>")),
    "LibreChat, title": (CHAT, told(
        "Provide a concise, 5-word-or-less title for the conversation, using title case conventions. Only return the title "
        f"itself.\n\nConversation:\nUser: {SAID}\nAI: {LONG}")),
    "LibreChat, title by a tool": (CHAT, told(
        f"Provide a concise title for the conversation.\n\nConversation:\nUser: {SAID}\nAI: {LONG}",
        tools=[{"type": "function", "function": {"name": "title"}}],
        tool_choice={"type": "function", "function": {"name": "title"}})),
    "LobeChat, topic": (CHAT, instructed(
        "You are a conversation assistant named Lobe. You need to summarize the user's conversation into a topic of no "
        "more than 10 words.", f"user: {SAID}\n\nassistant: {LONG}")),
    "LobeChat, in Chinese": (CHAT, instructed("你是一名擅长会话的助理\uff0c你需要将用户的会话总结为 10 个字以内的标题", SAID)),
    "Cherry Studio, name": (CHAT, instructed(
        "You are an assistant skilled in conversation. You need to summarize the user's conversation into a title within "
        "10 words.", f'[{{"role":"user","content":"{SAID}"}},{{"role":"assistant","content":"{LONG}"}}]')),
    "Cherry Studio, search": (CHAT, instructed(
        "You are an AI question rephraser. Your role is to rephrase follow-up queries from a conversation into standalone "
        "queries that can be used by another LLM to retrieve information.", f"Conversation: {HISTORY}\nwhy?")),
    "OpenCode, title": (CHAT, instructed(TITLE, f"Generate a title for this conversation:\n{SAID}")),
    "Claude Code, topic": (MESSAGES, chat(SAID, max_tokens=512, system=(
        "Analyze if this message indicates a new conversation topic. If it does, extract a 2-3 word title that captures "
        "the new topic. Format your response as a JSON object with two fields: 'isNewTopic' and 'title'."))),
    "Claude Code, title": (MESSAGES, chat(SAID, system=[{"type": "text", "text": (
        "Generate a concise, sentence-case title (3-7 words) that captures the main topic or goal of this coding session."
        )}])),
    "Gemini, title": (GEMINI, {
        "systemInstruction": {"parts": [{"text": "Create a short title for the chat."}]},
        "contents": [{"role": "user", "parts": [{"text": SAID}]}]}),
    "Responses, title": (RESPONSES, {"instructions": "You generate a title for a thread.", "input": SAID}),
    "Continue, title": (CHAT, told(
        "Given the following... please reply with a title for the chat that is 3-4 words in length, all words used should "
        f"be directly related to the content of the chat\n\n{LONG}", max_tokens=16)),
    "Continue, gap": ("/v1/completions", {"prompt": "def add(a, b):\n    ", "suffix": "\n\nadd(1, 2)", "max_tokens": 99}),
    "a model's own gap": ("/v1/completions", {"prompt": "<|fim_prefix|>def add(<|fim_suffix|>)<|fim_middle|>"}),
    "LangChain, question": (CHAT, told(
        "Given the following conversation and a follow up question, rephrase the follow up question to be a standalone "
        f"question.\n\nChat History:\nHuman: {SAID}\nAssistant: {LONG}\nFollow Up Input: why?\nStandalone question:")),
    "a title, of a chat in JSON": (CHAT, told(
        f'Suggest a title.\n[{{"role":"user","content":"{SAID}"}},{{"role":"assistant","content":"{LONG}"}}]')),
    "tags, of a chat in a tag": (CHAT, told(f"Give 3 tags.\n<conversation>\n{SAID}\n\n{LONG}\n</conversation>")),
    "a few tokens about a chat": (CHAT, told(f"Is this chat safe? Say yes or no.\n{HISTORY}", max_tokens=5)),
    "aider, summary": (CHAT, told(
        f"*Briefly* summarize this partial conversation about programming.\n# USER\n{SAID}\n# ASSISTANT\n{LONG}")),
}  # fmt: skip

TALKS = {
    "a title for an essay": (CHAT, chat("Write a title for my essay about rivers")),
    "a short answer": (CHAT, chat("Is Rome older than Paris?", max_tokens=5)),
    "an agent": (MESSAGES, chat("Summarize this conversation", tools=[{"name": "read"}])),
    "a question about chats": (CHAT, chat("How do I store the chat history of my users in Postgres?")),
    "tags of HTML": (CHAT, chat("Which tags does HTML have for tables? Generate an example.")),
    "a script": (CHAT, chat("Fix this play:\nUser: hello\nUser: anybody there?")),
    "a friendly assistant": (CHAT, instructed("You are a helpful assistant. Suggest books where they help.", SAID)),
    "a coder": (MESSAGES, chat(SAID, system="You are Claude Code, Anthropic's official CLI for Claude.")),
    "a completion": ("/v1/completions", {"prompt": SAID}),
    "a long talk about a title": (CHAT, chat("a", "b", "Generate a title for this conversation")),
}


@each_row("name", CHORES)
def test_what_a_client_asks_beside_a_chat_is_beside_it(name):
    """I4: titles, tags, follow-ups, topics, queries, gaps, in the words of the clients."""
    path, body = CHORES[name]
    identity = Teller().ask(path, body)

    assert auxiliary_calls.serves_a_chat(request(path, body))
    assert not identity.binds


@pytest.mark.parametrize("name", TALKS)
def test_what_a_user_says_is_a_conversation(name):
    """I4: a real one-message conversation binds."""
    path, body = TALKS[name]

    assert not auxiliary_calls.serves_a_chat(request(path, body))
    assert Teller().ask(path, body).binds


@pytest.mark.parametrize("name", [name for name, (_, body) in CHORES.items() if LONG in str(body)])
def test_a_call_beside_a_chat_rides_on_the_conversation_it_quotes(name):
    """I4: where it quotes an answer of ours, it goes where that came from, and leaves no binding of its own."""
    path, body = CHORES[name]
    teller = Teller()
    main = teller.serve(CHAT, chat(SAID), answer=answered(LONG), account="b")
    beside = [teller.serve(path, body, answer=answered("Borrow checkers")) for _ in range(2)]

    assert {(each.affinity, each.home, each.binds) for each in beside} == {(main.affinity, "b", False)}
    assert teller.ask(CHAT, chat(SAID, LONG, "why?")).affinity == main.affinity


@each_row("name", [*CHORES, *TALKS])
def test_the_second_turn_goes_where_the_first_went_whatever_was_recognised(name):
    """I4: a conversation that is taken for a side call is at home where its first answer came from."""
    path, body = (CHORES | TALKS)[name]
    if "messages" not in body:
        return
    said = "That is short."
    answer = answered(said) if path == CHAT else {"type": "message", "content": [{"type": "text", "text": said}]}
    teller = Teller()
    teller.serve(path, body, answer=answer, account="b")
    goes_on = [{"role": "assistant", "content": said}, {"role": "user", "content": "and then?"}]
    second = teller.ask(path, body | {"messages": [*body["messages"], *goes_on]})

    assert second.home == "b"


def test_a_call_with_an_id_of_its_own_is_part_of_that_session():
    """I4: what a client says about itself counts more than what it looks like."""
    path, body = CHORES["Open WebUI, title"]

    assert Teller().ask(path, body, {"X-OpenWebUI-Chat-Id": "c"}).binds


NO_TALK = [
    "/v1/embeddings", "/v1/moderations", "/v1/rerank", "/v1/images/generations", "/v1/images/edits", "/v1/audio/speech",
    "/v1/audio/transcriptions", "/v1beta/models/gemini-embedding:embedContent", "/v1/models", "/v1/files",
    "/v1beta/models/gemini-embedding:batchEmbedContents", "/v1beta/models/imagen:predict",
    "/openai/deployments/ada/embeddings",
]  # fmt: skip


@each_row("path", NO_TALK)
@each_row("body", [{"input": SAID}, {"messages": chat(SAID)["messages"]}, {"prompt": SAID}, b"--form--"])
def test_what_holds_no_conversation_has_no_identity(path, body):
    """I5: embeddings, moderations, images, audio: nothing they say names a conversation, and nothing is bound."""
    teller = Teller()
    teller.serve(CHAT, chat(SAID), answer=answered(LONG))
    identity = teller.serve(path, body, method="GET" if path == "/v1/models" else "POST")

    assert (identity.affinity, identity.thread, identity.tier, identity.binds) == ("", "", "", False)


@pytest.mark.parametrize("path", NO_TALK)
def test_with_an_id_it_follows_the_session_and_binds_nothing(path):
    """I5: an id that a client sends with everything is honoured."""
    teller = Teller()
    main = teller.ask(CHAT, chat(SAID), {"X-Session-ID": "s"})
    beside = teller.ask(path, {"input": SAID}, {"X-Session-ID": "s"})

    assert (beside.affinity, beside.binds) == (main.affinity, False)


@pytest.mark.parametrize("name", auxiliary_calls._LIMITS)
@pytest.mark.parametrize(("most", "is_short"), [(64, True), (65, False)])
def test_a_short_answer_about_a_chat_serves_it(name, most, is_short):
    quoted = "User: hello\nAssistant: hi\nUser: what is next?"

    assert auxiliary_calls.serves_a_chat(request(CHAT, chat(quoted, **{name: most}))) == is_short
    assert not auxiliary_calls.serves_a_chat(request(CHAT, chat("User: hello", **{name: most})))


@pytest.mark.parametrize("name", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("inner", ["maxOutputTokens", "max_output_tokens"])
def test_each_limit_of_gemini_makes_a_probe(name, inner):
    assert auxiliary_calls.wants_no_answer(request(GEMINI, {name: {inner: 1}}))
    assert not auxiliary_calls.wants_no_answer(request(GEMINI, {name: {inner: 2}}))
    assert not auxiliary_calls.wants_no_answer(request(GEMINI, {name: 1}))


@pytest.mark.parametrize("word", auxiliary_calls._BRIEF)
def test_each_word_for_a_summary_counts_beside_a_word_for_a_chat(word):
    assert auxiliary_calls.says_summary(f"Here is the {word} of our conversation")
    assert auxiliary_calls.says_summary(f"{word} {'x' * 150} chat")
    assert not auxiliary_calls.says_summary(f"the plain {word} {'x' * 170} chat")
    assert not auxiliary_calls.says_summary(f"the plain {word} of a book")


@pytest.mark.parametrize("at", [0, 1_990, 2_100, 5_000, 8_000])
def test_a_summary_is_looked_for_at_either_end(at):
    words = "a summary of our chat"
    text = "x " * (at // 2) + words + " x" * ((10_000 - at - len(words)) // 2)

    assert auxiliary_calls.says_summary(text) == (at in (0, 8_000))


@pytest.mark.parametrize(
    "choice", ["auto", "none", None, {"type": "auto"}, {"type": "none"}, "required", {"type": "any"}]
)
def test_a_tool_that_the_answer_must_call_is_no_choice(choice):
    body = chat("Generate a title for this chat", tools=[{"name": "title"}], tool_choice=choice)
    forced = choice == "required" or choice == {"type": "any"}

    assert auxiliary_calls.serves_a_chat(request(CHAT, body)) == forced
    assert not auxiliary_calls.serves_a_chat(request(CHAT, {**body, "tools": [{"name": "a"}, {"name": "b"}]}))


@pytest.mark.parametrize(
    "hole", ["<|fim_prefix|>", "<fim_prefix>", "<PRE> ", "<|prefix|>", "<\uff5cfim▁begin\uff5c>", "[SUFFIX]"]
)
def test_each_mark_of_a_gap(hole):
    assert auxiliary_calls.serves_a_chat(request("/v1/completions", {"prompt": f"{hole}def f():"}))
    assert auxiliary_calls.serves_a_chat(request("/v1/completions", {"prompt": "def f():", "suffix": "return 1"}))
    assert not auxiliary_calls.serves_a_chat(request("/v1/completions", {"prompt": "def f():", "suffix": ""}))
    late = {"prompt": "x" * 2000 + hole}
    assert not auxiliary_calls.serves_a_chat(request("/v1/completions", late))


@pytest.mark.parametrize("messages", [3, 4])
def test_an_auxiliary_call_has_three_messages_at_most(messages):
    texts = [{"role": "user", "content": "Generate a title for this chat"}] * messages

    assert auxiliary_calls.serves_a_chat(request(CHAT, {"messages": texts, "system": TITLE})) == (messages == 3)


@pytest.mark.parametrize("system", ["You know all tags and titles.", "Complete what is asked.", "Suggest a book."])
def test_a_word_of_a_chore_alone_makes_none(system):
    assert not auxiliary_calls.serves_a_chat(request(CHAT, chat("hi", system=system)))


@pytest.mark.parametrize(("end", "serves"), [(2000, True), (2001, False)])
@pytest.mark.parametrize("words", ["write a title", "suggest emoji"])
def test_the_first_2000_characters_of_instructions_are_searched(end, serves, words):
    led = ("x. " * 1000)[: end - len(words) - 1] + " " + words

    assert auxiliary_calls.serves_a_chat(request(CHAT, instructed(led, "hello"))) is serves
    assert auxiliary_calls.serves_a_chat(request("/v1/completions", {"prompt": " " * (end - 8) + "[SUFFIX]"})) is serves


@pytest.mark.parametrize(("end", "serves"), [(800, True), (801, False)])
def test_a_task_is_looked_for_in_800_characters_at_either_end_of_a_message(end, serves):
    words = "Give this chat a title for the conversation"
    first = "-" * (end - len(words) - 1) + " " + words
    last = words + " " + "-" * (end - len(words) - 1)

    for text in (first + " " + "-" * 2000, "-" * 2000 + " " + last):
        assert auxiliary_calls.serves_a_chat(request(CHAT, chat(text))) is serves


@pytest.mark.parametrize("role", ["assistant", "tool"])
def test_what_has_been_answered_is_no_chore_but_by_instructions_for_a_title(role):
    messages = [{"role": "user", "content": "Generate a title for this chat"}, {"role": role, "content": "x"}]

    assert not auxiliary_calls.serves_a_chat(request(CHAT, {"messages": messages}))
    assert not auxiliary_calls.serves_a_chat(request(CHAT, {"messages": messages, "instructions": "Suggest tags."}))
    led = [{"role": "system", "content": TITLE}, *messages]
    assert auxiliary_calls.serves_a_chat(request(CHAT, {"messages": led}))
    assert not auxiliary_calls.serves_a_chat(request(CHAT, {"messages": [*led, {"role": "user", "content": "x"}]}))


def test_a_quoted_chat_without_a_task_is_a_conversation():
    assert not auxiliary_calls.serves_a_chat(request(CHAT, chat(HISTORY)))
    assert not auxiliary_calls.serves_a_chat(request(CHAT, chat("Summarize this book: Moby Dick", max_tokens=9)))
    assert auxiliary_calls.serves_a_chat(request(CHAT, chat(f"Summarize the conversation.\n{HISTORY}")))
    assert auxiliary_calls.serves_a_chat(request(CHAT, instructed(f"Quoted:\n{HISTORY}", "Suggest three tags")))


@pytest.mark.parametrize(("end", "serves"), [(32_768, True), (32_769, False)])
def test_a_transcript_is_looked_for_in_32768_characters(end, serves):
    text = "Suggest tags." + " " * (end - len("Suggest tags.<transcript>")) + "<transcript>" + " " * 900

    assert auxiliary_calls.serves_a_chat(request(CHAT, chat(text))) is serves


def test_a_chore_that_names_every_word_for_one_is_one():
    words = "Generate tags: title, follow-ups, search queries, emoji, topic, standalone, completion, 标题"

    assert auxiliary_calls.serves_a_chat(request(CHAT, instructed(words, "hello")))


@pytest.mark.parametrize(("gap", "near"), [(156, True), (157, False)])
def test_a_word_for_a_chat_counts_within_160_characters_on_either_side(gap, near):
    blanks = " " * gap

    assert auxiliary_calls.says_summary(f"x recap{blanks}chat") is near
    assert auxiliary_calls.says_summary(f"x chat{blanks}recap x") is near
    assert auxiliary_calls.says_summary(f"x recap of a book{' ' * 300}x recap{blanks}chat") is near


@pytest.mark.parametrize(("at", "says"), [(2000, True), (2001, False)])
def test_2000_characters_at_either_end_are_searched_for_a_summary(at, says):
    words = "recap of our chat"

    assert auxiliary_calls.says_summary("-" * (at - len(words)) + words + "-" * 5000) is says
    assert auxiliary_calls.says_summary("-" * 5000 + words + "-" * (at - len(words))) is says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a <state_snapshot>", True), ("<summary>", True), ("<chat_summary>", True), ("Summary:\nx", True),
        ("# Project summary so long\n", True), ("Summary. x", False), ("a summary: x", True), ("the one summary: x", False),
        ("Please summarize this", True), ("now condense it!", True), ("compact", True), ("recap the book", False),
        ("<x>", False), ("", False),
    ],
)  # fmt: skip
def test_headings_tags_and_bare_demands_are_of_a_summary(text, says):
    assert auxiliary_calls.says_summary(text) is says


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("/v1/messages/count_tokens", True), ("/v1beta/models/g:countTokens?x=:y", True),
        ("/v1beta/models/g:computeTokens", True), ("/V1/responses/INPUT_TOKENS", True),
        ("/v1/messages?count_tokens", False), ("/v1/messages", False),
    ],
)  # fmt: skip
def test_paths_that_count_tokens(path, counts):
    assert auxiliary_calls.counts_tokens(request(path, {})) is counts
    assert auxiliary_calls.wants_no_answer(request(path, {})) is counts


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        ("<chat_history>", True), ("<ChatHistory>", True), ("<conversation>", True), ("<conversation_history>", True),
        ("<chat>", True), ("<transcript>", True), ('"role": "assistant"', True), ('"role":"model"', True),
        ('"role": "user"', False), ("User: a\nAssistant: b", True), ("**Human**: a\n- AI: b", True),
        ("human\nmodel", True), ("user: a\nbot: b", True), ("user: a\nhuman: b", False), ("ai: a\nbot: b", False),
        ("a user: a\nan ai: b", False), ("", False),
    ],
)  # fmt: skip
def test_marks_of_a_transcript(text, quotes):
    asked = request(CHAT, chat(f"{text}\nGive three tags."))

    assert auxiliary_calls.serves_a_chat(asked) is quotes


@pytest.mark.parametrize("settings", [{"max_tokens": 65}, {"max_tokens": True}, {"max_tokens": "5"}, {}])
def test_a_longer_answer_or_no_number_is_no_short_answer(settings):
    assert not auxiliary_calls.serves_a_chat(request(CHAT, chat(HISTORY, **settings)))
    assert auxiliary_calls.serves_a_chat(request(CHAT, chat(HISTORY, **settings | {"max_completion_tokens": 64})))
