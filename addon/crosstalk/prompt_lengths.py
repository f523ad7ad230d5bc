"""How many tokens a prompt should have: from its bytes, and from what the provider counted in the same conversation."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from ..bounded import BoundedMap
from ..frozen import dataclass as frozen

_KNOWN = 20_000  # conversations, and models of hosts
_FIRSTS = 3  # first turns of a model at a host, before one is predicted
_FADES = 0.98  # the weight of all earlier answers, at each answer
# How far a count may be from its prediction: a turn of other text than the ones before is off by up to its own size.
# `scripts/crosstalk_score` counts the right answers that are suspected for being further off.
_OF_ADDED, _OF_FIRST, _ALWAYS = 1.0, 0.6, 80
_FEWEST, _MOST = 0.02, 2.0  # tokens for each byte of a text
_AT_LEAST = 0.25  # of the usual tokens for so many bytes; hexadecimal digits and base64 have more
_ANSWERS = 8  # of a model at a host, before one is judged
_PER_TOKEN = 4.0  # times the usual characters for each token: at least so many are possible
_FITS = 0.5  # of the tolerance: another request explains a count that is so near to its own prediction


@frozen(slots=True)
class Prompt:
    """
    A request whose prompt is counted: its *host* and *model*, its *thread* (empty: not known), and its *size* in bytes.

    *adds*: the provider has the earlier turns, so that the request holds the new ones alone.
    """

    host: str
    model: str
    thread: str
    size: int
    adds: bool = False


class Expected(Struct, frozen=True, array_like=True):
    """
    What is known of a request's lengths when it is sent; each is 0 where too little is.

    A right count of its prompt is at most *tolerance* from *tokens*. *per_byte*: the tokens that a byte has at least.
    *per_token*: the characters that an answer has for each of its tokens at most.
    """

    tokens: float = 0.0
    tolerance: float = 0.0
    per_byte: float = 0.0
    per_token: float = 0.0

    def allows(self, tokens: int) -> bool:
        """Whether a count of *tokens* is no surprise."""
        return not self.tolerance or abs(tokens - self.tokens) <= self.tolerance

    def distance(self, tokens: int) -> float:
        """Return how far *tokens* is from the prediction, in tolerances."""
        return abs(tokens - self.tokens) / self.tolerance

    def fits(self, tokens: int) -> bool:
        """Whether it explains a count of *tokens* that is a surprise as the count of another request."""
        return self.tolerance > 0 and abs(tokens - self.tokens) <= _FITS * self.tolerance


@dataclass(slots=True)
class _Ratio:
    """Tokens for each byte: of whole first prompts, and of what later ones added."""

    firsts: int = 0
    first_tokens: float = 0.0
    first_bytes: float = 0.0
    added_tokens: float = 0.0
    added_bytes: float = 0.0

    def first(self) -> float:
        return self.first_tokens / self.first_bytes

    def added(self) -> float:
        return self.added_tokens / self.added_bytes if self.added_bytes else self.first()


@dataclass(slots=True)
class _Answers:
    """What a model's answers had at a host."""

    count: int = 0
    characters: float = 0.0
    tokens: float = 0.0
    most: float = 0.0  # characters for each token, of one answer

    def most_per_token(self) -> float:
        """Return a bound: the further single answers are from the usual, as with reasoning, the further it is."""
        usual = self.characters / self.tokens
        return max(_PER_TOKEN * usual, self.most * self.most / usual)


class PromptLengths:
    """What hosts counted; of each conversation the last prompt. The least recently used are forgotten."""

    def __init__(self) -> None:
        self._ratios: BoundedMap[tuple[str, str], _Ratio] = BoundedMap(_KNOWN)
        self._last: BoundedMap[tuple[str, str, str], tuple[int, int]] = BoundedMap(_KNOWN)
        self._answers: BoundedMap[tuple[str, str], _Answers] = BoundedMap(_KNOWN)

    def expected(self, prompt: Prompt) -> Expected:
        """Return what is known of the lengths of *prompt* and of its answer."""
        known = self._answers.get((prompt.host, prompt.model))
        per_token = known.most_per_token() if known and known.count >= _ANSWERS else 0.0
        ratio = self._ratios.get((prompt.host, prompt.model))
        if ratio is None or ratio.firsts < _FIRSTS:
            return Expected(per_token=per_token)
        tokens, tolerance = self._predicted(prompt, ratio)
        return Expected(tokens, tolerance, _AT_LEAST * ratio.added(), per_token)

    def _predicted(self, prompt: Prompt, ratio: _Ratio) -> tuple[float, float]:
        last = self._last.get((prompt.host, prompt.model, prompt.thread))
        if last is not None:
            added = ratio.added() * (prompt.size if prompt.adds else prompt.size - last[0])
            return last[1] + added, _OF_ADDED * abs(added) + _ALWAYS
        if prompt.adds:
            return 0.0, 0.0
        tokens = ratio.first() * prompt.size
        return tokens, _OF_FIRST * tokens + _ALWAYS

    def learn_answer(self, host: str, model: str, characters: int, tokens: int) -> None:
        """Note that an answer of so many *characters* was counted as *tokens*."""
        known = self._answers.use((host, model))
        if known is None:
            known = self._answers[host, model] = _Answers()
        known.count += 1
        known.characters = known.characters * _FADES + characters
        known.tokens = known.tokens * _FADES + tokens
        known.most = max(known.most, characters / tokens)

    def learn(self, prompt: Prompt, tokens: int) -> None:
        """Note that *prompt* was counted as *tokens*."""
        ratio = self._ratios.use((prompt.host, prompt.model))
        if ratio is None:
            ratio = self._ratios[prompt.host, prompt.model] = _Ratio()
        key = prompt.host, prompt.model, prompt.thread
        size = prompt.size
        last = self._last.get(key)
        if last is None and not prompt.adds and _is_text(tokens, size):
            ratio.firsts += 1
            ratio.first_tokens = ratio.first_tokens * _FADES + tokens
            ratio.first_bytes = ratio.first_bytes * _FADES + size
        elif last is not None and not prompt.adds and _is_text(tokens - last[1], size - last[0]):
            ratio.added_tokens = ratio.added_tokens * _FADES + tokens - last[1]
            ratio.added_bytes = ratio.added_bytes * _FADES + size - last[0]
        if prompt.thread:  # that of no conversation is no earlier turn
            self._last[key] = size, tokens

    def forget(self, prompt: Prompt) -> None:
        """Forget the conversation of *prompt*: what was counted may be another's."""
        self._last.pop((prompt.host, prompt.model, prompt.thread), None)


def _is_text(tokens: int, size: int) -> bool:
    """Whether *size* bytes of text can be *tokens* long: a picture has far fewer, a count in cents far more."""
    return size > 0 and _FEWEST * size <= tokens <= _MOST * size
