"""Measures what subscribers who stop reading do to the latency of those who go on, policy by policy.

In each run everybody reads in the first half; at half time one in ten stops. The ratio is the p99 of the
others in the second half to that in the first. A row in which only a single one stops tells how far that ratio
is from 1 by chance. Server and client have a core each.
"""

import argparse
import functools

import measure

POLICIES = ["disconnect", "drop-oldest", "drop-newest", "latest"]


def run(policy, slow, chosen):
    """The ratios of the others' p50 and p99 after half time to those before."""
    with measure.tidegate("--slow", policy) as server:
        server.url = f"ws://{server.address}/ws/bench"
        client = measure.start_bench(
            server, "slow", "--fanout", "-c", chosen.subscribers, "--slow", slow, "-r", chosen.rate,
            "-s", chosen.size, "-d", chosen.duration, "--busy-max", 100, "--abort", first=True,
        )
        slow_report = measure.heard(client)["slow"]
    before, then = slow_report["latency_us_before"], slow_report["latency_us_during"]
    return then["p50"] / before["p50"], then["p99"] / before["p99"]


def main():
    parser = argparse.ArgumentParser(prog="scripts/slow-readers", description=__doc__)
    parser.add_argument("--subscribers", type=int, default=500, help="[%(default)s]")
    parser.add_argument("--rate", type=int, default=20, help="messages a second to each [%(default)s]")
    parser.add_argument("--size", default="4KiB", help="of a message [%(default)s]")
    parser.add_argument("--duration", default="8s", help="of each run [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    chosen = parser.parse_args()

    rows = [("only one stops", "disconnect", 1)]
    rows += [(policy, policy, chosen.subscribers // 10) for policy in POLICIES]
    runs = [functools.partial(run, policy, slow, chosen) for _, policy, slow in rows]
    measured = measure.in_turns(chosen.rounds, *runs)
    print("| one in ten stops reading | p50 of the others, then to before | p99 |")
    print("|---|---|---|")
    for (name, _, _), ratios in zip(rows, measured):
        p50, p99 = zip(*ratios)
        print(f"| {name} | {measure.spread(p50, 2)} | {measure.spread(p99, 2)} |")
    print(
        f"\nMedian (least–most) of {chosen.rounds} rounds of {chosen.duration}, {chosen.subscribers} subscribers, "
        f"{chosen.rate} messages a second of {chosen.size} to each; `scripts/slow-readers --rounds {chosen.rounds}`."
    )


main()
