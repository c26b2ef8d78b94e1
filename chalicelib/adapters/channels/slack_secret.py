"""The Slack secret as `lazaretto doctor` sees it: whether it can be read and what form it has, never what it is."""

from __future__ import annotations

from chalicelib.adapters.channels.secrets import Secret
from chalicelib.adapters.channels.slack import wrong_form


class SlackSecret:
    """`bot`: it must be a token, else a webhook's URL."""

    def __init__(self, secret: Secret, *, bot: bool, local: bool = False) -> None:
        self._secret, self._bot, self._local = secret, bot, local

    def form(self) -> str | None:
        """What is wrong with it; None: nothing. Raises TransientError, DeniedError, UpstreamError."""
        return wrong_form(self._secret.read(), bot=self._bot, local=self._local)
