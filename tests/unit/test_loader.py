"""Reading scenario files: what is refused, where, and in which words."""

import os
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import loader
from harness.errors import ScenarioError
from harness.scenario import BACKENDS

NODE_KILL = Path(__file__).resolve().parents[2] / "scenarios" / "node-kill.yaml"

GOOD = """\
scenario: good
title: A replica takes over
labels: [failover]
cluster: {nodes: 3, azs: [a, b, c], sync: quorum, patroni: {ttl: 30, loop_wait: 10}}
matrix: {cluster.nodes: [2, 3], how: [power-off, process]}
backends:
  docker: {repeat: 1}
workload: {append: {clients: 8, rate: 20/s, through: primary-elb}}
steady: {leaders: 1, replicas: {streaming: all, lag: {max: 1MiB}}}
steps:
  - kill: {role: leader, how: "${how}"}
    as: crash
  - wait: {until: new-leader, timeout: 90s}
  - start: {ref: crash}
    at: 4m
expect:
  writers: {max: 1}
  failover: {since: crash, p50: 33s, max: 40s}
  lost_writes: {max: 0, unless: {cluster.sync: async}}
"""
LINES = GOOD.splitlines()


def swap(old: str, new: str) -> str:
    """Return the good file with one part of it replaced."""
    assert GOOD.count(old) == 1, f"{old!r} is not once in the good file"
    return GOOD.replace(old, new)


def without(line: str) -> str:
    """Return the good file without the line that begins so."""
    return "\n".join(text for text in LINES if not text.startswith(line)) + "\n"


