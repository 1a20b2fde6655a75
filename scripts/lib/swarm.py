"""Has a swarm of clients leave at once, and measures how long others wait meanwhile.

Some clients echo at a steady rate all the time. In one half of the rounds a swarm beside them is
killed (SIGKILL), or with --comeback connects, drops all at once and comes back as fast as good
clients may; in the other half nothing happens, which is what to compare with.
"""

import argparse
import json
import statistics
import time

import measure


def wait_for(what, server, holds):
    deadline = time.monotonic() + 60
    while not holds(server.connections()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: {server.connections()} connections")
        time.sleep(0.05)


# A client that something else kept from sending in time says no latencies: such a run is made again.
ATTEMPTS = 5


def run(chosen, kill):
    """As measured, in the first run that its client could keep up with."""
    for _ in range(ATTEMPTS):
        measured = attempt(chosen, kill)
        if measured:
            return measured
    raise SystemExit(f"{ATTEMPTS} times the client could not keep up: this machine is too busy")


def attempt(chosen, kill):
    """The longest echo in µs, the 99.9th percentile, and how long the server took to be rid of all;
    `None` if the client was held up."""
    if chosen.comeback:
        return come_back(chosen, kill)
    with measure.tidegate(*chosen.option) as server:
        swarm = measure.start_bench(server, "idle", "-c", chosen.swarm, "-d", "120s", "--sources", 32)
        wait_for("the swarm did not open", server, lambda count: count >= chosen.swarm)
        echoes = measure.start_bench(
            server, "echo", "-c", chosen.clients, "-s", 20, "-r", chosen.rate, "-d", "4s", "--abort",
            # The kernel closes the sockets of the dead on the core that they died on, and lets
            # nobody else run there meanwhile.
            core=0,
        )
        wait_for("the others did not open", server, lambda count: count >= chosen.swarm + chosen.clients)
        time.sleep(1.0)
        started = time.monotonic()
        digested = 0.0
        if kill:
            swarm.kill()
            wait_for("the swarm is not gone", server, lambda count: count <= chosen.clients)
            digested = time.monotonic() - started
        report = json.loads(echoes.communicate(timeout=60)[0])
        swarm.kill()
        swarm.wait()
    if not report["ok"] or report["errors"]["lost"]:
        raise SystemExit(f"echoes were lost: {report['errors']}")
    latency = report["latency_us"]
    if not latency:
        return None
    return latency["max"], latency["p99.9"], digested, report


def come_back(chosen, swarms):
    """The same where the swarm connects, drops and comes back; `swarms` is false where nobody does."""
    with measure.tidegate(*chosen.option) as server:
        echoes = measure.start_bench(
            server, "echo", "-c", chosen.clients, "-s", 20, "-r", chosen.rate, "-d", "5s", "--abort",
            # What the swarm takes of the clients' core is not the server's doing.
            first=True,
        )
        wait_for("the others did not open", server, lambda count: count >= chosen.clients)
        time.sleep(1.5)
        storm = None
        if swarms:
            storm = measure.start_bench(server, "storm", "-c", chosen.swarm, "--sources", 32, "--outstanding", 10_000, "--abort")
        report = json.loads(echoes.communicate(timeout=60)[0])
        back = json.loads(storm.communicate(timeout=90)[0]) if storm else None
    if not report["ok"] or report["errors"]["lost"]:
        raise SystemExit(f"echoes were lost: {report['errors']}")
    if back and not back["ok"]:
        raise SystemExit(f"not all came back: {back['errors']}, {back.get('connect_failures')}")
    latency = report["latency_us"]
    if not latency:
        return None
    return latency["max"], latency["p99.9"], (back["storm"]["back_ms"]["100"] or 0.0) / 1_000 if back else 0.0, report


def main():
    parser = argparse.ArgumentParser(prog="scripts/swarm", description=__doc__)
    parser.add_argument("--comeback", action="store_true", help="the swarm connects, drops and comes back, instead of being killed")
    parser.add_argument("--swarm", type=int, default=18_000, help="clients that leave at once [%(default)s]")
    parser.add_argument("--clients", type=int, default=50, help="that echo [%(default)s]")
    parser.add_argument("--rate", type=int, default=2_000, help="echoes per second [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--option", action="append", default=[], help="for the server, such as --option=--io=uring")
    chosen = parser.parse_args()

    done = "until all were back, s" if chosen.comeback else "until all were gone, s"
    print(f"| | longest echo, ms | p99.9, ms | p99, ms | {done} |")
    print("|---|---|---|---|---|")
    rounds = {True: [], False: []}
    for _ in range(chosen.rounds):
        for kill in (False, True):
            rounds[kill].append(run(chosen, kill))
    event = "come back" if chosen.comeback else "are killed"
    for kill, name in ((False, "nobody else is there"), (True, f"{chosen.swarm:,} {event}")):
        longest, high, digested, reports = zip(*rounds[kill])
        cells = [
            measure.spread([us / 1_000 for us in longest], 1),
            measure.spread([us / 1_000 for us in high], 1),
            measure.spread([report["latency_us"]["p99"] / 1_000 for report in reports], 2),
            measure.spread(digested, 2) if kill else "",
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    rate = statistics.median(report["messages_per_second"] for report in reports)
    print(f"\nMedian (least–most) of {chosen.rounds} rounds; {rate:.0f} echoes per second of {chosen.clients} clients; {measure.where(reports[0])}.")


main()
