"""Looks for secrets by their value, in whatever they are carried."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

# What is shorter turns up by chance.
SHORTEST = 12


def secrets_in(files: Mapping[str, str]) -> Sequence[str]:
    """Return what is secret in files that were handed out: `shares` of the vault, flat.

    A certificate is for everybody to see, an access key's id is a user's name. Of a key in lines
    each line is one secret, of `name:key` the key.
    """
    found: set[str] = set()
    for path, text in files.items():
        if path.endswith((".crt", "ca.pem", "s3-key", "s3-admin-key", "root-user")):
            continue
        lines = [line for line in text.splitlines() if not line.startswith("-----")]
        found |= {line.rpartition(":")[2] for line in lines if len(line) >= SHORTEST}
    return sorted(found)


def needles(secrets: Iterable[str]) -> Sequence[bytes]:
    """Return each secret as it is, as a URL has it, and as base64 of any text that it is part of.

    The last is how HTTP carries a password.

    Raises:
        ValueError: when there is none, or one too short to be looked for.
    """
    known = sorted(set(secrets))
    if not known or min(map(len, known)) < SHORTEST:
        raise ValueError(f"{len(known)} secrets; expected some, of {SHORTEST} characters or more")
    found = set[bytes]()
    for secret in known:
        found |= {secret.encode(), quote(secret, safe="").encode()}
        for before in range(3):
            found |= _in_base64(secret.encode(), before)
    return sorted(found)


def _in_base64(secret: bytes, before: int) -> set[bytes]:
    """Return the part of the code that is the secret's alone, after so many other bytes."""
    coded = base64.b64encode(bytes(before) + secret + bytes(2))
    # Three bytes are four characters; those that a neighbour's byte has a part in are not ours.
    first = -(-before * 8 // 6)
    last = (before + len(secret)) * 8 // 6
    part = coded[first:last]
    return {part, part.replace(b"+", b"-").replace(b"/", b"_")}


def leaking(places: Mapping[str, bytes], looked_for: Sequence[bytes]) -> Sequence[str]:
    """Return the names of the places that hold a secret.

    Raises:
        ValueError: when there is no place, or all are empty: nothing was looked at.
    """
    if not any(places.values()):
        raise ValueError(f"{len(places)} places, all empty; expected some that hold anything")
    pattern = re.compile(b"|".join(map(re.escape, looked_for)))
    return sorted(name for name, content in places.items() if pattern.search(content))
