"""The channels that are set up, by name: how each is made, and what is wrong with the form of its secret.

Every function imports this module, so a channel's own module is imported where the channel is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from chalicelib.adapters.channels.secrets import Clients, Secret
from chalicelib.domain.channels.channel import CHANNELS, WITH_SECRET
from chalicelib.services.ports.context import Channel
from chalicelib.settings import Settings


class Maker(msgspec.Struct, frozen=True):
    """`wrong_form`: what is wrong with a secret, without repeating it; None: nothing."""

    make: Callable[[Settings, Clients], Channel]
    wrong_form: Callable[[str, Settings], str | None] = lambda text, settings: None


def channel_makers(settings: Settings, clients: Clients) -> dict[str, Callable[[], Channel]]:
    names = [kind.name for kind in CHANNELS if kind.name in settings.channels]
    return {name: partial(MAKERS[name].make, settings, clients) for name in names}


def secret_checks(settings: Settings, clients: Clients) -> dict[str, Callable[[], str | None] | None]:
    """By channel: what is wrong with its secret, which is never told; None for a channel that is not set up. The call
    raises SettingsError, TransientError, DeniedError, UpstreamError."""

    def check(name: str) -> str | None:
        return MAKERS[name].wrong_form(Secret(settings.channels[name], clients).read(), settings)

    return {k.name: partial(check, k.name) if k.name in settings.channels else None for k in WITH_SECRET}


def _sns(settings: Settings, clients: Clients) -> Channel:
    from chalicelib.adapters.channels.sns import SnsTopic

    return SnsTopic(settings.channels["sns"], clients.client("sns"))


def _slack(settings: Settings, clients: Clients) -> Channel:
    from chalicelib.adapters.channels.slack import SlackBot, SlackWebhook

    secret, channel = Secret(settings.channels["slack"], clients), settings.slack_channel
    return SlackBot(secret, channel) if channel else SlackWebhook(secret, "slack" in settings.local_channels)


def _wrong_slack(text: str, settings: Settings) -> str | None:
    from chalicelib.adapters.channels.slack import wrong_form

    return wrong_form(text, bot=bool(settings.slack_channel), local="slack" in settings.local_channels)


def _webhook(settings: Settings, clients: Clients) -> Channel:
    from chalicelib.adapters.channels.webhook import Webhook

    return Webhook(Secret(settings.channels["webhook"], clients), "webhook" in settings.local_channels)


def _wrong_webhook(text: str, settings: Settings) -> str | None:
    from chalicelib.adapters.channels.webhook import wrong_form

    return wrong_form(text, local="webhook" in settings.local_channels)


MAKERS = {"sns": Maker(_sns), "slack": Maker(_slack, _wrong_slack), "webhook": Maker(_webhook, _wrong_webhook)}
