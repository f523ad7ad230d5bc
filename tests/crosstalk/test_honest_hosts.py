"""
Hosts with habits, all of whose answers are right: none is accused, and nothing is taken from anybody.

Every habit is tried here alone, at one worker of eight and after a deploy, each at another place, and the habits of the
reported rows at all places; `scripts/honest_hosts` tries everything, with more answers.
"""

from __future__ import annotations

from functools import cache

import pytest

from . import honest_hosts, honest_talks
from .honest_habit import Change, Habit
from .honest_hosts import HABITS
from .serving import BEFORE, ENOUGH, ONE_OF_EIGHT, WAYS, Host, Said, Way, hosts, serve, some_of

IN_ALL = 10  # suspects of all such hosts together


@cache
def said_of(host: Host) -> Said:
    return serve(host, seed=1, answers=ENOUGH[host.way])


def test_the_table_is_long_and_names_each_habit_once() -> None:
    names = [str(habit) for habit in HABITS]

    assert len(names) == len(set(names)) >= 60
    assert all((getattr(honest_hosts, name, None) or getattr(honest_talks, name)).__doc__ for name in names)


def not_accused(which: list[Host]) -> None:
    wrong = {}
    for host in which:
        said = said_of(host)
        assert said.answers == BEFORE[host.way] + ENOUGH[host.way]
        if said.wrong(host):
            wrong[str(host)] = said
    assert not wrong, "\n".join(f"{host}: {said}" for host, said in wrong.items())


@pytest.mark.slow(every=10)
@pytest.mark.parametrize("habit", HABITS, ids=str)
def test_a_right_answer_is_not_called_another_s_whatever_its_host_s_habit(habit: Habit) -> None:
    """H1: none is where the habit is there from the first answer, two at most after a change; one suspect a host."""
    not_accused(some_of(habit))


@pytest.mark.slow(every=8)
@pytest.mark.parametrize("habit", HABITS[::8], ids=str)
def test_it_is_so_too_where_answers_are_only_looked_at(habit: Habit) -> None:
    """H1: with `observe`, answers are read to their end; nothing is blocked and no more is said."""
    for host in some_of(habit)[2:]:
        said = serve(host, seed=2, reaction="observe", answers=ENOUGH[host.way])
        assert not said.blocked
        assert not said.wrong(host), f"{host}: {said}"


@pytest.mark.slow
def test_few_are_suspected_of_all_hosts_together() -> None:
    """H8: of the hosts whose answers all have the habit from the first on, at most ten answers are suspected."""
    alone = [host for habit in HABITS for host in some_of(habit) if host.way == "alone"]
    suspects = {str(host): said_of(host).suspects for host in alone}

    assert sum(suspects.values()) <= IN_ALL, {host: number for host, number in suspects.items() if number}


# -- the rows, at every place ------------------------------------------------------------------------------------------


def at_all_places(*changes: Change, ways: tuple[Way, ...] = WAYS) -> None:
    not_accused([host for host in hosts() if host.habit.change in changes and host.way in ways])


@pytest.mark.slow
def test_one_constant_id_or_one_a_worker_accuses_nobody() -> None:
    """H1: from the first answer on, at one worker of eight, and after 12 or 40 normal answers."""
    at_all_places(honest_hosts.constant_id)
    at_all_places(honest_hosts.id_per_worker, ways=("deploy after 12",))


@pytest.mark.slow
def test_a_tenant_s_name_in_the_answers_accuses_nobody() -> None:
    """H2: a value that all answers of a host carry names nobody, though one client has sent it."""
    at_all_places(
        honest_hosts.tenant_as_user,
        honest_hosts.tenant_as_safety_identifier,
        honest_hosts.tenant_as_cache_key,
        honest_hosts.tenant_as_metadata,
    )


@pytest.mark.slow
def test_choices_are_told_apart() -> None:
    """H3: with `n=2`, each choice may have an id of its own."""
    at_all_places(honest_hosts.an_id_per_choice, honest_hosts.two_choices)


@pytest.mark.slow
def test_a_host_that_answers_in_another_dialect_accuses_nobody() -> None:
    """H4: always, or for some of its backends."""
    at_all_places(honest_hosts.in_the_form_of_chat, honest_hosts.form_of_the_backend)


def test_a_file_that_holds_a_head_accuses_nobody() -> None:
    """H5: nor does a transcript, or a recording."""
    at_all_places(
        honest_hosts.file_with_heads,
        honest_hosts.log_with_heads,
        honest_hosts.lines_with_heads,
        honest_hosts.transcript_with_heads,
        honest_hosts.speech_with_heads,
    )


@pytest.mark.slow
def test_a_promised_header_with_ids_of_the_host_s_own_is_flagged_three_times() -> None:
    """H6: three in a row, and then it is the host's own."""
    at_all_places(honest_hosts.promised_own_request_id, ways=("alone", "deploy after 12"))


def test_an_answer_by_a_fallback_that_was_named_accuses_nobody() -> None:
    """H7: also where another request has asked for that model."""
    at_all_places(honest_hosts.answered_by_the_fallback)


@pytest.mark.slow
def test_a_clock_an_age_and_short_instructions_are_learned() -> None:
    """H8: of one worker of eight."""
    at_all_places(
        honest_hosts.clock_late,
        honest_hosts.age,
        honest_hosts.constant_id,
        honest_hosts.instructions_shortened,
        ways=(ONE_OF_EIGHT,),
    )
