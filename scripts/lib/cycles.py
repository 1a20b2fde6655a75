"""Connects and disconnects a million times, half of them by a reset, and looks at what is left of it in the server:
descriptors, memory, and counters that must come out even.

It ends with 1 unless descriptors are as many as before, memory has grown by less than --grown-max, nobody is
connected, and every connect has its end.
"""

import argparse
import os
import sys
import time

import measure

# One run of the client; measure.RUN_WITHIN bounds it.
ROUND_SECONDS = 10


class Look:
    """What a server holds while nobody is connected."""

    def __init__(self, server):
        deadline = time.monotonic() + 30
        while server.connections() and time.monotonic() < deadline:
            time.sleep(0.1)
        # What the kernel gives back, and what the allocator does, takes a moment.
        time.sleep(1)
        pid = server.process.pid
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        self.memory = measure.rss_bytes(pid)
        self.metrics = server.metrics()

    def count(self, name):
        return self.metrics.get(f"tidegate_{name}", 0)

    def __str__(self):
        return (
            f"{self.descriptors} descriptors, {self.memory / 1024:.0f} KiB resident, "
            f"{self.count('accepted_total')} accepted, {self.count('opens_total')} opened, "
            f"{self.count('closes_total')} ended, {self.count('connections')} connected"
        )


def cycle(server, chosen, count):
    """Goes on until so many more have been accepted; by a reset and by a close frame in turn."""
    wanted = server.metrics().get("tidegate_accepted_total", 0) + count
    ways = [["--reset", "--abort"], []]
    while server.metrics().get("tidegate_accepted_total", 0) < wanted:
        options = ["-c", chosen.connections, "-d", f"{ROUND_SECONDS}s", "--warmup", "0s", "--sources", 50]
        measure.bench(server, "churn", *options, "--busy-max", 100, *ways[0], core=None)
        ways.reverse()
        so_far = server.metrics().get("tidegate_accepted_total", 0)
        print(f"{so_far:>10} accepted", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(prog="scripts/cycles", description=__doc__)
    parser.add_argument("cycles", nargs="?", type=int, default=1_000_000, help="[%(default)s]")
    parser.add_argument("--connections", type=int, default=200, help="at the same time [%(default)s]")
    parser.add_argument("--warmup", type=int, default=100_000, help="cycles before the first look [%(default)s]")
    parser.add_argument("--grown-max", type=int, default=1024, help="KiB of memory [%(default)s]")
    parser.add_argument("--io", default="auto", help="auto, epoll or uring [%(default)s]")
    chosen = parser.parse_args()

    with measure.tidegate("--io", chosen.io, "--shards", "2", core=None) as server:
        # Tables and the ring of ends are as large as they will be after this.
        cycle(server, chosen, chosen.warmup)
        before = Look(server)
        print(f"before: {before}", flush=True)
        began = time.monotonic()
        cycle(server, chosen, chosen.cycles)
        seconds = time.monotonic() - began
        after = Look(server)
        print(f"after:  {after}", flush=True)

    done = after.count("accepted_total") - before.count("accepted_total")
    grown = (after.memory - before.memory) / 1024
    print(f"{done} cycles in {seconds:.0f} s; memory has grown by {grown:.0f} KiB")
    faults = []
    if after.descriptors != before.descriptors:
        faults.append("descriptors are left")
    if grown >= chosen.grown_max:
        faults.append("memory has grown")
    if after.count("connections") or after.count("sessions"):
        faults.append("somebody is still counted as connected")
    if after.count("opens_total") != after.count("closes_total"):
        faults.append("an end is missing")
    if faults:
        raise SystemExit("cycles: " + ", ".join(faults))


main()
