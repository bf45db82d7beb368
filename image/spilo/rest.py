"""Asks Patroni's REST interface of this node, and of others that it names."""

import json
import ssl
import urllib.error
import urllib.request

_TIMEOUT_S = 3


def ask(url: str) -> tuple[int, object]:
    """Return the status and the decoded answer; status 0 when there is none.

    Unverified: it is asked for health and a position in the WAL, and told nothing.
    """
    # Not the default context, which reads all the CAs of the world each time.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        # The address is our own, or one that a member told Patroni.
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S, context=context) as answer:  # noqa: S310
            return answer.status, _decoded(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None
    except OSError:
        return 0, None


def _decoded(content: bytes) -> object:
    try:
        decoded: object = json.loads(content)
    except ValueError:
        return None
    return decoded


def leads(apiport: int) -> bool:
    """Return whether this node holds the leader key."""
    return ask(f"https://localhost:{apiport}/leader")[0] == 200


def written_timeline(apiport: int) -> int | None:
    """Return the timeline that this node writes; None while it follows, or is being promoted.

    Source: Patroni, api.py, get_postgresql_status: a primary is what is not in recovery.
    """
    _, state = ask(f"https://localhost:{apiport}/patroni")
    if not isinstance(state, dict) or state.get("role") != "primary":
        return None
    timeline = state.get("timeline")
    return timeline if isinstance(timeline, int) else None


def leader_position(apiport: int) -> int | None:
    """Return how far the leader has written, in bytes, or None when nobody can say."""
    _, cluster = ask(f"https://localhost:{apiport}/cluster")
    members = cluster.get("members", ()) if isinstance(cluster, dict) else ()
    for member in members:
        if member.get("role") in ("leader", "primary"):
            _, state = ask(member["api_url"])
            place = state.get("xlog") if isinstance(state, dict) else None
            return place.get("location") if isinstance(place, dict) else None
    return None
