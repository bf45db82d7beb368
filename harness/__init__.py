"""Runs a scenario against a PostgreSQL cluster and judges what its clients saw.

scenario file -> Scenario -> Plan -> Driver x (Fault, Workload, Probe) -> History -> Checkers
-> Verdict -> Report. Read `harness.protocols` first.
"""

__version__ = "0.1.0"
