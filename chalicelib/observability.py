"""The one logger and the one metrics object. No secret and no whole finding is ever logged."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics

SERVICE, NAMESPACE = "lazaretto-pipeline", "Lazaretto"

logger = Logger(service=SERVICE)
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)
