"""Measures what an idle connection costs the server in resident memory."""

import argparse

import measure


def main():
    parser = argparse.ArgumentParser(prog="scripts/idle", description=__doc__)
    parser.add_argument("low", nargs="?", type=int, default=2_000, help="connections [%(default)s]")
    parser.add_argument("high", nargs="?", type=int, default=18_000, help="connections [%(default)s]")
    parser.add_argument("--steps", type=int, default=4, help="between the two [%(default)s]")
    parser.add_argument("--hold", default="1s", help="how long they are held [%(default)s]")
    chosen = parser.parse_args()

    measured = []
    for step in range(chosen.steps + 1):
        count = chosen.low + (chosen.high - chosen.low) * step // chosen.steps
        # A server of its own for each, so that no step inherits the memory of another.
        with measure.tidegate() as server:
            report = measure.bench(
                server, "idle", "-c", count, "-d", chosen.hold, "--sources", 4, "--abort"
            )
        if report["connections_opened"] != count:
            raise SystemExit(f"only {report['connections_opened']} of {count} opened")
        measured.append((count, report["rss_bytes_open"], report["rss_bytes_before"]))
        print(f"{count:>7} connections: {measured[-1][1]:>11} bytes, {measured[-1][2]} before")

    (low, low_bytes, _), (high, high_bytes, _) = measured[0], measured[-1]
    slope = (high_bytes - low_bytes) / (high - low)
    print(f"idle: {slope:.0f} bytes of resident memory for each connection between {low} and {high}")
    print(f"on {measure.where(report)}")


main()
