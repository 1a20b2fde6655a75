"""Measures the server's CPU time per echo against a bare epoll loop, in turns; with --connects,
connects per second and CPU time per connect; with --fanout, CPU time per delivery against bare sends.

The two take turns, round by round, so that whatever else the machine does meets both.
Each is pinned to core 0, the client to core 1. A ratio is formed within each round.
"""

import argparse
import functools

import measure

# Name, connections, messages in flight on each.
CELLS = [("100", 100, 1), ("1,000", 1_000, 1), ("10,000", 10_000, 1), ("100, 16 at once", 100, 16)]


# Of the load client: 64 connections, each of which is closed and opened again all the time.
CONNECTS = [("dropped by a reset", ["--reset"]), ("closed by a close frame", [])]

# Name, subscribers, messages said at once.
CROWDS = [("10,000", 10_000, 1), ("1,000, bursts of 16", 1_000, 16), ("1,000, bursts of 64", 1_000, 64)]


def report_of(make, path, kind, *options):
    """One run of the load client against a server of its own."""
    with make() as server:
        server.url = f"ws://{server.address}{path}"
        return measure.bench(server, kind, *options, "--abort")


def compare(chosen, kind, options, *servers):
    """The reports of each server, round by round; a server is how it is made, and a path of it."""
    options = [*options, "-d", chosen.duration]
    return measure.in_turns(
        chosen.rounds, *(functools.partial(report_of, make, path, kind, *options) for make, path in servers)
    )


def costs(reports):
    return [report["cpu_us_per_message"] for report in reports]


def ratios_of(ours, bare):
    return [one / other for one, other in zip(ours, bare)]


def row(name, *cells):
    """A row of the table, each cell a list of figures and how many digits they have."""
    print(f"| {name} | {' | '.join(measure.spread(figures, digits) for figures, digits in cells)} |", flush=True)


def compare_echoes(chosen):
    print("| connections | tidegate, µs per message | bare loop, µs per message | ratio |\n|---|---|---|---|")
    for name, connections, pipeline in CELLS:
        options = ["-c", connections, "-p", pipeline, "-s", chosen.size, "--sources", 4]
        reports = compare(chosen, "echo", options, (measure.tidegate, "/echo"), (measure.bare_echo, "/echo"))
        ours, bare = map(costs, reports)
        row(name, (ours, 3), (bare, 3), (ratios_of(ours, bare), 3))
    return reports[0][-1]


def compare_connects(chosen):
    def yardstick():
        return measure.bare_echo("--bare-handshake")

    print("| connects | | tidegate | bare loop | ratio |\n|---|---|---|---|---|")
    for name, how in CONNECTS:
        options = ["-c", 64, "--sources", 8, *how]
        reports = compare(chosen, "churn", options, (measure.tidegate, "/echo"), (yardstick, "/echo"))
        ours, bare = ([report["churn"]["turns_per_second"] for report in one] for one in reports)
        row(f"{name} | per second", (ours, 0), (bare, 0), (ratios_of(ours, bare), 3))
        ours, bare = map(costs, reports)
        row(f"{name} | µs of CPU time", (ours, 2), (bare, 2), (ratios_of(ours, bare), 3))
    return reports[0][-1]


def compare_fanout(chosen):
    def on_epoll():
        return measure.tidegate("--io", "epoll")

    def yardstick():
        return measure.bare_echo("--room")

    print("| one 64-byte message to | tidegate, µs per delivery | ratio | on epoll | ratio | bare sends |")
    print("|---|---|---|---|---|---|")
    for name, subscribers, burst in CROWDS:
        options = ["-c", subscribers, "--burst", burst, "-s", 64, "--closed", "--sources", 8]
        room = "/ws/bench"
        reports = compare(
            chosen, "fanout", options, (measure.tidegate, room), (on_epoll, room), (yardstick, room)
        )
        ours, epoll, bare = map(costs, reports)
        row(name, (ours, 3), (ratios_of(ours, bare), 3), (epoll, 3), (ratios_of(epoll, bare), 3), (bare, 3))
    return reports[0][-1]


def main():
    parser = argparse.ArgumentParser(prog="scripts/echo-ratio", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--duration", default="3s", help="of each run [%(default)s]")
    parser.add_argument("--size", default="20", help="of an echoed message [%(default)s]")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--connects", action="store_true", help="connects instead of echoes")
    instead.add_argument("--fanout", action="store_true", help="publications to a room instead of echoes")
    chosen = parser.parse_args()

    measures = compare_connects if chosen.connects else compare_fanout if chosen.fanout else compare_echoes
    what = {compare_connects: " --connects", compare_fanout: " --fanout"}.get(measures, f" --size {chosen.size}")
    report = measures(chosen)
    print(
        f"\nMedian (least–most) of {chosen.rounds} rounds of {chosen.duration}; {measure.where(report)}; "
        f"`scripts/echo-ratio{what} --rounds {chosen.rounds} --duration {chosen.duration}`."
    )


main()
