"""Measures the server's CPU time per echo against a bare epoll loop, in turns; with --connects,
connects per second and CPU time per connect; with --fanout, CPU time per delivery against bare sends.

The two take turns, round by round, so that whatever else the machine does meets both.
Each is pinned to core 0, the client to core 1. A ratio is formed within each round.
"""

import argparse

import measure

# Name, connections, messages in flight on each.
CELLS = [("100", 100, 1), ("1,000", 1_000, 1), ("10,000", 10_000, 1), ("100, 16 at once", 100, 16)]


# Of the load client: 64 connections, each of which is closed and opened again all the time.
CONNECTS = [("dropped by a reset", ["--reset"]), ("closed by a close frame", [])]


def connects(make, how, chosen):
    with make() as server:
        report = measure.bench(
            server, "churn", "-c", 64, "-d", chosen.duration, "--sources", 8, "--abort", *how,
        )
    if not report["ok"]:
        raise SystemExit(f"{server.name}: {report['errors']} {report['connect_failures']}")
    return {**report, "per_second": report["churn"]["turns_per_second"]}


# Name, subscribers, messages said at once.
CROWDS = [("10,000", 10_000, 1), ("1,000, bursts of 16", 1_000, 16), ("1,000, bursts of 64", 1_000, 64)]


def delivery(make, path, subscribers, burst, chosen):
    with make() as server:
        server.url = f"ws://{server.address}{path}"
        report = measure.bench(
            server, "fanout", "-c", subscribers, "--burst", burst, "-s", 64, "--closed",
            "-d", chosen.duration, "--sources", 8, "--abort",
        )
    if not report["ok"]:
        raise SystemExit(f"{server.name}: {report['errors']} {report['connection_losses']}")
    return report["cpu_us_per_message"], report


def compare_fanout(chosen):
    print("| one 64-byte message to | tidegate, µs per delivery | ratio | on epoll | ratio | bare sends |")
    print("|---|---|---|---|---|---|")
    for name, subscribers, burst in CROWDS:
        ours, epoll, bare = [], [], []
        for turn in range(chosen.rounds):
            runs = [
                (measure.tidegate, "/ws/bench", ours),
                (lambda: measure.tidegate("--io", "epoll"), "/ws/bench", epoll),
                (lambda: measure.bare_echo("--room"), "/", bare),
            ]
            for make, path, figures in runs if turn % 2 == 0 else reversed(runs):
                figure, report = delivery(make, path, subscribers, burst, chosen)
                figures.append(figure)
        cells = [
            measure.spread(figures, 3)
            for figures in (ours, ratios_of(ours, bare), epoll, ratios_of(epoll, bare), bare)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return report


def ratios_of(ours, bare):
    return [one / other for one, other in zip(ours, bare)]


def compare_connects(chosen):
    print("| connects | | tidegate | bare loop | ratio |\n|---|---|---|---|---|")
    for name, how in CONNECTS:
        ours, bare = [], []
        for turn in range(chosen.rounds):
            runs = [
                (measure.tidegate, ours),
                (lambda: measure.bare_echo("--bare-handshake"), bare),
            ]
            for make, reports in runs if turn % 2 == 0 else reversed(runs):
                reports.append(connects(make, how, chosen))
        for what, key, digits in (("per second", "per_second", 0), ("µs of CPU time", "cpu_us_per_message", 2)):
            left, right = ([report[key] for report in reports] for reports in (ours, bare))
            print(
                f"| {name} | {what} | {measure.spread(left, digits)} | {measure.spread(right, digits)} "
                f"| {measure.spread(ratios_of(left, right), 3)} |", flush=True
            )
    return ours[-1]


def cpu(make, connections, pipeline, chosen):
    with make() as server:
        report = measure.bench(
            server, "echo", "-c", connections, "-p", pipeline, "-s", chosen.size,
            "-d", chosen.duration, "--sources", 4, "--abort",
        )
    if not report["ok"]:
        raise SystemExit(f"{server.name}: {report['errors']} {report['connection_losses']}")
    return report["cpu_us_per_message"], report


def main():
    parser = argparse.ArgumentParser(prog="scripts/echo-ratio", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--duration", default="3s", help="of each run [%(default)s]")
    parser.add_argument("--size", default="20", help="of a message [%(default)s]")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--connects", action="store_true", help="connects instead of echoes")
    instead.add_argument("--fanout", action="store_true", help="publications to a room instead of echoes")
    chosen = parser.parse_args()

    if chosen.connects or chosen.fanout:
        how, compare = ("--connects", compare_connects) if chosen.connects else ("--fanout", compare_fanout)
        report = compare(chosen)
        print(
            f"\nMedian (least–most) of {chosen.rounds} rounds of {chosen.duration}; {measure.where(report)}; "
            f"`scripts/echo-ratio {how} --rounds {chosen.rounds} --duration {chosen.duration}`."
        )
        return
    print("| connections | tidegate, µs per message | bare loop, µs per message | ratio |")
    print("|---|---|---|---|")
    for name, connections, pipeline in CELLS:
        ours, bare = [], []
        for turn in range(chosen.rounds):
            runs = [(measure.tidegate, ours), (measure.bare_echo, bare)]
            # Who goes first changes, in case going first matters.
            for make, figures in runs if turn % 2 == 0 else reversed(runs):
                figure, report = cpu(make, connections, pipeline, chosen)
                figures.append(figure)
        ratios = measure.spread(ratios_of(ours, bare), 3)
        print(f"| {name} | {measure.spread(ours, 3)} | {measure.spread(bare, 3)} | {ratios} |", flush=True)
    print()
    print(
        f"Median (least–most) of {chosen.rounds} rounds of {chosen.duration}, {chosen.size} bytes; "
        f"{measure.where(report)}; `scripts/echo-ratio --rounds {chosen.rounds} "
        f"--duration {chosen.duration} --size {chosen.size}`."
    )


main()
