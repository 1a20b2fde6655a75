"""Measures every way to run a shard, driver times host, side by side.

They take turns, round by round, so that whatever else the machine does meets all of them.
The server is pinned to core 0, the client to core 1; a ratio is formed within each round,
against the first way.
"""

import argparse
import statistics
import time

import measure

CONNECTIONS = [1, 100, 1_000, 18_000]
SIZES = {"20": "20 B", "512": "512 B", "16KiB": "16 KiB", "1MiB": "1 MiB"}
# What would be in flight beyond this does not fit beside everything else.
FLIGHT_MAX = 2 << 30
BYTES = {"20": 20, "512": 512, "16KiB": 16 << 10, "1MiB": 1 << 20}
SLABS = "/proc/slabinfo"


def server(way):
    driver, host = way
    options = ["--io", driver, "--max-message", "2MiB"]
    return measure.tidegate(*options, *(["--host", host] if host else []))


def echoes(ways, chosen):
    print("| connections | size | way | CPU per message, µs | to the first | p50, µs | p99, µs |")
    print("|---|---|---|---|---|---|---|")
    report = None
    for size in chosen.sizes:
        for connections in chosen.connections:
            if connections * BYTES[size] > FLIGHT_MAX:
                continue
            rounds = {way: [] for way in ways}
            for turn in range(chosen.rounds):
                for way in ways if turn % 2 == 0 else reversed(ways):
                    with server(way) as running:
                        report = measure.bench(
                            running, "echo", "-c", connections, "-p", 1, "-s", size,
                            "-d", chosen.duration, "--warmup", "300ms", "--sources", 4, "--abort",
                            # A closed loop: the client is as busy as the server, and that is told.
                            "--busy-max", 100,
                        )
                    rounds[way].append(report)
            rows(connections, size, ways, rounds)
    return report


def rows(connections, size, ways, rounds):
    if any("cpu_us_per_message" not in report for way in ways for report in rounds[way]):
        print(f"| {connections:,} | {SIZES[size]} | all | no message in one of the runs: take a longer --duration | | | |")
        return
    first = [report["cpu_us_per_message"] for report in rounds[ways[0]]]
    for way in ways:
        cpu = [report["cpu_us_per_message"] for report in rounds[way]]
        ratios = [one / other for one, other in zip(cpu, first)]
        p50, p99 = (
            statistics.median(report["latency_us"][point] for report in rounds[way])
            for point in ("p50", "p99")
        )
        name = " ".join(filter(None, way))
        print(
            f"| {connections:,} | {SIZES[size]} | {name} | {measure.spread(cpu, 2)} "
            f"| {measure.spread(ratios, 2)} | {p50:.0f} | {p99:.0f} |",
            flush=True,
        )


def kernel_bytes():
    """The bytes of all slabs of the kernel that are in use."""
    total = 0
    with open(SLABS, encoding="ascii") as slabs:
        for line in slabs:
            fields = line.split()
            if len(fields) > 4 and fields[1].isdigit():
                total += int(fields[1]) * int(fields[3])
    return total


def idle(ways, chosen):
    """User memory by the slope between two counts; what the kernel keeps, both ends together."""
    print("| way | user bytes per idle connection | kernel bytes, both ends | idle CPU of a core |")
    print("|---|---|---|---|")
    for way in ways:
        low, high = 2_000, max(chosen.connections)
        rss, kernel, busy = {}, {}, 0.0
        for count in (low, high):
            with server(way) as running:
                hold = f"{chosen.idle + 2}s"
                before = kernel_bytes()
                client = measure.start_bench(running, "idle", "-c", count, "-d", hold, "--sources", 32)
                report = watch(running, client, count, chosen.idle)
                rss[count] = report["rss"]
                kernel[count] = report["kernel"] - before
                busy = report["busy"]
        user = (rss[high] - rss[low]) / (high - low)
        both = (kernel[high] - kernel[low]) / (high - low)
        print(f"| {' '.join(filter(None, way))} | {user:.0f} | {both:.0f} | {busy:.2%} |", flush=True)


def watch(running, client, count, seconds):
    """What a server costs while so many connections idle."""
    pid = running.process.pid
    deadline = time.monotonic() + 60
    while running.connections() < count:
        if time.monotonic() > deadline or client.poll() is not None:
            raise SystemExit(f"{running.name}: {count} connections did not open")
        time.sleep(0.1)
    time.sleep(1.0)
    ticks = measure.cpu_ticks(pid)
    time.sleep(seconds)
    busy = (measure.cpu_ticks(pid) - ticks) / 100 / seconds
    seen = {"rss": measure.rss_bytes(pid), "kernel": kernel_bytes(), "busy": busy}
    client.wait()
    return seen


def main():
    parser = argparse.ArgumentParser(prog="scripts/drivers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--duration", default="1s", help="of each run [%(default)s]")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--io", nargs="+", default=["epoll", "uring"], help="[%(default)s]")
    parser.add_argument("--host", nargs="+", default=["thread", "glommio"], help="[%(default)s]")
    parser.add_argument("--idle", type=int, default=10, help="seconds of idling [%(default)s]")
    parser.add_argument("--no-echo", action="store_true", help="only the idle table")
    chosen = parser.parse_args()

    ways = [(driver, host) for driver in chosen.io for host in chosen.host]
    if not chosen.no_echo:
        report = echoes(ways, chosen)
        print(f"\nMedian (least–most) of {chosen.rounds} rounds of {chosen.duration}; {measure.where(report)}.\n")
    idle(ways, chosen)


main()
