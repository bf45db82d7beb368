"""image/spilo/kms.py against the key service that moto plays; no packet leaves the machine."""

import base64
import socket

import botocore.session
import pytest
from kms import KeyServiceError, unwrap
from moto import mock_aws

REGION = "eu-central-1"
CREDENTIALS = "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No role, no network; credentials as a machine has them: not in the environment."""

    def refused(_, address):
        pytest.fail(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    (tmp_path / "credentials").write_text(CREDENTIALS)
    for name, value in (
        ("AWS_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials")),
        ("AWS_CONFIG_FILE", str(tmp_path / "none")),
    ):
        monkeypatch.setenv(name, value)
    for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL_KMS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def kms():
    """The key service, as somebody uses it who wraps secrets."""
    with mock_aws():
        yield service(REGION)


def service(region):
    """Return a region's key service; mock_aws() gives the environment keys for it."""
    return botocore.session.get_session().create_client("kms", region_name=region)


def wrapped(kms, secret: bytes, key: str | None = None) -> str:
    key = key or kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=secret)["CiphertextBlob"]
    return "aws:kms:" + base64.b64encode(blob).decode()


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (b"superuser-secret", "superuser-secret"),
        (b"from-echo\n", "from-echo"),
        ("gr\u00fc\u00dfe".encode(), "gr\u00fc\u00dfe"),
    ],
)
def test_what_was_wrapped_comes_back(kms, secret, text):
    """The region is AWS_REGION's; botocore itself would look at AWS_DEFAULT_REGION alone."""
    assert unwrap(wrapped(kms, secret)) == text


def test_keys_of_s3_in_the_environment_are_not_used(kms, monkeypatch, tmp_path):
    """They may be wrapped themselves: the planted defect signs with the wrapping paper."""
    text = wrapped(kms, b"secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "aws:kms:x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws:kms:y")
    assert unwrap(text) == "secret"
    (tmp_path / "credentials").unlink()
    with pytest.raises(KeyServiceError, match="Unable to locate credentials"):
        unwrap(text)


@pytest.mark.parametrize("text", ["aws:kms:%%%", "aws:kms:YQ", "aws:kms:\u00fc", "aws:kms:YQ==\n"])
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(KeyServiceError, match=r"^not base64 after aws:kms:$"):
        unwrap(text)


@pytest.mark.usefixtures("kms")
@pytest.mark.parametrize("blob", [b"", b"noise" * 20])
def test_what_was_never_wrapped_is_refused(blob):
    with pytest.raises(KeyServiceError, match=r"^KMS: .*(InvalidCiphertext|AccessDenied)"):
        unwrap("aws:kms:" + base64.b64encode(blob).decode())


@pytest.mark.usefixtures("kms")
def test_anothers_key_is_refused():
    """Wrapped in another region, of which this one knows no key."""
    text = wrapped(service("us-east-1"), b"my-own-secret")
    with pytest.raises(KeyServiceError, match=r"^KMS: ") as caught:
        unwrap(text)
    assert "my-own-secret" not in str(caught.value)


def test_what_is_no_text_is_refused(kms):
    with pytest.raises(KeyServiceError, match=r"^KMS: what it decrypted is not text$"):
        unwrap(wrapped(kms, b"\xff\xfe"))


def test_without_a_region_it_is_refused(kms, monkeypatch):
    text = wrapped(kms, b"secret")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(KeyServiceError, match=r"^KMS: You must specify a region"):
        unwrap(text)


def test_an_endpoint_that_is_no_url_is_refused(kms, monkeypatch):
    text = wrapped(kms, b"secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "kms")
    with pytest.raises(KeyServiceError, match=r"^KMS: Invalid endpoint"):
        unwrap(text)
