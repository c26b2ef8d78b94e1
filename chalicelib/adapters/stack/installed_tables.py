"""The table of an installation and its key's state. Calls: those of `kept_table.KeptTables`, and KMS's DescribeKey."""

from __future__ import annotations

from chalicelib.adapters.aws.errors import asked
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.kept_table import Kept, KeptTables


class InstalledTables:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions, self._kept = sessions, KeptTables(sessions)

    def find(self, name: str) -> Kept | None:
        return self._kept.find(name)

    def key_state(self, arn: str) -> str:
        """`Enabled`, `Disabled`, `PendingDeletion`, …"""
        answer = asked(f"read the key {arn}", self._sessions.client("kms").describe_key, KeyId=arn)
        return str(answer["KeyMetadata"]["KeyState"])
