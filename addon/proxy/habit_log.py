"""What was learned of each host's answers: as lines for the command, and as news for the log."""

from __future__ import annotations

import logging

from ..crosstalk import report
from ..crosstalk.recent import RecentExchanges

logger = logging.getLogger(__name__)


def lines(memory: RecentExchanges) -> list[str]:
    """Return a line for every rule of every host: `host rule: kept 12, broken 0`, and whether it is demoted."""
    return [
        f"{host} {rule}: kept {each.kept}, broken {each.broken}" + (", demoted" if each.demoted else "")
        for host, rules in sorted(memory.habits.shown().items())
        for rule, each in sorted(rules.items())
    ]


def log_news(memory: RecentExchanges) -> None:
    """Log each demotion since the last call, and each that has ended."""
    if memory.habits.has_news:
        for news in memory.habits.news():
            logger.log(logging.INFO if news.over else logging.WARNING, "patchbay: %s", report.demotion(news))
