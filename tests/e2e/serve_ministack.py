"""ministack in this process, with two things set right that AWS does otherwise. Run by build/e2e-venv's interpreter.

- EventBridge takes events of `aws.*` sources from AWS's own services alone, and so does ministack's PutEvents. The
  registry of the run is such a service, but in another process: PutEvents is told here what ministack tells itself for
  its own services. So the patterns of the packaged template stay as they are.
- No permission is called sqs:SendMessageBatch or sqs:DeleteMessageBatch: those calls need sqs:SendMessage and
  sqs:DeleteMessage. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
"""

import ctypes
import signal
from functools import partial
from typing import Any

from ministack.app import main
from ministack.core import iam_actions
from ministack.services import eventbridge

_PR_SET_PDEATHSIG = 1
"""Ends with who started it, however that one ends. prctl(2)."""

_action_of = iam_actions.extract_iam_action


def _permission_of(service: str, *request: Any) -> str | None:
    action = _action_of(service, *request)
    return action.removesuffix("Batch") if action and service == "sqs" else action


ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
eventbridge._put_events = partial(eventbridge._put_events, allow_aws_source=True)
iam_actions.extract_iam_action = _permission_of
main()
