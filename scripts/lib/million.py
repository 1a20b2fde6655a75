"""Holds a million idle connections on this host, with the real server and both ends of each.

One process serves them all; each of its shards has a table of descriptors of its own, so that
the limit of open files is one for each shard. First every connection of /echo gets a pong to a
ping and an echo of a message; then, on connections of a feed, one message that is published
once reaches all. What is held is counted on the server's side. The host is looked at first,
and the run stops when memory runs low.
"""

import argparse
import json
import math
import re
import resource
import subprocess
import sys
import threading
import time
import urllib.request

import measure

# Measured with a bare server: the kernel's part of both ends, and what the two programs keep.
BYTES_PER_CONNECTION = 4_037 + 3_957 + 200 + 450
# SO_REUSEPORT spreads by a hash: with 64 listeners and many sources, some get a tenth more.
UNEVEN = 1.15
# Descriptors of a shard that are no connections, and of the process that its table began with.
DESCRIPTORS_SPARE = 200
PORTS_PER_SOURCE = 28_000


def read_number(path):
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read().split()[-1])
    except (OSError, ValueError, IndexError):
        return None


def memory_available():
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(r"MemAvailable:\s+(\d+) kB", file.read()).group(1)) * 1024


def slab_bytes():
    """The kernel's slabs as a whole, which is right also where objects are freed in batches."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(r"\nSlab:\s+(\d+) kB", file.read()).group(1)) * 1024


def tcp_pages():
    with open("/proc/net/sockstat", encoding="ascii") as file:
        return int(re.search(r"TCP:.* mem (\d+)", file.read()).group(1))


class Plan:
    """How many shards, processes and threads it takes under this host's limits."""

    def __init__(self, chosen):
        self.connections = chosen.connections
        self.limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        room = self.limit - DESCRIPTORS_SPARE
        self.shards = chosen.shards or max(1, math.ceil(self.connections * UNEVEN / room))
        self.workers = max(1, math.ceil(self.connections / min(room, PORTS_PER_SOURCE) / 0.95))
        self.threads = min(chosen.threads, self.workers)
        self.processes = math.ceil(self.workers / self.threads)

    def faults(self, reserve):
        """What would stop the run, in words."""
        need = self.connections * BYTES_PER_CONNECTION + reserve
        if memory_available() < need:
            yield f"{memory_available() >> 20} MiB of memory are available, {need >> 20} MiB are needed"
        both = 2 * self.connections
        ceilings = ["/proc/sys/fs/file-max", "/proc/sys/fs/epoll/max_user_watches"]
        # Without a rule that asks for it, the tracker is there and follows nobody.
        if read_number("/proc/sys/net/netfilter/nf_conntrack_count"):
            ceilings.append("/proc/sys/net/netfilter/nf_conntrack_max")
        for path, wanted in ((path, both) for path in ceilings):
            found = read_number(path)
            if found is not None and found < wanted:
                yield f"{path} is {found}, {wanted} are needed"
        if self.shards * (self.limit - DESCRIPTORS_SPARE) < self.connections:
            yield f"{self.shards} shards of {self.limit} descriptors do not hold {self.connections}"


class Watch:
    """Looks at server and host once a second; ends the client when memory runs low."""

    def __init__(self, plan, running, client, before, floor):
        self.plan, self.running, self.client = plan, running, client
        self.before, self.floor = before, floor
        self.lowest = memory_available()
        self.seen = None
        self.looking = threading.Lock()
        self.ended = threading.Event()
        self.ran_low = False
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def run(self):
        while not self.ended.wait(1.0):
            self.lowest = min(self.lowest, memory_available())
            if self.lowest < self.floor:
                self.ran_low = True
                self.client.terminate()
                return
            if self.running.connections() >= self.plan.connections:
                self.see()

    def see(self):
        """Notes what it looks like, once: before anything is said to them."""
        with self.looking:
            if self.seen is None:
                self.seen = held(self.running, self.plan, self.before)


