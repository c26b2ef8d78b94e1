"""Where things are in this run: the account and Region that everything belongs to, and what the build has left."""

from __future__ import annotations

import os
from pathlib import Path

from chalicelib.local.aws.deployment import ACCOUNT as LOCAL_ACCOUNT
from chalicelib.local.aws.stack import REGION as LOCAL_REGION

HOST = "127.0.0.1"
ACCOUNT, REGION = LOCAL_ACCOUNT, LOCAL_REGION
ROOT_KEY, ROOT_SECRET = "AKIAE2EROOT000000000", "made-up-for-this-run"
STAGE = os.environ.get("LAZARETTO_STAGE", "dev")
"""As `make package` reads it: a template is packaged for one stage."""
SLACK = "hooks.slack.com"
BUILD = Path(__file__).parents[2] / "build"
PACKAGE = Path(os.environ.get("E2E_PACKAGE", BUILD / "package"))
"""What is tested: `E2E_PACKAGE` names another folder, such as a release's."""
RESULTS = BUILD / "e2e"
MINISTACK_PYTHON = BUILD / "e2e-venv/bin/python"
BROUGHT_BY_LAMBDA = BUILD / "runtime"
"""What `make package` lays beside the bundle: boto3 and what it needs, alone."""
RIC = BUILD / "e2e-ric"
PACKAGE_PYTHON = BUILD / "venv/bin/python"
