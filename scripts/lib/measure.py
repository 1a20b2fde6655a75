"""What the measuring scripts share: starting a server pinned to a core, running the load client.

Needs nothing but Python's standard library.
"""

import json
import os
import re
import select
import shutil
import statistics
import subprocess
import time
import urllib.request

RELEASE = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
READY_WITHIN = 15.0


def pinned(core, command):
    """The command, kept on one core; as it is without one, or where there is no taskset."""
    if core is not None and shutil.which("taskset") and core in os.sched_getaffinity(0):
        return ["taskset", "-c", str(core)] + command
    return command


class Server:
    """A server as a child process, from `with` to the end of the block."""

    def __init__(self, name, command, core, has_admin=True):
        self.name = name
        self.has_admin = has_admin
        self.command = pinned(core, command)

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE)
        output = self.process.stdout.fileno()
        said = b""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if not select.select([output], [], [], 0.5)[0]:
                continue
            piece = os.read(output, 4096)
            if not piece:
                break
            said += piece
            found = re.search(rb"listening on (?:http://)?([0-9.]+:[0-9]+)\b.*\n", said)
            admin = re.search(rb"admin on (http://[0-9.:]+)\n", said)
            if found and (admin or not self.has_admin):
                self.url = f"ws://{found.group(1).decode()}/echo"
                self.admin = admin and admin.group(1).decode()
                return self
        self.process.kill()
        raise SystemExit(f"{self.name} did not start")

    def connections(self):
        """How many connections the server itself counts."""
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        found = re.findall(r"^tidegate_connections(?:\{[^}]*\})? ([0-9]+)", metrics, re.MULTILINE)
        return sum(int(count) for count in found)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def tidegate(*options, core=0):
    command = [f"{RELEASE}/tidegate", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    shards = [] if "--shards" in options else ["--shards", "1"]
    return Server(" ".join(["tidegate", *options]), command + shards + list(options), core)


def bare_echo(core=0):
    return Server("bare-echo", [f"{RELEASE}/bare-echo", "--listen", "127.0.0.1:0"], core, has_admin=False)


def bench_command(server, kind, options, core):
    command = [f"{RELEASE}/tidegate-bench", kind, server.url, "--json"]
    command += ["--pid", str(server.process.pid)] + [str(option) for option in options]
    return pinned(core, command)


def start_bench(server, kind, *options, core=1):
    """The load client, started against a server."""
    command = bench_command(server, kind, options, core)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def bench(server, kind, *options, core=1):
    """One run of the load client against a server; its report as a dictionary."""
    command = bench_command(server, kind, options, core)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}{done.stdout}")
    return json.loads(done.stdout)


def rss_bytes(pid):
    """The resident memory of a process, counted page by page."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return int(re.search(r"^Rss:\s+(\d+) kB", rollup.read(), re.MULTILINE).group(1)) * 1024


def cpu_ticks(pid):
    """What a process has used of its cores, in clock ticks of 10 ms."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def spread(numbers, digits):
    """The median, and the least and the most in brackets."""
    middle = statistics.median(numbers)
    return f"{middle:.{digits}f} ({min(numbers):.{digits}f}–{max(numbers):.{digits}f})"


def where(report):
    """One line on the machine of a report."""
    host = report["host"]
    return f"{host['machine']}, {os.cpu_count()} cores, Linux {host['kernel']}"