def settle(connections):
    """Waits until the kernel has put away what a run before this one has left."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with open("/proc/net/sockstat", encoding="ascii") as file:
            inuse = int(re.search(r"TCP: inuse (\d+)", file.read()).group(1))
        if inuse < connections // 100 + 100:
            return
        time.sleep(1.0)


def start(plan, path, extra, running):
    command = [
        f"{measure.RELEASE}/tidegate-bench", "idle", running.url.replace("/echo", path), "--json",
        "-c", plan.connections, "--processes", plan.processes, "-t", plan.threads,
        "--pid", running.process.pid, "--connect-timeout", "900s", *extra,
    ]
    return subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def held(running, plan, before):
    """What the host looks like with all of them open."""
    count = running.connections()
    rss = measure.rss_bytes(running.process.pid)
    with urllib.request.urlopen(f"{running.admin}/debug/memory", timeout=30) as answer:
        ledger = json.load(answer)
    return {
        "connections": count,
        "rss_bytes": rss,
        "rss_bytes_per_connection": (rss - before["rss"]) / max(count, 1),
        "kernel_bytes_per_pair": (slab_bytes() - before["slab"]) / max(count, 1),
        "tcp_pages": tcp_pages(),
        "ledger_bytes": ledger["counted_bytes"],
        "available_mib": memory_available() >> 20,
        "wanted": plan.connections,
    }


def run(plan, chosen, path, extra, when_ready):
    """One server, one client, one kind of proof."""
    settle(plan.connections)
    # Each of some sixty shards would have rings of io_uring, and a million pings go out each 45 s.
    options = ["--descriptors", "shard", "--shards", str(plan.shards), "--io", "epoll", "--ping-interval", "0s"]
    with measure.tidegate(*options, core=None) as running:
        before = {"rss": measure.rss_bytes(running.process.pid), "slab": slab_bytes()}
        client = start(plan, path, extra, running)
        with Watch(plan, running, client, before, chosen.reserve << 20) as watch:
            try:
                for line in client.stderr:
                    print(f"  {line.rstrip()}", file=sys.stderr, flush=True)
                    if line.startswith("ready:"):
                        watch.see()
                        when_ready(running)
                output = client.stdout.read()
                client.wait()
            finally:
                client.kill()
        if watch.ran_low:
            raise SystemExit(f"stopped: less than {chosen.reserve} MiB of memory were left")
        if client.returncode not in (0, 1) or not output:
            raise SystemExit(f"the client ended with {client.returncode}")
        if watch.seen is None:
            raise SystemExit(f"the server never held {plan.connections} connections: {output[:2000]}")
        return json.loads(output), watch.seen, watch.lowest


def publish(running):
    request = urllib.request.Request(f"{running.admin}/publish/million", data=b"good evening", method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        if answer.status != 202:
            raise SystemExit(f"the publication was answered with {answer.status}")


def tell(name, report, seen, lowest):
    opened, failed, lost = (
        report[key] for key in ("connections_opened", "connections_failed", "connections_lost")
    )
    print(f"## {name}\n")
    print("| | |\n|---|---|")
    rows = [
        ("connections opened, failed, lost", f"{opened:,}, {failed:,}, {lost:,}"),
        ("counted by the server", f"{seen['connections']:,}"),
        ("connects per second", f"{report['connects_per_second']:,.0f}"),
        ("resident memory of the server", f"{seen['rss_bytes'] / 2**20:,.1f} MiB"),
        ("per connection, beyond the empty server", f"{seen['rss_bytes_per_connection']:,.0f} bytes"),
        ("kernel memory per connection, both ends", f"{seen['kernel_bytes_per_pair']:,.0f} bytes"),
        ("memory still available at the lowest", f"{lowest >> 20:,} MiB"),
    ]
    proof = report.get("idle") or {}
    if proof.get("verified"):
        rows.append(("asked, ponged, echoed", ", ".join(f"{proof[key]:,}" for key in ("verified", "ponged", "echoed"))))
        rows.append(("that took", f"{proof['verify_seconds']:.1f} s"))
    if proof.get("hearing"):
        after = (report["rss_bytes_end"] - report["rss_bytes_before"]) / opened
        rows.append(("the same, after all have heard", f"{after:,.0f} bytes"))
        rows.append(("should have heard, heard", f"{proof['hearing']:,}, {proof['heard']:,}"))
        rows.append(("from the first to the last who heard", f"{proof['hear_seconds']:.2f} s"))
    for left, right in rows:
        print(f"| {left} | {right} |")
    print(flush=True)


def succeeded(plan, report, seen):
    proof = report["idle"]
    return (
        report["connections_opened"] == plan.connections == seen["connections"]
        and not report["connections_lost"]
        and proof["ponged"] == proof["verified"]
        and proof["echoed"] in (0, proof["verified"])
        and proof["heard"] == proof["hearing"]
    )


def main():
    parser = argparse.ArgumentParser(prog="scripts/million", description=__doc__)
    parser.add_argument("--connections", type=int, default=1_000_000, help="[%(default)s]")
    parser.add_argument("--shards", type=int, help="[as many as their descriptors demand]")
    parser.add_argument("--threads", type=int, default=6, help="of each client process [%(default)s]")
    parser.add_argument("--reserve", type=int, default=1024, help="MiB of memory to be left [%(default)s]")
    parser.add_argument("--only", choices=["echo", "broadcast"], help="one of the two runs")
    parser.add_argument("--log", help="a file for the raw reports")
    parser.add_argument("--check", action="store_true", help="only look at the host")
    chosen = parser.parse_args()

    plan = Plan(chosen)
    faults = list(plan.faults(chosen.reserve << 20))
    for fault in faults:
        print(f"cannot: {fault}", file=sys.stderr)
    if faults or chosen.check:
        raise SystemExit(1 if faults else 0)
    print(
        f"{plan.connections:,} connections: one server with {plan.shards} shards, clients in "
        f"{plan.processes} processes of {plan.threads} threads; {plan.limit:,} descriptors in a table.\n"
    )
    runs = {
        "echo": ("A ping and an echo on each", "/echo", ["--verify", "-d", "10s"], lambda _: None),
        "broadcast": (
            "One publication to all", "/feed/million", ["--expect-broadcast", "1", "-d", "20s"], publish,
        ),
    }
    good, raw = True, {}
    for key, (name, path, extra, when_ready) in runs.items():
        if chosen.only not in (None, key):
            continue
        report, seen, lowest = run(plan, chosen, path, extra, when_ready)
        tell(name, report, seen, lowest)
        raw[key] = {"report": report, "seen": seen}
        good = good and succeeded(plan, report, seen)
    print(f"`scripts/million --connections {plan.connections}`; {measure.where(report)}.")
    if chosen.log:
        with open(chosen.log, "w", encoding="utf-8") as file:
            json.dump(raw, file, indent=1)
    raise SystemExit(0 if good else 1)


main()
