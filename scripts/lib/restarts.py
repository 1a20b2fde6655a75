"""Restarts a server while clients connect: one row for each way to do it.

upgrade   USR2: the next process gets the sockets of the one before it
shared    --share-port: the next process is started, then the one before it is told to drain
activated the sockets are held by this script, as systemd does it; TERM, and the next one

Each client connects, upgrades, says something, hears it, and leaves, one after another.
"""

import argparse
import asyncio
import collections
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    b"\x81\x85\x00\x00\x00\x00hello"
)
ECHO = b"\x81\x05hello"
CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
PATIENCE = 15.0


class Crowd:
    """Clients, and what became of each call."""

    def __init__(self, address):
        self.address = address
        self.spans = []
        self.faults = collections.Counter()
        self.going = True

    async def call(self):
        start = time.monotonic()
        step = "connect"
        writer = None
        try:
            reader, writer = await asyncio.open_connection(*self.address)
            step = "request"
            writer.write(REQUEST)
            await writer.drain()
            step = "answer"
            heard = b""
            while ECHO not in heard:
                piece = await reader.read(4096)
                if not piece:
                    status = heard.split(b"\r\n", 1)[0].decode("latin-1") or "nothing"
                    self.faults[f"ended after {status}"] += 1
                    return
                heard += piece
            self.spans.append(time.monotonic() - start)
            writer.write(CLOSE)
            await reader.read()
        except OSError as error:
            if step == "answer" and len(self.spans) and heard and ECHO in heard:
                return
            self.faults[f"{step}: {error.__class__.__name__}"] += 1
        finally:
            if writer is not None:
                writer.close()

    async def client(self):
        while self.going:
            try:
                await asyncio.wait_for(self.call(), PATIENCE)
            except asyncio.TimeoutError:
                self.faults["no answer"] += 1


class Program:
    """A server, its lines read as they come."""

    def __init__(self, options, io, **further):
        command = [options.program, "serve", "-c", "/dev/null", "--io", io, "--shards", "2"]
        command += ["--drain-timeout", options.drain, "--ping-interval", "0s"]
        command += further.pop("ports")
        command = further.pop("before", []) + command
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **further
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""

    async def says(self, pattern):
        """Waits for a line, and forgets all before it."""
        end = time.monotonic() + 60
        while True:
            found = re.search(pattern, self.text)
            if found:
                self.text = self.text[found.end():]
                return found
            piece = self.process.stdout.read()
            if piece:
                self.text += piece.decode()
            elif time.monotonic() > end:
                raise SystemExit(f"restarts: the server does not say {pattern!r}: {self.text}")
            else:
                await asyncio.sleep(0.01)

    async def ends(self):
        while self.process.poll() is None:
            self.process.stdout.read()
            await asyncio.sleep(0.01)
        if self.process.returncode != 0:
            raise SystemExit(f"restarts: a server ended with {self.process.returncode}")


def alive(number):
    try:
        with open(f"/proc/{number}/stat") as stat:
            return ") Z " not in stat.read()
    except OSError:
        return False


async def upgrade(options, io):
    ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    first = Program(options, io, ports=ports)
    port = int((await first.says(r"listening on http://[\d.]+:(\d+)"))[1])
    await first.says(r"\nready\n")
    yield ("127.0.0.1", port)
    number = first.process.pid
    try:
        for _ in range(options.restarts):
            os.kill(number, signal.SIGUSR2)
            following = int((await first.says(r"upgrade: process (\d+) serves"))[1])
            while alive(number):
                first.process.poll()
                await asyncio.sleep(0.01)
            number = following
            yield None
    finally:
        os.kill(number, signal.SIGKILL)


async def shared(options, io):
    ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--share-port"]
    server = Program(options, io, ports=ports)
    port = int((await server.says(r"listening on http://[\d.]+:(\d+)"))[1])
    await server.says(r"\nready\n")
    yield ("127.0.0.1", port)
    ports[1] = f"127.0.0.1:{port}"
    try:
        for _ in range(options.restarts):
            following = Program(options, io, ports=ports)
            await following.says(r"\nready\n")
            server.process.terminate()
            before, server = server, following
            await before.ends()
            yield None
    finally:
        server.process.kill()


# What a supervisor does between its own descriptors and the program: only the new process knows
# its number.
ACTIVATE = (
    "import os, sys; n = int(sys.argv[1]); os.dup2(n, 3); n == 3 or os.close(n); "
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='client'); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


async def activated(options, io):
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    number = listener.fileno()
    before = [sys.executable, "-c", ACTIVATE, str(number)]

    def start():
        ports = ["--admin", "127.0.0.1:0"]
        return Program(options, io, ports=ports, before=before, pass_fds=(number,))

    server = start()
    await server.says(r"\nready\n")
    yield listener.getsockname()
    try:
        for _ in range(options.restarts):
            server.process.terminate()
            await server.ends()
            server = start()
            await server.says(r"\nready\n")
            yield None
    finally:
        server.process.kill()


async def measure(options, way, io):
    steps = way(options, io)
    crowd = Crowd(await anext(steps))
    clients = [asyncio.create_task(crowd.client()) for _ in range(options.clients)]
    await asyncio.sleep(0.5)
    restarts = 0
    async for _ in steps:
        restarts += 1
        if restarts == options.restarts:
            # The last of the servers still has to be there for those under way.
            await asyncio.sleep(0.5)
            crowd.going = False
            await asyncio.gather(*clients)
    return crowd, restarts


def main():
    parser = argparse.ArgumentParser(prog="scripts/restarts", description=__doc__.split("\n")[0])
    parser.add_argument("--program", default="target/release/tidegate")
    parser.add_argument("--way", action="append", choices=["upgrade", "shared", "activated"])
    parser.add_argument("--io", action="append", choices=["epoll", "uring"])
    parser.add_argument("--restarts", type=int, default=50, help="of each way [default: 50]")
    parser.add_argument("--clients", type=int, default=8, help="at once [default: 8]")
    parser.add_argument("--drain", default="2s", help="drain timeout [default: 2s]")
    options = parser.parse_args()
    ways = {"upgrade": upgrade, "shared": shared, "activated": activated}
    print(f"program {options.program}, {options.clients} clients, drain timeout {options.drain}")
    print("| way | io | restarts | connects served | failed | p50, p99, most in ms |")
    print("|---|---|---|---|---|---|")
    bad = False
    for name in options.way or list(ways):
        for io in options.io or ["epoll", "uring"]:
            crowd, restarts = asyncio.run(measure(options, ways[name], io))
            spans = sorted(span * 1000 for span in crowd.spans)
            cuts = statistics.quantiles(spans, n=100)
            failed = sum(crowd.faults.values())
            bad = bad or failed > 0
            figures = f"{cuts[49]:.1f}, {cuts[98]:.1f}, {spans[-1]:.0f}"
            row = [name, io, restarts, len(spans), failed, figures]
            print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
            for fault, count in crowd.faults.most_common():
                print(f"  {count} times: {fault}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
