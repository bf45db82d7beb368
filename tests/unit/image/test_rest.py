"""image/spilo/rest.py: what a node asks Patroni, over TLS that it does not verify."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme
from rest import ask, leader_position, leads, written_timeline


@pytest.fixture
def serve(tmp_path):
    """Return what starts a server that answers each path as told; returns its port."""
    own = trustme.CA().issue_cert("localhost")
    pem = tmp_path / "server.pem"
    own.private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    started = []

    def start(answers):
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self):
                code, body = answers.get(self.path, (404, "gone"))
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body.replace("PORT", str(server.server_port)).encode())

            def log_message(self, *_):
                """Say nothing."""

        server = HTTPServer(("127.0.0.1", 0), Answers)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        started.append((server, thread))
        return server.server_port

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("code", "answer"), [(200, True), (503, False), (404, False)])
def test_who_leads(serve, code, answer):
    assert leads(serve({"/leader": (code, "{}")})) is answer


@pytest.mark.parametrize(
    ("state", "timeline"),
    [
        ({"state": "running", "role": "primary", "timeline": 3}, 3),
        ({"state": "running", "role": "replica", "timeline": 2}, None),  # also as it is promoted
        ({"state": "starting", "role": "primary"}, None),
        ([], None),
    ],
)
def test_the_timeline_of_who_can_be_written(serve, state, timeline):
    assert written_timeline(serve({"/patroni": (200, json.dumps(state))})) == timeline


def test_nobody_there_leads_not():
    assert leads(1) is False
    assert ask("https://localhost:1/leader") == (0, None)
    assert leader_position(1) is None
    assert written_timeline(1) is None


def test_what_is_no_json_is_nothing(serve):
    assert ask(f"https://localhost:{serve({'/x': (200, 'no json')})}/x") == (200, None)


def members(*roles):
    urls = [{"role": role, "api_url": "https://localhost:PORT/patroni"} for role in roles]
    return (200, json.dumps({"members": urls}))


def test_how_far_the_leader_has_written(serve):
    state = (200, json.dumps({"role": "primary", "xlog": {"location": 67108960}}))
    assert (
        leader_position(serve({"/cluster": members("replica", "leader"), "/patroni": state}))
        == 67108960
    )


@pytest.mark.parametrize(
    "answers",
    [
        {"/cluster": members("replica", "replica")},
        {"/cluster": members()},
        {"/cluster": (200, "[]")},
        {"/cluster": members("leader")},  # which does not answer
        {"/cluster": members("leader"), "/patroni": (200, "[]")},
        {"/cluster": members("leader"), "/patroni": (200, '{"state": "starting"}')},
        {"/cluster": members("leader"), "/patroni": (200, '{"xlog": {}}')},
    ],
)
def test_where_nobody_can_say_there_is_no_position(serve, answers):
    assert leader_position(serve(answers)) is None