def complaint(tmp_path: Path, content: str | bytes, name: str = "good.yaml") -> list[str]:
    """Return the mistakes of a file, without its folder."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ScenarioError) as caught:
        loader.load(path)
    assert caught.value.exit_code == 2
    return [str(mistake).removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

# What is written, where it is wrong, and what must be said of it.
BAD: dict[str, tuple[str | bytes, str, str]] = {
    # The file.
    "empty": ("", "1:1", "empty; expected a YAML mapping"),
    "only a comment": ("# nothing\n", "1:1", "empty; expected a YAML mapping"),
    "a list": ("- a\n- b\n", "1:1", "found a list; expected a YAML mapping"),
    "a word": ("hello\n", "1:1", "found 'hello'; expected a YAML mapping"),
    "null": ("~\n", "1:1", "found nothing; expected a YAML mapping"),
    "binary": (b"\x7fELF\x02\x01\x00\x00", "1:1", "found the character '\\x7f'"),
    "latin-1": (b"scenario: good\ntitle: caf\xe9\n", "2:11", "found the byte 0xe9; expected UTF-8"),
    "UTF-16": ("scenario: good\n".encode("utf-16"), "1:1", "found the byte 0xff; expected UTF-8"),
    "a control character": ("scenario: a\x1b[31m\n", "1:12", "found the character '\\x1b'"),
    "an escaped control character": (
        swap("A replica takes over", '"\\e[31mred"'),
        "2:8",
        "title: found '\\x1b[31mred'; expected printable text",
    ),
    "too large": ("#" + "x" * (300 << 10), "1:1", "larger than 256 KiB"),
    "two documents": (GOOD + "---\n" + GOOD, "20:1", "found a second document; expected one"),
    # YAML.
    "a flow that stays open": ("scenario: {a: 1\n", "2:1", "not YAML: found '<stream end>'"),
    "a tab": ("scenario: good\n\ttitle: x\n", "2:1", "not YAML: while scanning for the next"),
    "a colon too many": ("scenario: good: x\n", "1:15", "not YAML: mapping values"),
    "an unknown alias": ("scenario: *nowhere\n", "1:11", "found the alias *nowhere"),
    "an alias inside itself": ("scenario: &a [*a]\n", "1:15", "found the alias *a"),
    "an alias bomb": (BOMB, "5:4", "aliases expand to more than 10000 nodes"),
    "deep lists": ("scenario: " + "[" * 5000 + "]" * 5000, "1:35", "nested deeper than 24"),
    "deep mappings": ("scenario: " + "{a: " * 5000, "1:", "nested deeper than 24"),
    "deep aliases": (
        "a: &a [[[[[[[[[[[x]]]]]]]]]]]\nb: &b [[[[[[[[[[*a]]]]]]]]]]\nc: [[[[[[*b]]]]]]\n",
        "1:",
        "nested deeper than 24",
    ),
    "an absurd escape": ('scenario: "\\UFFFFFFFF"\n', "1:", "not YAML|out of range"),
    "a lone surrogate": (
        swap("A replica takes over", '"\\ud800"'),
        "2:8",
        "expected printable text",
    ),
    "an absurd version": ("%YAML 1." + "9" * 5000 + "\n---\na: b\n", "1:1", "out of range"),
    "a tag": (swap("nodes: 3", "nodes: !!int 3"), "4:18", "cluster.nodes: found a tag"),
    "a tag for Python": (
        swap("A replica takes over", "!!python/object/apply:os.system [id]"),
        "2:8",
        "title: found a tag; expected a plain value",
    ),
    "a duplicate key": (
        GOOD + "title: again\n",
        "20:1",
        "title: duplicate key; expected one, as in line 2",
    ),
    "a duplicate key inside": (
        swap("{repeat: 1}", "{repeat: 1, repeat: 2}"),
        "7:23",
        "backends.docker.repeat: duplicate key",
    ),
    "a merge key": (swap("{repeat: 1}", "{<<: {repeat: 1}}"), "7:12", "found a merge key '<<'"),
    "a key that is a list": (GOOD + "[a, b]: c\n", "20:1", "found the key of several parts"),
    "a key that is a number": (GOOD + "7: c\n", "20:1", "found the key 7; expected text"),
    # The top level.
    "the word on": (GOOD + "on: true\n", "20:1", "on: unknown key 'on'; expected one of scenario"),
    "a misspelt key": (
        swap("expect:", "expct:"),
        "16:1",
        "expct: unknown key 'expct'; .*; did you mean expect?",
    ),
    "the field's own name": (
        swap("scenario: good", "name: good"),
        "1:1",
        "name: unknown key 'name'",
    ),
    "no name": (without("scenario:"), "1:1", "scenario: missing; expected lower-case words"),
    "no title": (without("title:"), "1:1", "title: missing; expected text that is not empty"),
    "an empty title": (
        swap("A replica takes over", '"  "'),
        "2:8",
        "title: found '  '; expected text",
    ),
    "a name that is not the file's": (
        swap("scenario: good", "scenario: other"),
        "1:11",
        "scenario: found 'other'; expected 'good', the name of the file",
    ),
    "a name with blanks": (
        swap("scenario: good", "scenario: Good One"),
        "1:11",
        "lower-case words",
    ),
    "a label with blanks": (
        swap("[failover]", "[fail over]"),
        "3:10",
        "labels[0]: found 'fail over'",
    ),
    "labels as text": (
        swap("[failover]", "failover"),
        "3:9",
        "labels: found 'failover'; expected a list",
    ),
    # The cluster.
    "an unknown key of the cluster": (
        swap("nodes: 3", "nodez: 3"),
        "4:11",
        "cluster.nodez: unknown key 'nodez'; .*; did you mean nodes?",
    ),
    "an unknown key of Patroni": (
        swap("loop_wait: 10", "loopwait: 10"),
        "4:70",
        "cluster.patroni.loopwait: unknown key 'loopwait'; .*; did you mean loop_wait?",
    ),
    "a cluster as a number": (
        swap(LINES[3], "cluster: 3"),
        "4:10",
        "cluster: found 3; expected a mapping",
    ),
    "a number as text": (
        swap("nodes: 3", 'nodes: "3"'),
        "4:18",
        "cluster.nodes: found '3'; expected a whole number from 1 to 7",
    ),
    "a number in base 8": (swap("nodes: 3", "nodes: 03"), "4:18", "cluster.nodes: found '03'"),
    "a number in base 60": (
        swap("ttl: 30", "ttl: 1:30"),
        "4:66",
        "cluster.patroni.ttl: found '1:30'",
    ),
    "yes for true": (
        swap("loop_wait: 10", "failsafe_mode: yes"),
        "4:85",
        "failsafe_mode: found 'yes'; expected true or false",
    ),
    "a misspelt sync": (
        swap("sync: quorum", "sync: quorm"),
        "4:43",
        "sync: found 'quorm'; expected one of async, sync, strict, quorum; did you mean quorum?",
    ),
    "sync on": (
        swap("sync: quorum", "sync: on"),
        "4:43",
        "cluster.sync: found 'on'; expected one of",
    ),
    "a ttl that Patroni raises": (
        swap("ttl: 30", "ttl: 19"),
        "4:66",
        "ttl: found 19; expected a whole",
    ),
    "a ttl that loops outlast": (
        swap("ttl: 30", "ttl: 29"),
        "4:66",
        "expected loop_wait + 2 * retry_timeout (here 30) of at most ttl",
    ),
    "no AZ": (
        swap("[a, b, c]", "[]"),
        "4:26",
        "cluster.azs: found []; expected a list with at least",
    ),
    "an AZ twice": (swap("[a, b, c]", "[a, b, a]"), "4:33", "cluster.azs[2]: found 'a' again"),
    "quorum of one": (
        swap("[2, 3]", "[1, 3]"),
        "5:26",
        "matrix.cluster.nodes[0]: found 1 node with sync quorum; expected at least 2",
    ),
    # The matrix.
    "an empty axis": (
        swap("[2, 3]", "[]"),
        "5:25",
        "matrix.cluster.nodes: found []; expected a list",
    ),
    "an axis of one word": (
        swap("[2, 3]", "3"),
        "5:25",
        "matrix.cluster.nodes: found 3; expected a list",
    ),
    "an axis with a value twice": (swap("[2, 3]", "[2, 2]"), "5:29", "nodes[1]: found 2 again"),
    "an axis of mappings": (
        swap("[2, 3]", "[{a: 1}]"),
        "5:26",
        "nodes[0]: found a mapping; expected text",
    ),
    "an axis to nowhere": (
        swap("cluster.nodes: [2, 3]", "clutser.nodes: [2, 3]"),
        "5:10",
        "found 'clutser.nodes'; expected a path into .*; did you mean cluster?",
    ),
    "an axis to an unknown key": (
        swap("cluster.nodes: [2, 3]", "cluster.node: [2, 3]"),
        "5:10",
        "matrix.cluster.node: unknown key 'node'; .*; did you mean nodes?",
    ),
    "an axis past the steps": (
        swap("cluster.nodes: [2, 3]", "steps.7.wait.timeout: [9s]"),
        "5:10",
        "steps[7].wait.timeout is not in the file",
    ),
    "a wrong value in an axis": (
        swap("[2, 3]", "[2, 9]"),
        "5:29",
        "matrix.cluster.nodes[1]: found 9; expected a whole number from 1 to 7",
    ),
    "a wrong value of a variable": (
        swap("[power-off, process]", "[power-off, proces]"),
        "5:50",
        "matrix.how[1]: found 'proces'; expected one of power-off, process; did you mean process?",
    ),
    "a variable that nothing uses": (
        swap("{cluster.nodes", "{speed: [1, 2], cluster.nodes"),
        "5:10",
        "matrix.speed: nothing uses this variable",
    ),
    "a variable that nothing sets": (
        swap("${how}", "${hwo}"),
        "11:31",
        "steps[0].kill.how: unknown variable 'hwo'; .*; did you mean how?",
    ),
    "a variable that stays open": (
        swap("${how}", "${how"),
        "11:31",
        "expected each ${ to be closed",
    ),
    "too many cells": (
        swap(
            "[2, 3]",
            "[2, 3], cluster.postgres: [13, 14, 15, 16, 17, 18], "
            + ", ".join(
                f"cluster.patroni.{key}: [{', '.join(map(str, range(20, 40)))}]"
                for key in ("ttl", "primary_start_timeout")
            ),
        ),
        "5:9",
        "matrix: 9600 cells; expected at most 512",
    ),
    "a cover that leaves nothing out": (
        swap("backends:", "cover: 2\nbackends:"),
        "6:8",
        "cover: found 2, and the matrix has 2 axes; expected fewer than it has, or none",
    ),
    "a cover of nothing": (swap("backends:", "cover: 0\nbackends:"), "6:8", "cover: found 0"),
    # The backends.
    "an unknown backend": (
        swap("docker: {", "dokcer: {"),
        "7:3",
        "backends.dokcer: unknown key 'dokcer'; expected one of .*; did you mean docker?",
    ),
    "no backend": (
        swap("backends:\n  docker: {repeat: 1}", "backends: {}"),
        "6:11",
        "backends: found {}; expected a mapping with at least one entry",
    ),
    "repeat 0": (
        swap("repeat: 1", "repeat: 0"),
        "7:20",
        "docker.repeat: found 0; expected a whole number",
    ),
    "an override of what may not differ": (
        swap("repeat: 1", "steps: []"),
        "7:12",
        "backends.docker.steps: unknown key 'steps'",
    ),
    "a rate without a unit": (
        swap("repeat: 1", "rate: 20"),
        "7:18",
        "rate: found 20; expected a rate like",
    ),
    "a wrong override of an expectation": (
        swap("repeat: 1", "expect: {failover: {max: 20s}}"),
        "18:33",
        "expect.failover.p50: p50 33 is above max 20",
    ),
    "an override of an unknown expectation": (
        swap("repeat: 1", "expect: {failovr: {max: 20s}}"),
        "7:21",
        "backends.docker.expect.failovr: unknown expectation 'failovr'; .*; did you mean failover?",
    ),
    "an unknown fact": (GOOD + "requires: {watchdg: true}\n", "20:12", "unknown key 'watchdg'"),
    "a fact of the wrong type": (
        GOOD + "requires: {azs: many}\n",
        "20:17",
        "found 'many'; expected a whole",
    ),
    # The workload and the steady state.
    "an unknown workload": (
        swap("append:", "apend:"),
        "8:12",
        "workload.apend: unknown workload 'apend'; expected append; did you mean append?",
    ),
    "a workload of an unknown kind": (
        swap("append: {clients: 8", "reads: {kind: apend, clients: 8"),
        "8:26",
        "workload.reads.kind: unknown workload 'apend'; expected append; did you mean append?",
    ),
    "an expectation of an unknown workload": (
        swap("writers: {max: 1}", "anomalies: {of: apend, model: serializable}"),
        "17:19",
        "expect.anomalies.of: unknown workload 'apend'; expected append; did you mean append?",
    ),
    "an unknown key of a workload under another name": (
        swap("append: {clients: 8", "reads: {kind: append, client: 8"),
        "8:34",
        "workload.reads.client: unknown key 'client'; .*; did you mean clients?",
    ),
    "an unknown key of a workload": (
        swap("clients: 8", "client: 8"),
        "8:21",
        "workload.append.client: unknown key 'client'; .*; did you mean clients?",
    ),
    "a rate in words": (
        swap("rate: 20/s", "rate: fast"),
        "8:39",
        "rate: found 'fast'; expected a rate like 20/s",
    ),
    "through nothing": (
        swap("primary-elb}", "primary}"),
        "8:54",
        "through: found 'primary'; expected ",
    ),
    "through a node that is not there": (
        swap("through: primary-elb", "through: {node: pg-9}"),
        "8:61",
        "workload.append.through.node: unknown node 'pg-9'; expected one of pg-1, pg-2",
    ),
    "more streams than replicas": (
        swap("streaming: all", "streaming: 3"),
        "9:44",
        "steady.replicas.streaming: found 3 of 2 nodes; expected fewer than all",
    ),
    "a lag without a unit": (
        swap("1MiB", "1024"),
        "9:60",
        "lag.max: found 1024; expected a size like 1MiB",
    ),
    "two leaders": (
        swap("leaders: 1", "leaders: 2"),
        "9:19",
        "steady.leaders: found 2; expected 1",
    ),
    # The steps.
    "no steps": (
        swap("\n".join(LINES[9:15]), "steps: []"),
        "10:8",
        "steps: found []; expected a list with",
    ),
    "steps missing": (
        swap("\n".join(LINES[9:15]) + "\n", ""),
        "1:1",
        "steps: missing; expected a list",
    ),
    "steps as a mapping": (
        swap("\n".join(LINES[9:15]), "steps: {kill: {role: leader}}"),
        "10:8",
        "steps: found a mapping; expected a list",
    ),
    "a step as a word": (
        swap("- start: {ref: crash}\n    at: 4m", "- start"),
        "14:5",
        "found 'start'; expected a mapping",
    ),
    "an unknown verb": (
        swap("- kill:", "- kil:"),
        "11:5",
        "steps[0].kil: unknown verb 'kil'; expected one of .*; did you mean kill?",
    ),
    "two verbs": (
        swap("    as: crash\n", "    as: crash\n    freeze: {role: leader}\n"),
        "13:5",
        "steps[0].freeze: found the verbs kill and freeze; expected one verb a step",
    ),
    "no verb": (
        swap("- start: {ref: crash}\n    at", "- at"),
        "14:5",
        "steps[2]: no verb; expected one of",
    ),
    "a misspelt modifier": (
        swap("    at: 4m", "    backgroud: true"),
        "15:5",
        "steps[2].backgroud: unknown key 'backgroud'; .*; did you mean background?",
    ),
    "an unknown key of a verb": (
        swap('how: "', 'hwo: "'),
        "11:26",
        "steps[0].kill.hwo: unknown key 'hwo'; .*; did you mean how?",
    ),
    "a missing timeout": (
        swap("{until: new-leader, timeout: 90s}", "{until: new-leader}"),
        "13:11",
        "steps[1].wait.timeout: missing; expected a duration like 90s",
    ),
    "a timeout without a unit": (
        swap("timeout: 90s", "timeout: 90"),
        "13:40",
        "steps[1].wait.timeout: found 90; expected a duration like 90s",
    ),
    "a verb without parameters": (
        swap("{until: new-leader, timeout: 90s}", ""),
        "13:10",
        "steps[1].wait: found nothing; expected a mapping",
    ),
    "a condition misspelt": (
        swap("new-leader", "new-leadr"),
        "13:19",
        "until: found 'new-leadr'; expected one of .*; did you mean new-leader?",
    ),
    "a role misspelt": (swap("role: leader", "role: leadr"), "11:18", "did you mean leader?"),
    "a target of two kinds": (
        swap("role: leader", "role: leader, node: pg-1"),
        "11:26",
        "steps[0].kill.node: found role and node; expected one of them",
    ),
    "no target": (
        swap("role: leader, ", ""),
        "11:11",
        "steps[0].kill: no target; expected one of role",
    ),
    "a node out of range": (
        swap("role: leader", "node: pg-4"),
        "11:18",
        "unknown node 'pg-4'; expected one of",
    ),
    "an AZ that is not there": (
        swap("role: leader", "az: d"),
        "11:16",
        "steps[0].kill.az: unknown AZ 'd'; expected one of a, b, c",
    ),
    "two leaders picked": (
        swap("role: leader", "role: leader, pick: 2"),
        "11:32",
        "pick: found 2; expected at most 1",
    ),
    "a share past the whole": (
        swap("role: leader", "role: replica, pick: 150%"),
        "11:33",
        "pick: found '150%'; expected",
    ),
    "a standby that async lacks": (
        swap("sync: quorum", "sync: async").replace("role: leader", "role: sync-standby"),
        "11:18",
        "found sync-standby with sync async",
    ),
    "a ref to nothing": (
        swap("{ref: crash}", "{ref: crahs}"),
        "14:18",
        "steps[2].start.ref: unknown step 'crahs'; expected crash; did you mean crash?",
    ),
    "a ref to a later step": (
        swap("- kill: {role: leader", "- start: {ref: crash}\n  - kill: {role: leader"),
        "11:18",
        "steps[0].start.ref: found 'crash', the name of a later step; expected an earlier one",
    ),
    "one name twice": (
        swap("    at: 4m", "    as: crash"),
        "15:9",
        "steps[2].as: found 'crash' again; expected a name that no other step has",
    ),
    "a time that goes back": (
        swap("  - wait:", "    at: 5m\n  - wait:"),
        "16:9",
        "steps[2].at: found 4m after 5m; expected a time that does not go back",
    ),
    "a time in words": (
        swap("at: 4m", "at: later"),
        "15:9",
        "at: found 'later'; expected a duration like 90s",
    ),
    "background in words": (
        swap("at: 4m", "background: yes"),
        "15:17",
        "steps[2].background: found 'yes'; expected true or false",
    ),
    "the Python name of a key": (
        swap("- start: {ref: crash}", "- partition: {from_: {role: leader}, to: {service: dcs}}"),
        "14:17",
        "steps[2].partition.from_: unknown key 'from_'; .*; did you mean from?",
    ),
    "a node that a group lacks": (
        swap(
            "- start: {ref: crash}",
            "- partition: {from: [{role: leader}, {node: pg-9}], to: {service: dcs}}",
        ),
        "14:47",
        "steps[2].partition.from[1].node: unknown node 'pg-9'; expected one of",
    ),
    "a group of nobody": (
        swap("- start: {ref: crash}", "- partition: {from: [], to: {service: dcs}}"),
        "14:23",
        "steps[2].partition.from: found []; expected a mapping or a list with at least one entry",
    ),
    "an unknown cluster": (
        swap("at: 4m", "cluster: restored"),
        "15:14",
        "unknown cluster 'restored'",
    ),
    "a condition on nothing": (
        swap("at: 4m", "when: {cluster.snyc: quorum}"),
        "15:12",
        "when.cluster.snyc: unknown variable 'cluster.snyc'; .*; did you mean cluster.sync?",
    ),
    "a condition on no value": (
        swap("at: 4m", "when: {how: poweroff}"),
        "15:17",
        "when.how: found 'poweroff'; expected one of power-off, process; did you mean power-off?",
    ),
    "a step that another's condition removes": (
        swap("    as: crash\n", "    as: crash\n    when: {how: process}\n"),
        "15:18",
        "found 'crash', which `when` leaves out of a cell",
    ),
    "a secret that is not set": (
        swap("{ref: crash}", '{ref: "${env:HARNESS_TEST_UNSET}"}'),
        "14:18",
        "the environment has no HARNESS_TEST_UNSET; expected it to be set",
    ),
    # The expectations.
    "no expectation": (
        swap("\n".join(LINES[15:]), "expect: {}"),
        "16:9",
        "expect: found {}; expected",
    ),
    "expectations missing": (
        swap("\n".join(LINES[15:]) + "\n", ""),
        "1:1",
        "expect: missing; expected a mapping",
    ),
    "an unknown expectation": (
        swap("writers:", "writer:"),
        "17:3",
        "expect.writer: unknown expectation 'writer'; .*; did you mean writers?",
    ),
    "an unknown key of an expectation": (
        swap("unless:", "unles:"),
        "19:25",
        "expect.lost_writes.unles: unknown key 'unles'; .*; did you mean unless?",
    ),
    "an expectation without a bound": (
        swap("{max: 1}", "{}"),
        "17:12",
        "expect.writers: no bound; expected max, min or a percentile",
    ),
    "a bound of the wrong kind": (
        swap("p50: 33s", "p50: 33"),
        "18:33",
        "expect.failover.p50: found 33; expected a duration like 90s",
    ),
    "a negative bound": (
        swap("{max: 0,", "{max: -1,"),
        "19:22",
        "expect.lost_writes.max: found -1",
    ),
    "a median above the maximum": (
        swap("p50: 33s", "p50: 50s"),
        "18:33",
        "expect.failover.p50: p50 50 is above max 40",
    ),
    "a percentile of a count": (
        swap("{max: 0,", "{p50: 0,"),
        "19:17",
        "expect.lost_writes.p50: found p50 of a count; expected max or min",
    ),
    "since nothing": (
        swap("since: crash", "since: crsh"),
        "18:21",
        "expect.failover.since: unknown step 'crsh'; expected crash; did you mean crash?",
    ),
    "unless on nothing": (
        swap("unless: {cluster.sync: async}", "unless: {sync: async}"),
        "19:34",
        "expect.lost_writes.unless.sync: unknown variable 'sync'",
    ),
    "unless on no value": (
        swap("unless: {cluster.sync: async}", "unless: {cluster.sync: asink}"),
        "19:48",
        "found 'asink'; expected one of async, sync, strict, quorum; did you mean async?",
    ),
    "nothing left to judge": (
        swap("\n".join(LINES[16:]), "  lost_writes: {max: 0, unless: {cluster.nodes: 2}}"),
        "17:3",
        "expect: no expectation is judged in a cell",
    ),
    "nothing but reports": (
        swap("\n".join(LINES[16:]), "  writers: {report: true}"),
        "17:3",
        "expect: no expectation is judged in a cell",
    ),
    "report in words": (
        swap("{max: 1}", "{max: 1, report: yes}"),
        "17:29",
        "report: found 'yes'; expected true",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_where_it_is_wrong(tmp_path: Path, case: tuple[str | bytes, str, str]):
    """Each mistake has its line and column, says what was found and what was expected."""
    content, place, phrase = case
    mistakes = complaint(tmp_path, content)
    said = "\n".join(mistakes)
    pattern = re.escape(phrase).replace(r"\.\*", ".*").replace(r"\|", "|")
    assert re.search(rf"^good\.yaml:{place}[0-9:]*: (?:.*)(?:{pattern})", said, re.MULTILINE), said
    assert all(re.match(r"good\.yaml:\d+:\d+: ", mistake) for mistake in mistakes), said
    leaks = (
        r"Error\b|Traceback|pydantic|Input should|Value error|yaml\.|\bNone\b|tuple|dict\b|<class"
    )
    assert not re.search(leaks, said), said
    # One slip of the pen is not to be told as several mistakes.
    assert len(mistakes) <= 2, said


def test_the_good_file_is_good(tmp_path: Path):
    """Else the table above would show nothing."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert loader.load(path).name == "good"


