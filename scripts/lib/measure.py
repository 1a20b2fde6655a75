"""What the measuring scripts share: starting a server pinned to a core, running the load client.

Needs nothing but Python's standard library.
"""

import json
import os
import re
import select
import shutil
import subprocess
import time

RELEASE = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
READY_WITHIN = 15.0


def pinned(core, command):
    """The command, kept on one core; as it is where there is no taskset or only one core."""
    if shutil.which("taskset") and core in os.sched_getaffinity(0):
        return ["taskset", "-c", str(core)] + command
    return command


class Server:
    """A server as a child process, from `with` to the end of the block."""

    def __init__(self, name, command, core):
        self.name = name
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
            if found:
                self.url = f"ws://{found.group(1).decode()}/echo"
                return self
        self.process.kill()
        raise SystemExit(f"{self.name} did not start")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def tidegate(core=0):
    command = [f"{RELEASE}/tidegate", "serve", "--shards", "1"]
    return Server("tidegate", command + ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], core)


def bare_echo(core=0):
    return Server("bare-echo", [f"{RELEASE}/bare-echo", "--listen", "127.0.0.1:0"], core)


def bench(server, kind, *options, core=1):
    """One run of the load client against a server; its report as a dictionary."""
    command = [f"{RELEASE}/tidegate-bench", kind, server.url, "--json"]
    command += ["--pid", str(server.process.pid)] + [str(option) for option in options]
    done = subprocess.run(pinned(core, command), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}{done.stdout}")
    return json.loads(done.stdout)


def where(report):
    """One line on the machine of a report."""
    host = report["host"]
    return f"{host['machine']}, {os.cpu_count()} cores, Linux {host['kernel']}"
