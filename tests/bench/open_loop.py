"""Requests at a fixed rate, whatever the server does: what wrk cannot do, nor any generator that Debian 12 has.

A generator that waits for an answer before it sends the next request sends fewer while the server is slow, and so
leaves out the very requests that would have waited ("coordinated omission"). Here each request has a moment at which it
is due, and its time counts from there: one that finds all connections busy has waited since it was due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from itertools import count
from random import Random


def drive(
    port: int, paths: Sequence[str], headers: Mapping[str, str], *, rate: float, seconds: float, connections: int
) -> list[float]:
    """Ask for random paths so many times a second, over connections that stay open; give each request's seconds.

    Raises RuntimeError for an answer that is no success.
    """
    due = count()
    total = int(rate * seconds)
    begin = time.perf_counter() + 0.2
    times: list[float] = []
    failures: list[str] = []

    def run(seed: int) -> None:
        chance = Random(seed)
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        while not failures and (number := next(due)) < total:
            at = begin + number / rate
            time.sleep(max(0.0, at - time.perf_counter()))
            path = chance.choice(paths)
            connection.request("GET", path, headers=dict(headers))
            with connection.getresponse() as response:
                response.read()
            times.append(time.perf_counter() - at)
            if response.status not in (200, 202):
                failures.append(f"{path} is answered with {response.status}")
        connection.close()

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures or len(times) < total:
        raise RuntimeError(failures[0] if failures else "a connection broke")
    return times
