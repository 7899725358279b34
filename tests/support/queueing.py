"""What queueing theory says of waiting in line. Rates in jobs a second, times in seconds."""

from __future__ import annotations

import math


def erlang_c(servers: int, work: float) -> float:
    """The share of jobs that wait in M/M/c. ``work``: arrival rate × mean job time, below ``servers``."""
    blocked = 1.0  # Erlang B, by its recursion over the servers.
    for count in range(1, servers + 1):
        blocked = work * blocked / (count + work * blocked)
    return blocked / (1 - (work / servers) * (1 - blocked))


def mean_wait(servers: int, arrival_rate: float, job_s: float) -> float:
    """The mean wait of M/M/c, those who do not wait among them."""
    return erlang_c(servers, arrival_rate * job_s) / (servers / job_s - arrival_rate)


def wait_above(limit_s: float, servers: int, arrival_rate: float, job_s: float) -> float:
    """The share of jobs that wait longer than ``limit_s`` in M/M/c."""
    return erlang_c(servers, arrival_rate * job_s) * math.exp(-(servers / job_s - arrival_rate) * limit_s)


def pollaczek_khinchine(arrival_rate: float, job_s: float, cv: float) -> float:
    """The mean wait of M/G/1. ``cv``: the coefficient of variation of job times, 0 for M/D/1."""
    load = arrival_rate * job_s
    return load * job_s * (1 + cv**2) / (2 * (1 - load))
