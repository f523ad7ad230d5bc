"""A request and its answer as a conversation for readers; the values are those of `values.transcript`."""

from __future__ import annotations

from .reading import of_answer as of_answer, of_messages as of_messages, of_request as of_request
