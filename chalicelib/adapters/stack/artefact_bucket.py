"""The S3 bucket from which CloudFormation takes the bundle and the template.

All stages share one bucket, named after account and Region. Such a name can be guessed, so every call names the account
that must own the bucket: another account's bucket of that name is neither read nor written.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from chalicelib.adapters.aws.calls import asked, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.parts import reading
from chalicelib.errors import ConflictError, DeniedError, InputError, UpstreamError

PREFIX = "lazaretto"
_PRIVATE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
_ENCRYPTED = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}]}
_ABSENT = ("404", "NoSuchBucket", "NoSuchKey", "NotFound")


class ArtefactBucket:
    """`name` None: ours, which `ensure` makes. A named one must exist in the Region of the stack; its settings are left
    alone. `arn`: the caller's. Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions, arn: str, region: str, name: str | None = None) -> None:
        self._client = sessions.client("s3")
        self._partition, self._account = arn.split(":")[1], arn.split(":")[4]
        self._region, self._ours = region, name is None
        self.name = name or f"lazaretto-artefacts-{self._account}-{region}"
        self._mine: dict[str, Any] = {"Bucket": self.name}
        if self._ours:
            self._mine["ExpectedBucketOwner"] = self._account

    def ensure(self) -> bool:
        """Ours is made private, encrypted and versioned. True: it is new.

        Raises InputError for a named bucket that does not exist or is in another Region, ConflictError where the name
        of ours belongs to another account.
        """
        region = self._found_in()
        if region is None:
            self._create()
        elif region != self._region:
            raise InputError(f"the bucket {self.name} is in {region}: it must be in {self._region}, as the stack")
        if self._ours and not self._is_finished():
            self._secure()
        return region is None

    def put(self, content: bytes, suffix: str) -> str:
        """The key, which is the content's hash: the same content is sent once. An existing object is compared by S3's
        checksum, because another writer may have written it."""
        digest = hashlib.sha256(content)
        key, checksum = f"{PREFIX}/{digest.hexdigest()}.{suffix}", base64.b64encode(digest.digest()).decode()
        if self._checksum(key) != checksum:
            asked(
                f"write {key}",
                self._client.put_object,
                **self._mine,
                Key=key,
                Body=content,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
            )
        return key

    def url(self, key: str) -> str:
        """As CloudFormation's TemplateURL takes it."""
        return f"{self._client.meta.endpoint_url}/{self.name}/{key}"

    def _found_in(self) -> str | None:
        try:
            answer = asked(f"look for the bucket {self.name}", self._client.head_bucket, **self._mine)
        except DeniedError as error:
            text = f"the bucket {self.name} may not be used: it is another account's, or S3 is denied: give --bucket"
            raise (ConflictError(text) if self._ours else error) from error
        except UpstreamError as error:
            if code_of(error) not in _ABSENT:
                raise
            if not self._ours:
                raise InputError(f"there is no bucket {self.name}") from error
            return None
        return str(answer.get("BucketRegion", self._region))

    def _create(self) -> None:
        place = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        wanted: dict[str, Any] = {} if self._region == "us-east-1" else place
        try:
            asked(f"make the bucket {self.name}", self._client.create_bucket, Bucket=self.name, **wanted)
        except UpstreamError as error:
            if code_of(error) == "BucketAlreadyExists":
                raise ConflictError(f"the bucket {self.name} is another account's: give --bucket") from error
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise

    @reading("read the bucket's versioning")
    def _is_finished(self) -> bool:
        """`_secure` switches versioning on last."""
        return bool(self._client.get_bucket_versioning(**self._mine).get("Status") == "Enabled")

    def _secure(self) -> None:
        client, what = self._client, f"secure the bucket {self.name}"
        asked(what, client.put_public_access_block, **self._mine, PublicAccessBlockConfiguration=_PRIVATE)
        asked(what, client.put_bucket_encryption, **self._mine, ServerSideEncryptionConfiguration=_ENCRYPTED)
        asked(what, client.put_bucket_policy, **self._mine, Policy=json.dumps(self._tls_only()))
        asked(what, client.put_bucket_versioning, **self._mine, VersioningConfiguration={"Status": "Enabled"})

    def _tls_only(self) -> dict[str, Any]:
        arn = f"arn:{self._partition}:s3:::{self.name}"
        statement = {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        return {"Version": "2012-10-17", "Statement": [statement]}

    @reading("look for {}", *_ABSENT)
    def _checksum(self, key: str) -> str:
        return str(self._client.head_object(**self._mine, Key=key, ChecksumMode="ENABLED").get("ChecksumSHA256", ""))
