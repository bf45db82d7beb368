"""A node's environment for the tests of its image: good ones, and what is wrong with others."""

from collections.abc import Mapping

import pytest
from configure import Host
from environment import ConfigurationError
from settings import Settings, read_settings

VERSIONS = frozenset({"15", "17"})
FILES = {
    "/s/super": "superuser-secret\n",
    "/s/standby": "standby-secret-1",
    "/s/admin": "admin-secret-12",
    "/s/rest": "rest: 'secret' #1",
    "/s/empty": "",
    "/s/newline": "\n",
    "/s/short": "elevenchars",
    "/s/zalando": "zalando",
    "/s/cola": "cola\n",
    "/s/lines": "two lines of\npassword",
    "/s/wrapped": "aws:kms:c2VjcmV0\n",
    "/s/s3-key": "AKIDEXAMPLE\n",
    "/s/s3-secret": "s3/secret+key=\n",
    "/s/s3-token": "token==",
    "/c/ca.crt": "ca",
    "/c/server.crt": "certificate",
    "/c/server.key": "key",
    "/c/rest.crt": "certificate",
    "/c/rest.key": "key",
}
GOOD = {
    "SCOPE": "my-cluster",
    "ETCD3_HOSTS": "198.18.7.2:2379,198.18.7.3:2379",
    "PGPASSWORD_SUPERUSER_FILE": "/s/super",
    "PGPASSWORD_STANDBY_FILE": "/s/standby",
}
ADMIN = {"PGPASSWORD_ADMIN_FILE": "/s/admin"}
REST = {"RESTAPI_USERNAME": "patroni", "RESTAPI_PASSWORD_FILE": "/s/rest"}
TLS = {
    "SSL_CA_FILE": "/c/ca.crt",
    "SSL_CERTIFICATE_FILE": "/c/server.crt",
    "SSL_PRIVATE_KEY_FILE": "/c/server.key",
}
S3 = {
    "WAL_S3_BUCKET": "backups",
    "WALG_S3_SSE_KMS_ID": "alias/backups",
    "AWS_REGION": "eu-central-1",
}
KEYS = {
    "AWS_ACCESS_KEY_ID_FILE": "/s/s3-key",
    "AWS_SECRET_ACCESS_KEY_FILE": "/s/s3-secret",
}
CLONE = {"CLONE_SCOPE": "source", "CLONE_WAL_S3_BUCKET": "others"}
HOST = Host("pg-1", "198.18.7.11", "/usr/lib/postgresql/17/bin")


def read(path: str) -> str:
    """Return the content of a file that exists here alone."""
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return FILES[path]


def unwrap(text: str) -> str:
    """Return what a key service that decrypts everything to the same says."""
    assert text.startswith("aws:kms:")
    return "unwrapped-secret"


def settings(**changes: str) -> Settings:
    """Return what a good environment with these changes says."""
    return read_settings({**GOOD, **changes}, read, VERSIONS, unwrap)


def mistakes(environment: Mapping[str, str]) -> list[str]:
    """Return what is wrong with an environment; something has to be."""
    with pytest.raises(ConfigurationError) as caught:
        read_settings(environment, read, VERSIONS, unwrap)
    return caught.value.mistakes
