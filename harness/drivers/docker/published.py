"""Images that others publish: whether the engine has one, and one short try to pull it.

A registry that cannot be reached must not hold anybody up, so there is always another way.
"""

import os

import docker
import docker.errors
import requests

from harness.drivers.docker.commands import Progress
from harness.errors import DriverError

# Seconds without a word from the engine.
PULL_TIMEOUT_S = 15


def is_present(client: docker.DockerClient, reference: str) -> bool:
    """Say whether the engine has the image."""
    try:
        client.images.get(reference)
    except docker.errors.ImageNotFound:
        return False
    return True


def override(client: docker.DockerClient, name: str) -> str | None:
    """Return the image that the environment names in `DRILL_IMAGE_<NAME>`, or None.

    Raises:
        DriverError: when the engine has no such image.
    """
    variable = f"DRILL_IMAGE_{name.upper()}"
    reference = os.environ.get(variable)
    if reference and not is_present(client, reference):
        raise DriverError(f"{variable}: no image {reference!r}; expected one on this engine")
    return reference or None


def pull(client: docker.DockerClient, reference: str, name: str, progress: Progress) -> bool:
    """Try to pull the image, unless `DRILL_PULL=never`; say whether the engine has it now."""
    if os.environ.get("DRILL_PULL") == "never":
        return False
    progress(f"image {name}: pulling {reference}")
    try:
        # A client of its own, for its time-out; both are made from the same environment.
        puller = docker.from_env(timeout=PULL_TIMEOUT_S)
        puller.images.pull(reference)
    except (docker.errors.DockerException, requests.RequestException) as error:
        reason = getattr(error, "explanation", None) or error
        progress(f"image {name}: cannot pull {reference} ({reason})")
        return False
    return is_present(client, reference)
