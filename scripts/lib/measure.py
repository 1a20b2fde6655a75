"""What the measuring scripts share: starting a server pinned to a core, running the load client.

Needs nothing but Python's standard library.
"""

import contextlib
import json
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request

# TIDEGATE_BIN names a folder of programs that are built already.
RELEASE = os.environ.get("TIDEGATE_BIN") or os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
READY_WITHIN = 15.0
RUN_WITHIN = 90.0


class Failed(SystemExit):
    """A server or a client has failed; ends the script, unless it goes on without that one."""


def pinned(core, command):
    """The command, kept on one core; as it is without one, or where there is no taskset."""
    if core is not None and shutil.which("taskset") and core in os.sched_getaffinity(0):
        return ["taskset", "-c", str(core)] + command
    return command


def environment():
    """Ours, without the variables that configure Tidegate: what is measured is what the options say."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TIDEGATE__") and name != "TIDEGATE_CONFIG"
    }


class Server:
    """A server as a child process, from `with` to the end of the block.

    It says where it listens; one that does not is told the address, and is there once it can
    be connected to. What it complains of goes to the file `log`, or where ours goes.
    """

    def __init__(self, name, command, core, has_admin=True, address=None, log=None):
        self.name = name
        self.has_admin = has_admin
        self.command = pinned(core, command)
        self.address = address
        self.admin = None
        self.log = log

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            complaints = self.log and stack.enter_context(open(self.log, "ab"))
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=complaints, env=environment()
            )
        try:
            ready = self.wait_until_open() if self.address else self.hear_address()
        except BaseException:
            self.__exit__()
            raise
        if not ready:
            self.__exit__()
            raise Failed(f"{self.name} did not start")
        self.url = f"ws://{self.address}/echo"
        return self

    def hear_address(self):
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
                self.address = found.group(1).decode()
                self.admin = admin and admin.group(1).decode()
                return True
        return False

    def wait_until_open(self):
        host, port = self.address.split(":")
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return True
            except OSError:
                time.sleep(0.02)
        return False

    def metrics(self, label=""):
        """Each metric of the server by its name, summed over its labels, or over those with this one in them."""
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        sums = {}
        for name, labels, value in re.findall(r"^(tidegate_[a-z_]+)(\{[^}]*\})? ([0-9]+)$", text, re.MULTILINE):
            if label in labels:
                sums[name] = sums.get(name, 0) + int(value)
        return sums

    def connections(self):
        """How many connections the server itself counts."""
        return self.metrics().get("tidegate_connections", 0)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def tidegate_command(*options):
    command = [f"{RELEASE}/tidegate", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    shards = [] if "--shards" in options else ["--shards", "1"]
    # An empty file, or the server looks for one on this machine.
    file = [] if "-c" in options else ["-c", "/dev/null"]
    return command + file + shards + list(options)


def tidegate(*options, core=0):
    return Server(" ".join(["tidegate", *options]), tidegate_command(*options), core)


def bare_echo(*options, core=0):
    command = [f"{RELEASE}/bare-echo", "--listen", "127.0.0.1:0", *options]
    return Server(" ".join(["bare-echo", *options]), command, core, has_admin=False)


def bench_command(server, kind, options, core):
    command = [f"{RELEASE}/tidegate-bench", kind, server.url, "--json"]
    command += ["--pid", str(server.process.pid)] + [str(option) for option in options]
    return pinned(core, command)


def start_bench(server, kind, *options, core=1, first=False):
    """The load client, started against a server; `first`: others on its core wait for it, as far as we may ask for that."""
    command = bench_command(server, kind, options, core)
    if first and os.geteuid() == 0 and shutil.which("chrt"):
        command = ["chrt", "-f", "5"] + command
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def bench(server, kind, *options, core=1):
    """One run of the load client against a server; its report as a dictionary."""
    return reported(bench_command(server, kind, options, core))


def reported(command):
    """What a client prints: one JSON object, as a dictionary."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_WITHIN)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}\nnot done after {RUN_WITHIN:.0f} s") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def heard(client, within=RUN_WITHIN):
    """The report of a load client that was started before, once it has ended."""
    try:
        said, _ = client.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        client.kill()
        raise Failed(f"{' '.join(client.args)}\nnot done after {within:.0f} s") from None
    if client.returncode != 0:
        raise Failed(f"{' '.join(client.args)}\n{said}")
    report = json.loads(said)
    if report["client_bottleneck"]:
        raise Failed(f"the load client was the bottleneck: {report['client_bottleneck']}")
    return report


def in_turns(rounds, *runs):
    """What each of these gives, as a list with one entry for each round.

    They take turns, so that whatever else the machine does meets all; who goes first changes, in case
    going first matters.
    """
    given = [[] for _ in runs]
    for turn in range(rounds):
        order = list(zip(runs, given))
        for run, entries in order if turn % 2 == 0 else reversed(order):
            entries.append(run())
    return given


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