def test_there_are_enough_bad_files():
    """Issue 3 asks for at least forty."""
    assert len(BAD) >= 40


def test_all_mistakes_are_told_at_once(tmp_path: Path):
    """Five slips in five sections, one list, in the order of the file."""
    text = GOOD.replace("quorum", "quorm").replace("repeat: 1", "repeat: 0")
    text = text.replace("20/s", "fast").replace("- kill:", "- kil:").replace("writers:", "writer:")
    mistakes = complaint(tmp_path, text)
    assert [int(mistake.split(":")[1]) for mistake in mistakes] == [4, 7, 8, 11, 17]


def test_a_mistake_in_every_cell_is_told_once(tmp_path: Path):
    """Four cells share the step, and it has one mistake."""
    assert len(complaint(tmp_path, swap("timeout: 90s", "timeout: soon"))) == 1


@pytest.mark.parametrize("name", ["missing.yaml", "folder.yaml", "device.yaml", "\0.yaml"])
def test_what_is_no_file_has_no_line(tmp_path: Path, name: str):
    """A mistake about the file itself names the file alone."""
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "device.yaml")
    with pytest.raises(ScenarioError, match=r"\.yaml: .*; expected a YAML file$"):
        loader.load(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path: Path):
    """The operating system's reason is told; a symlink to itself fails for root, too."""
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    with pytest.raises(ScenarioError, match=r"loop\.yaml: .*; expected a YAML file$"):
        loader.load(tmp_path / "loop.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path):
    """Editors write them; they change nothing."""
    path = tmp_path / "good.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert loader.load(path).title == "A replica takes over"


def test_anchors_are_read(tmp_path: Path):
    """An alias stands for the value, and its place is where it is used."""
    path = tmp_path / "good.yaml"
    path.write_text(swap("timeout: 90s", "timeout: &long 90s").replace("at: 4m", "at: *long"))
    scenario = loader.load(path)
    assert scenario.steps[2].at == 90
    assert scenario.document is not None
    assert scenario.document.place(("steps", 2, "at")).line == 15


# --- many files --------------------------------------------------------------------------------


def test_folders_are_walked(tmp_path: Path):
    """At any depth, both endings, in order, without what is hidden; each file once."""
    for name in ("b/two.yml", "a.yaml", ".hidden/x.yaml", "b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(GOOD.replace("scenario: good", f"scenario: {path.stem}"))
    found = loader.load_all([tmp_path, tmp_path / "a.yaml"])
    assert [scenario.name for scenario in found] == ["a", "two"]


def test_names_are_unique_over_all_files(tmp_path: Path):
    """Two files of one name in two folders would share their reports."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "good.yaml").write_text(GOOD)
    with pytest.raises(ScenarioError, match=r"b/good\.yaml:1:11: scenario: found 'good', which"):
        loader.load_all([tmp_path])


def test_a_folder_without_scenarios_is_a_mistake(tmp_path: Path):
    """Running nothing would prove nothing."""
    with pytest.raises(ScenarioError, match=r"no scenario in it; expected \*\.yaml"):
        loader.load_all([tmp_path])


def test_mistakes_of_all_files_are_told(tmp_path: Path):
    """The second file is read although the first is broken."""
    (tmp_path / "good.yaml").write_text("")
    with pytest.raises(ScenarioError) as caught:
        loader.load_all([tmp_path / "good.yaml", tmp_path / "gone.yaml"])
    assert len(caught.value.mistakes) == 2


# --- the scenarios that are shipped ------------------------------------------------------------


def test_node_kill_is_read():
    """The example of the documentation, with the plug-ins that exist."""
    scenario = loader.load(NODE_KILL)
    assert scenario.name == "node-kill"
    assert [step.verb for step in scenario.steps] == ["kill", "wait", "start", "wait"]
    assert scenario.steps[0].name == "crash"
    assert set(scenario.backends) == set(BACKENDS)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, NODE_KILL.stat().st_size - 1),
            st.integers(0, 8),
            st.binary(max_size=4)
            | st.sampled_from([b"{", b"]", b"*", b"&a ", b"- ", b": ", b"\n"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_file_is_refused_or_read(tmp_path: Path, edits: list[tuple[int, int, bytes]]):
    """Whatever bytes are cut and pasted, nothing but a ScenarioError comes out."""
    data = NODE_KILL.read_bytes()
    for start, length, new in edits:
        data = data[:start] + new + data[start + length :]
    path = tmp_path / "node-kill.yaml"
    path.write_bytes(data)
    with suppress(ScenarioError):
        loader.load(path)
