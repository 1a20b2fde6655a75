"""Measures what knobs of the kernel do to the server, each with and without, in turns.

It needs root, and runs in a network namespace of its own, so that most knobs are changed there only. Three belong to
the whole host (fs.epoll.max_user_watches, net.netfilter.nf_conntrack_max, net.core.netdev_max_backlog): they are
changed for seconds, and put back whatever happens.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import measure

HOST = "TIDEGATE_KNOBS_HOST"
REQUEST = (
    "GET {} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def put(name, value):
    """Sets a knob of this namespace."""
    with open("/proc/sys/" + name.replace(".", "/"), "w", encoding="ascii") as file:
        file.write(str(value))


def of_host(name, value=None):
    """A knob of the whole host; sets it when there is a value."""
    words = ["nsenter", f"--net={os.environ[HOST]}", "sysctl", "-n"]
    words += [name] if value is None else ["-w", f"{name}={value}"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def host_knob(name, value):
    """A knob of the whole host, for the length of a block."""
    before = of_host(name)
    try:
        of_host(name, value)
        yield
    finally:
        of_host(name, before)


def counters():
    """The counters of /proc/net/netstat by name."""
    with open("/proc/net/netstat", encoding="ascii") as file:
        lines = file.read().splitlines()
    pairs = zip(lines[::2], lines[1::2])
    return {k: int(v) for a, b in pairs for k, v in zip(a.split()[1:], b.split()[1:])}


def drops():
    """Packets that cores had no room for."""
    with open("/proc/net/softnet_stat", encoding="ascii") as file:
        return sum(int(line.split()[1], 16) for line in file)


def serve(*options, prefix=()):
    command = [*prefix, f"{measure.RELEASE}/tidegate", "serve"]
    for option in ("--listen", "--admin"):
        if option not in options:
            command += [option, "127.0.0.1:0"]
    return measure.Server("tidegate", command + list(options), None)


def address(server):
    host, port = server.url.split("/")[2].split(":")
    return host, int(port)


def idle(server, count, *options):
    """Opens connections at once, and says how that went; some may fail."""
    words = [f"{measure.RELEASE}/tidegate-bench", "idle", server.url, "-c", str(count), "--json", "--abort"]
    done = subprocess.run(words + [str(option) for option in options], capture_output=True, text=True)
    return json.loads(done.stdout)


def upgraded(to, path, receive_size=None):
    """A socket that has asked for a WebSocket, and not read the answer."""
    client = socket.socket()
    if receive_size:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_size)
    client.connect(to)
    client.send(REQUEST.format(path).encode())
    return client


def answers(clients, patience=5.0):
    """How many clients were answered, closed, and neither, within some seconds for all."""
    deadline = time.monotonic() + patience
    found = {"answered": 0, "closed": 0, "neither": 0}
    for client in clients:
        client.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            found["answered" if client.recv(4096).startswith(b"HTTP/1.1 101") else "closed"] += 1
        except TimeoutError:
            found["neither"] += 1
        except OSError:
            found["closed"] += 1
    return found


def row(*cells):
    print(" | ".join(str(cell) for cell in cells), flush=True)


def storm(rounds):
    """15,000 connects at once on one shard that stands still for a second, as in a busy turn."""
    row("somaxconn", "overflows", "SYNs sent again", "seconds until all are open", "median connect")
    for _ in range(rounds):
        for value in (128, 4096, 65535):
            put("net.core.somaxconn", value)
            with serve("--shards", "1") as server:
                before = counters()
                server.process.send_signal(signal.SIGSTOP)
                wake = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {server.process.pid}"])
                report = idle(server, 15_000, "--outstanding", 15_000, "-d", "100ms")
                wake.wait()
                after = counters()
            row(
                value, *(after[k] - before[k] for k in ("ListenOverflows", "TCPSynRetrans")),
                report["connect_seconds"], f"{report['connect_latency_us']['p50'] / 1e6:.2f} s",
            )
    put("net.core.somaxconn", 65535)


def migrate(rounds):
    """400 clients in the accept queues of two servers on one port, one of which is killed."""
    row("tcp_migrate_req", "of 400 clients answered")
    for _ in range(rounds):
        for value in (0, 1):
            put("net.ipv4.tcp_migrate_req", value)
            with serve("--shards", "1", "--share-port") as first:
                to = address(first)
                with serve("--shards", "1", "--share-port", "--listen", f"{to[0]}:{to[1]}") as second:
                    for server in (first, second):
                        server.process.send_signal(signal.SIGSTOP)
                    clients = [upgraded(to, "/echo") for _ in range(400)]
                    first.process.kill()
                    first.process.wait()
                    second.process.send_signal(signal.SIGCONT)
                    row(value, answers(clients)["answered"])
                    for client in clients:
                        client.close()
    put("net.ipv4.tcp_migrate_req", 0)


def ports(_rounds):
    """More connections than there are ports from one address to one address and port."""
    row("ip_local_port_range", "wanted", "opened", "why not more")
    # The server's own ports would be taken from the range.
    outside = ("--listen", "127.0.0.1:900", "--admin", "127.0.0.1:901")
    for span, count in (("40000 40999", 1_100), ("1024 65535", 1_100)):
        put("net.ipv4.ip_local_port_range", span)
        with serve("--shards", "1", *outside) as server:
            report = idle(server, count, "-d", "100ms")
        row(span, count, report["connections_opened"], report["connect_failures"])
    put("net.ipv4.ip_local_port_range", "32768 60999")
    with serve("--shards", "2", "--descriptors", "shard", *outside) as server:
        words = [f"{measure.RELEASE}/tidegate-bench", "idle", server.url, "-c", "14200", "--json", "--abort"]
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        load = [subprocess.Popen(words + ["-d", "6s"], **quiet) for _ in range(2)]
        reports = [json.loads(one.communicate()[0]) for one in load]
    row("32768 60999", 28_400, sum(one["connections_opened"] for one in reports),
        [one["connect_failures"] for one in reports])
    put("net.ipv4.ip_local_port_range", "32768 60999")


def watches(_rounds):
    """A server whose user may have 9,000 epoll watches, and 9,100 clients; then 100 after they have left."""
    as_nobody = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all"]
    row("max_user_watches", "9,100 clients", "alive", "100 clients")
    with serve("--shards", "2", "--io", "epoll", prefix=as_nobody) as server:
        with host_knob("fs.epoll.max_user_watches", 9_000):
            clients = [upgraded(address(server), "/echo") for _ in range(9_100)]
            found = answers(clients)
        for client in clients:
            client.close()
        time.sleep(1)
        later = answers([upgraded(address(server), "/echo") for _ in range(100)])
        row(9_000, found, server.process.poll() is None, later)


def queued(_rounds):
    """What the kernel holds for a client that does not read, of 12 MB that were published."""
    row("tcp_wmem maximum", "tcp_notsent_lowat", "bytes in the kernel's send queue")
    for wmem, lowat in ((4194304, 4294967295), (262144, 4294967295), (4194304, 131072), (262144, 131072)):
        put("net.ipv4.tcp_wmem", f"4096 16384 {wmem}")
        put("net.ipv4.tcp_notsent_lowat", lowat)
        with serve("--shards", "1", "--outbox-max", "64MiB") as server:
            to = address(server)
            client = upgraded(to, "/feed/slow", 4096)
            client.recv(100)
            listening = subprocess.run(["ss", "-tlnpH"], capture_output=True, text=True).stdout
            admin = next(
                int(line.split()[3].split(":")[1]) for line in listening.splitlines()
                if f"pid={server.process.pid}," in line and not line.split()[3].endswith(f":{to[1]}")
            )
            operator = http.client.HTTPConnection("127.0.0.1", admin)
            for _ in range(200):
                operator.request("POST", "/publish/slow?binary", b"a" * 60_000)
                operator.getresponse().read()
            time.sleep(0.3)
            seen = subprocess.run(["ss", "-tnH", f"sport = :{to[1]}"], capture_output=True, text=True).stdout
            row(wmem, lowat, max(int(line.split()[2]) for line in seen.splitlines()))
            client.close()
    put("net.ipv4.tcp_wmem", "4096 16384 4194304")
    put("net.ipv4.tcp_notsent_lowat", 4294967295)


def backlog(rounds):
    """Packets of a storm of 15,000 connects that a core had no room for."""
    row("netdev_max_backlog", "dropped", "SYNs sent again", "seconds until all are open")
    for _ in range(rounds):
        for value in (1000, 16384):
            with host_knob("net.core.netdev_max_backlog", value), serve("--shards", "1") as server:
                before, dropped = counters(), drops()
                report = idle(server, 15_000, "--outstanding", 15_000, "-d", "100ms")
                after = counters()
                row(
                    value, drops() - dropped, after["TCPSynRetrans"] - before["TCPSynRetrans"],
                    report["connect_seconds"],
                )


def tracker(_rounds):
    """A firewall that follows connections, with a table of 5,000, and 6,000 clients."""
    rules = "add table inet fire; add chain inet fire in { type filter hook input priority 0; }; "
    subprocess.run(["nft", rules + "add rule inet fire in ct state established accept"], check=True)
    row("rules", "wanted", "opened within 3 s", "followed")
    tuning = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tuning")
    with tempfile.TemporaryDirectory() as root, host_knob("net.netfilter.nf_conntrack_max", 5_000):
        for path in ("net/netfilter/nf_conntrack_max", "kernel/random/boot_id"):
            os.makedirs(os.path.dirname(f"{root}/proc/sys/{path}"), exist_ok=True)
            with open(f"{root}/proc/sys/{path}", "w", encoding="ascii") as file:
                file.write("1\n")
        # In this order, since what is followed stays in the table for a while.
        for exempt in (True, False):
            with serve("--shards", "1") as server:
                conntrack = [f"{tuning}/conntrack", "--root", root, "--tool", "/usr/sbin/nft", "--yes"]
                if exempt:
                    subprocess.run(
                        conntrack + ["--port", str(address(server)[1])], check=True, stdout=subprocess.DEVNULL
                    )
                load = subprocess.Popen(
                    [f"{measure.RELEASE}/tidegate-bench", "idle", server.url, "-c", "6000", "--json", "--abort",
                     "-d", "2s", "--connect-timeout", "3s"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )
                time.sleep(2)
                with open("/proc/sys/net/netfilter/nf_conntrack_count", encoding="ascii") as file:
                    count = file.read().strip()
                report = json.loads(load.communicate()[0])
                row("tuning/conntrack" if exempt else "a stateful rule", 6_000, report["connections_opened"], count)
                if exempt:
                    subprocess.run(conntrack + ["--undo"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["nft", "delete table inet fire"], check=True)


def chains(rounds):
    """CPU of the server per echo on 5,000 connections: 10,000 ends in a short table and in a long one."""
    row("tcp_child_ehash_entries", "ends per chain", "CPU per echo in µs", "ratio in the round")
    ratios = []
    for _ in range(rounds):
        seen = {}
        for value in (1024, 65536):
            put("net.ipv4.tcp_child_ehash_entries", value)
            done = subprocess.run(
                ["unshare", "--net", sys.executable, "-B", __file__, "--chain"], capture_output=True, text=True,
                check=True,
            )
            seen[value] = float(done.stdout)
            row(value, f"{10_000 / value:.1f}", f"{seen[value]:.2f}", "")
        ratios.append(seen[1024] / seen[65536])
        row("", "", "", f"{ratios[-1]:.2f}")
    row("median of the ratios", f"{statistics.median(ratios):.2f}")
    put("net.ipv4.tcp_child_ehash_entries", 0)


def chain():
    """One measurement of `chains`, in a namespace of its own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with measure.tidegate() as server:
        report = measure.bench(server, "echo", "-c", 5_000, "-s", 20, "-d", "3s", "--abort")
    print(report["cpu_us_per_message"])


KINDS = {
    "storm": storm, "migrate": migrate, "ports": ports, "watches": watches, "queued": queued,
    "backlog": backlog, "tracker": tracker, "chains": chains,
}


def main():
    parser = argparse.ArgumentParser(prog="scripts/knobs", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} [all]")
    parser.add_argument("--rounds", type=int, default=3, help="of those that are taken in turns [%(default)s]")
    parser.add_argument("--chain", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.chain:
        return chain()
    for kind in chosen.kinds:
        if kind not in KINDS:
            parser.error(f"{kind!r} is none of {', '.join(KINDS)}")
    if os.geteuid() != 0:
        raise SystemExit("knobs: only root may change them")
    # An end from outside must not leave the host's knobs as they are in the middle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if HOST not in os.environ:
        environment = {**os.environ, HOST: f"/proc/{os.getpid()}/ns/net"}
        words = ["unshare", "--net", sys.executable, "-B", *sys.argv]
        return subprocess.run(words, env=environment, check=False).returncode
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for kind in chosen.kinds or KINDS:
        print(f"\n{kind}: {KINDS[kind].__doc__}")
        KINDS[kind](chosen.rounds)
    return 0


sys.exit(main())
