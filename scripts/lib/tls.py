"""Measures what TLS costs: memory of an idle connection, handshakes, echoes; beside no TLS and beside nginx before the
server. Rounds are interleaved, CPU time is the server's (with nginx: of both), and medians are shown with their range.
Handshakes are made by `openssl s_time`, one after another; nginx is left out where it is not installed."""

import argparse
import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import tempfile

import measure

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream plain {{ server {plain}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096; server_name localhost;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;
    location / {{
      proxy_pass http://plain; proxy_http_version 1.1; proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
      proxy_read_timeout 1h; proxy_buffering off;
    }}
  }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Target:
    """What a client connects to, and whose CPU time counts."""

    def __init__(self, name, url, port, pids, server):
        self.name, self.url, self.port, self.pids = name, url, port, pids
        self.process = server.process
        self.server = server

    def ticks(self):
        return sum(measure.cpu_ticks(pid) for pid in self.pids())


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as listed:
        return [int(word) for word in listed.read().split()]


@contextlib.contextmanager
def targets(folder, with_nginx):
    port = free_port()
    files = ["--tls-certificate", f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem"]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(measure.tidegate("--tls-listen", f"127.0.0.1:{port}", *files))
        own = [server.process.pid]
        found = [
            Target("without TLS", server.url, None, lambda: own, server),
            Target("tidegate", f"wss://localhost:{port}/echo", port, lambda: own, server),
        ]
        if with_nginx and shutil.which("nginx"):
            inner = stack.enter_context(measure.tidegate())
            outer = free_port()
            text = NGINX.format(folder=folder, port=outer, plain=inner.address)
            with open(f"{folder}/nginx.conf", "w", encoding="ascii") as file:
                file.write(text)
            command = measure.pinned(0, ["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"])
            nginx = subprocess.Popen(command)
            stack.callback(lambda: (nginx.terminate(), nginx.wait()))
            probe = measure.Server("nginx", command, 0, address=f"127.0.0.1:{outer}")
            probe.process = nginx
            if not probe.wait_until_open():
                raise SystemExit("nginx did not start")
            both = lambda: [nginx.pid, *children(nginx.pid), inner.process.pid]
            found.append(Target("nginx before it", f"wss://localhost:{outer}/echo", outer, both, inner))
        yield found


def handshakes(target, version, reuse, seconds, folder):
    """Handshakes, the CPU time of each in microseconds, and how many were made in a second."""
    before = target.ticks()
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{target.port}", f"-{version}", "-CAfile", f"{folder}/cert.pem"]
    command += ["-time", str(seconds), "-reuse" if reuse else "-new", "-www", "/"]
    done = subprocess.run(measure.pinned(1, command), capture_output=True, text=True, timeout=90)
    found = re.search(r"(\d+) connections in (\d+) real seconds", done.stdout)
    if not found or int(found.group(1)) == 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    count, real = int(found.group(1)), int(found.group(2))
    return (target.ticks() - before) * 10_000 / count, count / real


def echo(target, size, count):
    """The CPU time of one echo in microseconds."""
    before = target.ticks()
    command = [f"{measure.RELEASE}/tidegate-bench", "echo", target.url, "--json", "-c", "50", "-n", str(count)]
    command += ["-s", str(size), "--late-max", "1h", "--busy-max", "100"]
    if target.url.startswith("wss"):
        command.append("--insecure")
    report = measure.reported(measure.pinned(1, command))
    return (target.ticks() - before) * 10_000 / report["messages"]


def idle(folder, secure, count):
    port = free_port()
    files = ["--tls-certificate", f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem"]
    with measure.tidegate("--tls-listen", f"127.0.0.1:{port}", *files) as server:
        options = ["-c", count, "-d", "1s", "--sources", 4, "--abort"]
        if secure:
            server.url = f"wss://localhost:{port}/echo"
            options.append("--insecure")
        report = measure.bench(server, "idle", *options)
        if report["connections_opened"] != count:
            raise SystemExit(f"only {report['connections_opened']} of {count} opened")
        return report["rss_bytes_open"], report


def main():
    parser = argparse.ArgumentParser(prog="scripts/tls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of handshakes and echoes [%(default)s]")
    parser.add_argument("--seconds", type=int, default=2, help="of handshakes in each round [%(default)s]")
    parser.add_argument("--messages", type=int, default=50_000, help="of each size in each round [%(default)s]")
    parser.add_argument("--low", type=int, default=1_000, help="idle connections [%(default)s]")
    parser.add_argument("--high", type=int, default=9_000, help="idle connections [%(default)s]")
    parser.add_argument("--no-nginx", action="store_true", help="leave nginx out")
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
            + ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"],
            check=True,
            capture_output=True,
        )
        for secure in (False, True):
            low, report = idle(folder, secure, chosen.low)
            high, _ = idle(folder, secure, chosen.high)
            slope = (high - low) / (chosen.high - chosen.low)
            what = "wss" if secure else "ws"
            print(f"idle, {what}: {slope:.0f} bytes resident for each between {chosen.low} and {chosen.high}", flush=True)
        print(f"on {measure.where(report)}; load {os.getloadavg()[0]:.1f}", flush=True)
        rows = {}
        with targets(folder, not chosen.no_nginx) as found:
            for _ in range(chosen.rounds):
                for target in found:
                    if target.port:
                        for version in ("tls1_3", "tls1_2"):
                            for reuse in (False, True):
                                what = f"{version} {'resumed' if reuse else 'full'}, CPU µs"
                                cost, rate = handshakes(target, version, reuse, chosen.seconds, folder)
                                rows.setdefault(what, {}).setdefault(target.name, []).append(cost)
                                rows.setdefault(what.replace("CPU µs", "per s"), {}).setdefault(target.name, []).append(rate)
                    for size, count in ((20, chosen.messages), (16_384, chosen.messages // 5)):
                        cost = echo(target, size, count)
                        rows.setdefault(f"echo of {size} B, CPU µs", {}).setdefault(target.name, []).append(cost)
            names = [target.name for target in found]
        print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
        for what, costs in rows.items():
            cells = [measure.spread(costs[name], 1) if name in costs else "" for name in names]
            print(f"| {what} | " + " | ".join(cells) + " |")
        print(f"{chosen.rounds} interleaved rounds; load {os.getloadavg()[0]:.1f}")
        for size in (20, 16_384):
            costs = rows[f"echo of {size} B, CPU µs"]
            base = statistics.median(costs["without TLS"])
            print(f"echo of {size} B: TLS costs {statistics.median(costs['tidegate']) / base:.2f} times as much")


main()
