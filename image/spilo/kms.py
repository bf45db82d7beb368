"""Secrets that are wrapped under a KMS key, as senza writes them: `aws:kms:<base64>`.

Taupage unwraps them before Docker starts; where Docker is started by anything else, this does, so
that user data and `docker inspect` hold nothing that the node's role cannot decrypt.
"""

import base64
import os
from typing import TYPE_CHECKING, Protocol, TypedDict, cast

if TYPE_CHECKING:
    from botocore.session import Session

WRAPPED = "aws:kms:"
_ATTEMPTS = 3  # of the metadata service or KMS, which may be slow in the first seconds of a machine


class KeyServiceError(Exception):
    """A secret could not be unwrapped; says why, and never the secret."""


class _Decrypted(TypedDict):
    Plaintext: bytes


class _KeyService(Protocol):
    def decrypt(self, *, CiphertextBlob: bytes) -> _Decrypted: ...  # noqa: N803 - AWS's name


def unwrap(text: str) -> str:
    """Return the secret that `text` wraps.

    The region is AWS_REGION; the endpoint AWS_ENDPOINT_URL_KMS, or AWS's own; the credentials are
    those of the machine's role (IMDSv2) or of the usual files, never of the environment: what is
    there is for S3, and may be wrapped itself.

    Raises:
        KeyServiceError: when it is no base64, or KMS refuses it or does not answer.
    """
    try:
        blob = base64.b64decode(text.removeprefix(WRAPPED), validate=True)
    except ValueError:
        raise KeyServiceError("not base64 after aws:kms:") from None
    # Costs a third of a second, which only those who wrap their secrets shall pay.
    import botocore.session
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        plain = _client(botocore.session.get_session()).decrypt(CiphertextBlob=blob)["Plaintext"]
        return plain.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise KeyServiceError("KMS: what it decrypted is not text") from None
    # The last is botocore's complaint about an endpoint that is no URL.
    except (BotoCoreError, ClientError, ValueError) as error:
        raise KeyServiceError(f"KMS: {error}") from None


def _client(session: "Session") -> _KeyService:
    from botocore.config import Config

    session.set_config_variable("metadata_service_num_attempts", _ATTEMPTS)
    session.get_component("credential_provider").remove("env")
    # botocore itself reads AWS_DEFAULT_REGION alone.
    region = os.environ.get("AWS_REGION")
    waits = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": _ATTEMPTS})
    return cast("_KeyService", session.create_client("kms", region_name=region, config=waits))
