"""Measures the server's CPU time per echo against a bare epoll loop, in turns.

The two take turns, round by round, so that whatever else the machine does meets both.
Each is pinned to core 0, the client to core 1. A ratio is formed within each round.
"""

import argparse

import measure

# Name, connections, messages in flight on each.
CELLS = [("100", 100, 1), ("1,000", 1_000, 1), ("10,000", 10_000, 1), ("100, 16 at once", 100, 16)]


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
    chosen = parser.parse_args()

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
        ratios = [one / other for one, other in zip(ours, bare)]
        print(f"| {name} | {measure.spread(ours, 3)} | {measure.spread(bare, 3)} | {measure.spread(ratios, 3)} |", flush=True)
    print()
    print(
        f"Median (least–most) of {chosen.rounds} rounds of {chosen.duration}, {chosen.size} bytes; "
        f"{measure.where(report)}; `scripts/echo-ratio --rounds {chosen.rounds} "
        f"--duration {chosen.duration} --size {chosen.size}`."
    )


main()
