"""A channel whose failures are counted, whoever tells what by it."""

from __future__ import annotations

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.metric import Metric
from chalicelib.errors import LazarettoError
from chalicelib.services.ports.ports import Channel, Meter


class CountedChannel:
    def __init__(self, channel: Channel, meter: Meter) -> None:
        self._channel, self._meter = channel, meter

    @property
    def name(self) -> str:
        return self._channel.name

    def send(self, alert: Alert) -> None:
        try:
            self._channel.send(alert)
        except LazarettoError:
            self._meter.count(Metric.CHANNEL_FAILURES, by=self.name)
            raise
