"""Where requests may go: which paths and origins the enabled accounts answer for."""

from __future__ import annotations

from collections.abc import Container

from . import upstream_url
from .accounts.pool import Accounts
from .exchange import Exchange
from .settings.settings import Config
from .values.account import Account
from .values.decision import Refusal
from .values.http import Client, Endpoint, Origin

NOT_OURS = Refusal(
    404, "not_an_llm_path", "No account serves this path here; see the settings `paths` and `other_traffic`"
)


class Destinations:
    """The destinations of one configuration. *reverse*, where it is asked for, is the upstream of `--mode reverse:`."""

    def __init__(self, config: Config, accounts: Accounts) -> None:
        self.config = config
        self._accounts = accounts

    def serves(self, endpoint: Endpoint, destination: Origin, reverse: Origin | None = None) -> bool:
        """Whether any enabled account answers for *endpoint* at *destination*."""
        anywhere = upstream_url.is_anywhere(destination)
        if anywhere and not endpoint.family:
            return False  # a path of no dialect says nothing about which provider it is for
        path = "" if endpoint.family else endpoint.suffix
        return self._accounts.serves(endpoint.family, None if anywhere else destination, reverse, path)

    def unserved(
        self, endpoint: Endpoint, destination: Origin, reverse: Origin | None, client: Client, now: float
    ) -> Refusal:
        """Return why no enabled account answers for *endpoint*; see `serves`."""
        there = None if upstream_url.is_anywhere(destination) else destination
        return self._accounts.unserved(endpoint.family, there, reverse, client, now) or NOT_OURS

    def passes(self, endpoint: Endpoint, destination: Origin, *, reverse: bool, keyed: bool) -> bool:
        """Whether a request that no account serves passes: from a *reverse* listener or none, *keyed* or not."""
        if self.config.mode == "shadow":
            return not endpoint.dialect  # a request to a model is observed, also where no account would serve it
        if other := self.config.other_traffic:
            return other == "pass"
        # At the host of an account the client's key may be its key for this proxy, which no provider may see.
        return not reverse and not (keyed and self.has_account_at(destination))

    def has_account_at(self, destination: Origin) -> bool:
        """Whether *destination* is the origin of an enabled account."""
        return any(account.enabled and account.origin == destination for account in self.config.accounts)

    def still_serves(self, account: Account) -> bool:
        """Whether *account*, of some time ago, is still enabled, at the same place."""
        now = next((one for one in self.config.accounts if one.id == account.id), None)
        return now is not None and now.enabled and (now.origin, now.base_path) == (account.origin, account.base_path)

    def resolve(
        self, endpoint: Endpoint, path: str, headers: Container[str], destination: Origin, reverse: Origin | None
    ) -> Endpoint:
        """Return the meaning of *path*: where dialects spell it alike, the first that an account here speaks."""
        readings = upstream_url.readings(endpoint, path, headers)
        if len(readings) == 1:
            return endpoint
        return next((each for each in readings if self.serves(each, destination, reverse)), endpoint)

    def of(self, exchange: Exchange) -> Origin | None:
        """
        Return where *exchange* must go; None leaves it to the model.

        A resource that names neither an account nor a model goes to the first pool.
        """
        request = exchange.request
        if not upstream_url.is_anywhere(request.destination):
            return request.destination
        bound = exchange.pin or exchange.model or exchange.identity.owner is not None
        if request.endpoint.kind != "resource" or bound:
            return None
        return upstream_url.first(self.config.accounts, request.endpoint.family, exchange.reverse)
