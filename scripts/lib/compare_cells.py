"""What scripts/compare measures: each cell is one load, of which a server gives one figure."""

import time

import compare_peers
import measure

IDLE = (2_000, 10_000)
# Memory differs little from one run to the next, and these take a fifth of a round.
IDLE_ROUNDS = 1
# The kernel tells CPU time in steps of 10 ms.
CPU_SECONDS_MIN = 0.05
# For those that compile as they go.
WARM_UP = "400ms"
US = "µs of the server's CPU time"


class Cell:
    """One column of a table: its group, its heading, and how a running server is measured."""

    def __init__(self, group, name, heading, compression="off", **load):
        self.rounds_max = IDLE_ROUNDS if group == "idle" else None
        self.group = group
        self.name = name
        self.heading = heading
        self.compression = compression
        self.load = load


GROUPS = {
    "echo": ("Echo", f"{US} per message; `tidegate-bench echo`, closed loop"),
    "foreign": ("Echo, driven by another client", f"{US} per message of 20 B; a loop on the fastwebsockets crate's client"),
    "fanout": ("Fan-out", f"{US} per delivery of 64 B to everybody in a room; `tidegate-bench fanout`, closed loop"),
    "handshakes": ("Handshakes", f"{US} per connection: accept, upgrade, polite close; 64 at a time, a client of its own on mio"),
    "deflate": ("Echo with permessage-deflate", f"{US} per message of 512 B of JSON, 100 connections; a client of its own on mio and zlib-rs"),
    "idle": ("Idle connections", "bytes of resident memory for each; `tidegate-bench idle`, the slope between 2,000 and 10,000"),
}

CELLS = [
    Cell("echo", "echo-100", "20 B, 100 connections", connections=100, pipeline=1, size=20),
    Cell("echo", "echo-1000", "20 B, 1,000 connections", connections=1_000, pipeline=1, size=20),
    Cell("echo", "echo-10000", "20 B, 10,000 connections", connections=10_000, pipeline=1, size=20),
    Cell("echo", "echo-16k", "16 KiB, 100 connections", connections=100, pipeline=1, size=16384),
    Cell("echo", "echo-pipeline", "20 B, 100 connections, 16 at once", connections=100, pipeline=16, size=20),
    Cell("foreign", "foreign-100", "100 connections", connections=100),
    Cell("foreign", "foreign-1000", "1,000 connections", connections=1_000),
    Cell("fanout", "fanout-1000", "to 1,000", connections=1_000, burst=1),
    Cell("fanout", "fanout-10000", "to 10,000", connections=10_000, burst=1),
    Cell("fanout", "fanout-burst-16", "to 1,000, bursts of 16", connections=1_000, burst=16),
    Cell("fanout", "fanout-burst-64", "to 1,000, bursts of 64", connections=1_000, burst=64),
    Cell("handshakes", "handshakes", "connect, upgrade, close", connections=64),
    Cell("deflate", "deflate-shared", "no context kept", compression="shared", connections=100),
    Cell("deflate", "deflate-takeover", "contexts kept", compression="takeover", connections=100),
    Cell("idle", "idle-echo", "on an echo", path="/echo"),
    Cell("idle", "idle-room", "all in one room", path="/ws/room"),
]


def run(cell, peer, seconds):
    """One run: `figure` is what the table shows, the rest goes into the raw results."""
    started = time.monotonic()
    result = MEASURES[cell.group](cell, peer, seconds)
    return {**result, "run_seconds": round(time.monotonic() - started, 2)}


def checked(report):
    """A run with an error is none: its figures would be of something else."""
    if not report["ok"]:
        raise measure.Failed(f"errors {report.get('errors')}, losses {report.get('connection_losses')}")
    if not report["messages"]:
        raise measure.Failed("not one message came within the time that counts")
    if report["cpu_seconds"] < CPU_SECONDS_MIN:
        raise measure.Failed(f"it ran for {report['cpu_seconds']} s only: others have its core, or --duration is too short")
    latency = report.get("latency_us") or {}
    return {
        "figure": report["cpu_us_per_message"],
        "per_second": report["messages_per_second"],
        "cores": report["cpu_cores"],
        "p50_us": latency.get("p50"),
        "p99_us": latency.get("p99"),
        "host": report.get("host"),
    }


def echo(cell, peer, seconds):
    load = cell.load
    with peer.start() as server:
        return checked(measure.bench(
            server, "echo", "-c", load["connections"], "-p", load["pipeline"], "-s", load["size"],
            "-d", f"{seconds}s", "--warmup", WARM_UP, "--sources", 4, "--abort",
        ))


def fanout(cell, peer, seconds):
    load = cell.load
    with peer.start() as server:
        server.url = f"ws://{server.address}/ws/room"
        return checked(measure.bench(
            server, "fanout", "-c", load["connections"], "--burst", load["burst"], "-s", 64,
            "-d", f"{seconds}s", "--warmup", WARM_UP, "--drain", "15s", "--sources", 4, "--abort",
        ))


def foreign(cell, peer, seconds):
    with peer.start() as server:
        return checked(client("foreign", server, cell.load["connections"], 1, 20, seconds))


def handshakes(cell, peer, seconds):
    with peer.start() as server:
        return checked(client("plain", server, cell.load["connections"], 1, 20, seconds, mode=["knock"]))


def deflate(cell, peer, seconds):
    with peer.start(cell.compression) as server:
        report = client("plain", server, cell.load["connections"], 1, 512, seconds, mode=[cell.compression])
    if not report["compressed"]:
        raise measure.Failed("does not compress")
    return {**checked(report), "reply_bytes": report["reply_bytes"]}


def client(program, server, connections, pipeline, size, seconds, mode=()):
    """A run of one of the clients that are not ours."""
    command = [f"{compare_peers.RUST}/release/{program}", *mode, server.address, "/echo"]
    numbers = [connections, pipeline, size, seconds, server.process.pid]
    return measure.reported(measure.pinned(1, command + [str(number) for number in numbers]))


def idle(cell, peer, _):
    resident = {}
    # A server of its own for each, so that none inherits the memory of another.
    for count in IDLE:
        with peer.start() as server:
            server.url = f"ws://{server.address}{cell.load['path']}"
            report = measure.bench(server, "idle", "-c", count, "-d", "300ms", "--sources", 4, "--abort")
        if report["connections_opened"] != count:
            raise measure.Failed(f"only {report['connections_opened']} of {count} opened")
        resident[count] = report["rss_bytes_open"]
    low, high = IDLE
    figure = (resident[high] - resident[low]) / (high - low)
    return {"figure": figure, "resident": resident, "host": report["host"]}


MEASURES = {
    "echo": echo, "foreign": foreign, "fanout": fanout, "handshakes": handshakes,
    "deflate": deflate, "idle": idle,
}
