"""Measures what a reconnect storm does to the echoes of those who stay, with and without a rate of admission.

Each round is one server of one shard, on a core of its own, for each row: echoes alone, beside a storm without a rate,
beside the same storm with one.
"""

import argparse

import measure


def refused(server):
    """How many handshakes the server has refused for its rate."""
    return server.metrics('cause="rate"').get("tidegate_handshake_refusals_total", 0)


def run(chosen, rate, storm):
    """One row: the p99 of the echoes, when the last client was back, how often one was refused."""
    options = ["--handshake-rate", str(rate)] if rate else []
    # The clients connect slowly enough for any rate, and drop all at once in the midst of the echoes.
    ramp = max(1, (rate or chosen.rate) * 3 // 4)
    seconds = chosen.clients // ramp + chosen.seconds
    # What the storm takes of the clients' core is not the server's doing: the echoes go before it there.
    with measure.tidegate(*options, core=0) as server:
        echo = measure.start_bench(
            server, "echo", "-c", 100, "-r", 1000, "-d", f"{seconds}s", "--busy-max", 100, first=True
        )
        back = None
        if storm:
            command = measure.bench_command(
                server, "storm", ["-c", chosen.clients, "--ramp", ramp, "--backoff", "200ms"], 1
            )
            back = measure.reported(command)
        report = measure.heard(echo, measure.RUN_WITHIN + seconds)
        return report["latency_us"]["p99"], back, refused(server), report


def main():
    parser = argparse.ArgumentParser(prog="scripts/storm", description=__doc__)
    parser.add_argument("clients", nargs="?", type=int, default=8_000, help="of the storm [%(default)s]")
    parser.add_argument("--rate", type=int, default=1_000, help="let in each second [%(default)s]")
    parser.add_argument("--seconds", type=int, default=15, help="of echoes after the clients are there [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    chosen = parser.parse_args()

    rows = [("echoes alone", None, False), ("a storm, no rate", None, True), ("a storm, a rate", chosen.rate, True)]
    measured = {name: [] for name, _, _ in rows}
    report = None
    for _ in range(chosen.rounds):
        for name, rate, storm in rows:
            p99, back, count, report = run(chosen, rate, storm)
            measured[name].append(p99)
            told = f", {count} refused" if storm else ""
            print(f"{name:>18}: p99 {p99 / 1000:8.2f} ms{told}", flush=True)
            if back and back["connections_opened"] != chosen.clients:
                raise SystemExit(f"only {back['connections_opened']} of {chosen.clients} opened")
    alone = measured["echoes alone"]
    for name, _, _ in rows:
        ratios = [p99 / before for p99, before in zip(measured[name], alone)]
        print(f"{name:>18}: {measure.spread(ratios, 2)} times the p99 of echoes alone")
    print(f"{chosen.clients} clients, {chosen.rate} a second, on {measure.where(report)}")


main()
