"""Calls beside a conversation."""

# ruff: noqa: E501  (prompts stand here as their clients send them)

from __future__ import annotations

import pytest

from patchbay.identity import auxiliary_calls

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
    assert auxiliary_calls.is_probe(request(path, body))


@pytest.mark.parametrize("limit", [2, 4096, None, True, "1"])
def test_a_call_that_may_say_something_is_none(limit):
    assert not auxiliary_calls.is_probe(request(MESSAGES, {"max_tokens": limit}))


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


@pytest.mark.parametrize("name", CHORES)
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


@pytest.mark.parametrize("name", [*CHORES, *TALKS])
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


@pytest.mark.parametrize("path", NO_TALK)
@pytest.mark.parametrize("body", [{"input": SAID}, {"messages": chat(SAID)["messages"]}, {"prompt": SAID}, b"--form--"])
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
    assert auxiliary_calls.is_probe(request(GEMINI, {name: {inner: 1}}))
    assert not auxiliary_calls.is_probe(request(GEMINI, {name: {inner: 2}}))
    assert not auxiliary_calls.is_probe(request(GEMINI, {name: 1}))


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
