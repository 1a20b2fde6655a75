"""Holds a million connections in one process with one table of descriptors, in a virtual machine.

Where a process may not hold so many descriptors, a machine of QEMU's may: its CPU is emulated, its
kernel is Debian's, and its only programs are the server, the load client and busybox. It has the
knobs of tuning/ for that many connections. Each connection gets a pong to a ping and an echo of a
message. It shows that it works, and what memory it takes; it says nothing about speed.

QEMU, the kernel and busybox are Debian's packages, unpacked into target/vm; nothing is installed.
"""

import argparse
import glob
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
# There is another module of that name beside this one.
sys.path.insert(0, os.path.join(HERE, "..", "..", "tuning", "lib"))
import knobs  # noqa: E402

FOLDER = os.path.abspath("target/vm")
ROOT = f"{FOLDER}/root"
PACKAGES = ["qemu-system-x86", "seabios", "busybox"]
KERNEL = "linux-image-cloud-amd64"
# The kernel's part of both ends of a connection, what both programs keep of it, and what a machine
# needs that holds none.
BYTES_PER_CONNECTION = 4_300 + 4_200 + 600
BYTES_AT_REST = 1 << 30
# QEMU's own memory, beside the machine's.
BYTES_OF_QEMU = 512 << 20
DESCRIPTORS_SPARE = 1.1


def run(*command, cwd=None):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def missing_packages():
    """What this host would have to install, in order to have them all, without upgrades."""
    kernel = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", KERNEL))
    if not kernel:
        raise SystemExit(f"Debian has no {KERNEL}")
    listing = run("apt-get", "install", "-s", "--no-install-recommends", *PACKAGES)
    names = re.findall(r"^Inst (\S+) \(", listing, re.MULTILINE)
    return sorted({*PACKAGES, *names}) + [kernel[1]]


def fetch():
    """QEMU, a kernel and busybox, unpacked."""
    if os.path.exists(f"{FOLDER}/done"):
        return
    if not shutil.which("apt-get"):
        raise SystemExit("there is no apt-get to fetch QEMU with")
    if os.geteuid() == 0:
        # Old lists name packages that are gone.
        run("apt-get", "update", "-qq")
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(f"{FOLDER}/packages")
    run("apt-get", "download", *missing_packages(), cwd=f"{FOLDER}/packages")
    for archive in sorted(glob.glob(f"{FOLDER}/packages/*.deb")):
        run("dpkg-deb", "-x", archive, ROOT)
    shutil.rmtree(f"{FOLDER}/packages")
    with open(f"{FOLDER}/done", "w", encoding="ascii"):
        pass


def libraries(program):
    """The shared libraries of a program, the loader with them, as paths."""
    return re.findall(r"(/\S+) \(0x", run("ldd", program))


class Archive:
    """An initramfs: a cpio archive in the kernel's format, "newc"."""

    def __init__(self):
        self.bytes, self.count, self.folders = bytearray(), 0, set()

    def add(self, path, mode, content):
        self.count += 1
        name = path.encode() + b"\0"
        fields = [self.count, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        self.bytes += b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (name, content):
            self.bytes += part
            self.bytes += bytes(-len(self.bytes) % 4)

    def folder(self, path):
        if path and path not in self.folders:
            self.folder(os.path.dirname(path))
            self.folders.add(path)
            self.add(path, 0o040755, b"")

    def text(self, path, content, mode=0o644):
        self.folder(os.path.dirname(path))
        self.add(path, 0o100000 | mode, content.encode())

    def file(self, path, source):
        with open(source, "rb") as file:
            content = file.read()
        self.folder(os.path.dirname(path))
        self.add(path, 0o100755, content)

    def link(self, path, target):
        self.add(path, 0o120777, target.encode())

    def write(self, path):
        self.add("TRAILER!!!", 0, b"")
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(self.bytes)


COMMANDS = [
    "awk", "cat", "cut", "echo", "find", "grep", "head", "ip", "mount", "poweroff", "sed", "sh",
    "sleep", "sync", "tail", "tr", "uname", "wc", "wget",
]


class Plan:
    """The machine that it takes."""

    def __init__(self, chosen):
        self.connections = chosen.connections
        self.memory = chosen.memory << 20 if chosen.memory else (
            BYTES_AT_REST + chosen.connections * BYTES_PER_CONNECTION * 3 // 2
        )
        self.reserve = chosen.reserve << 20
        self.minutes = chosen.minutes
        with open(knobs.KNOBS, encoding="utf-8") as file:
            entries = json.load(file)["knobs"]
        self.knobs = {entry["name"]: entry for entry in entries if entry["group"] in ("server", "clients")}

    def fault(self):
        """What would stop the run, or None."""
        need = self.memory + BYTES_OF_QEMU + self.reserve
        if memory_available() < need:
            return f"{memory_available() >> 20} MiB of memory are available, {need >> 20} MiB are needed"
        return None

    def values(self, name):
        fields = self.knobs[name]["fields"]
        # Both ends are in this machine.
        return [
            (field["rule"], knobs.compute(field, 2 * self.connections, self.memory, 4096)) for field in fields
        ]

    def sysctls(self):
        """One line for each sysctl: its file, and what becomes of each of its numbers."""
        letters = {"at_least": "g", "at_most": "l", "keep": "k"}
        for name, entry in self.knobs.items():
            if entry["kind"] == "sysctl":
                fields = " ".join(
                    letters[rule] + ("" if rule == "keep" else str(value)) for rule, value in self.values(name)
                )
                yield f"{name.replace('.', '/')} {fields}\n"

    def settings(self, chosen):
        return {
            "CONNECTIONS": self.connections,
            "PROCESSES": chosen.processes,
            "FILES_MAX": int(self.connections * DESCRIPTORS_SPARE) + 10_000,
            "SECONDS_MAX": self.minutes * 60,
            "HOLD_SECONDS": chosen.hold,
            "RESERVE_KB": 256 * 1024,
        }


def memory_available():
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(r"MemAvailable:\s+(\d+) kB", file.read()).group(1)) * 1024


def make_initramfs(plan, chosen, path):
    archive = Archive()
    for folder in ("proc", "sys", "dev", "tmp"):
        archive.folder(folder)
    archive.file("bin/busybox", f"{ROOT}/bin/busybox")
    for command in COMMANDS:
        archive.link(f"bin/{command}", "busybox")
    needed = set(libraries(f"{ROOT}/bin/busybox"))
    for program in ("tidegate", "tidegate-bench"):
        archive.file(f"bin/{program}", f"{measure.RELEASE}/{program}")
        needed.update(libraries(f"{measure.RELEASE}/{program}"))
    for library in sorted(needed):
        archive.file(library.lstrip("/"), library)
    with open(f"{HERE}/million_vm_init.sh", encoding="utf-8") as file:
        archive.text("init", file.read(), 0o755)
    archive.text("knobs", "".join(plan.sysctls()))
    archive.text("settings", "".join(f"{name}={value}\n" for name, value in plan.settings(chosen).items()))
    archive.write(path)


def qemu(plan, chosen, folder):
    kernel = sorted(glob.glob(f"{ROOT}/boot/vmlinuz-*"))[-1]
    buckets = plan.values("thash_entries")[0][1]
    words = f"console=ttyS0 loglevel=4 panic=-1 mitigations=off thash_entries={buckets}"
    return [
        f"{ROOT}/usr/bin/qemu-system-x86_64", "-L", f"{ROOT}/usr/share/seabios", "-L", f"{ROOT}/usr/share/qemu",
        "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", chosen.cores, "-m", plan.memory >> 20,
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-kernel", kernel, "-initrd", f"{folder}/initramfs.gz", "-append", words,
        "-serial", f"file:{folder}/console", "-serial", f"file:{folder}/told",
    ]


class Told:
    """What the machine has said so far, line by line."""

    def __init__(self, path):
        self.path, self.at, self.rest = path, 0, ""
        self.lines = []

    def news(self):
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                file.seek(self.at)
                text = file.read()
                self.at = file.tell()
        except FileNotFoundError:
            return []
        whole, newline, self.rest = (self.rest + text).replace("\r", "").rpartition("\n")
        lines = whole.split("\n") if newline else []
        self.lines += lines
        return lines

    def find(self, word):
        return [line[len(word) + 1:] for line in self.lines if line.startswith(word + " ")]


def pairs(text):
    """`name number name number`, as a dictionary."""
    words = text.split()
    return {name: float(value) for name, value in zip(words[::2], words[1::2])}


def watch(plan, process, told):
    """Waits for the end of the machine, and shows what it says."""
    until = time.monotonic() + plan.minutes * 60 + 120
    while process.poll() is None:
        time.sleep(1.0)
        for line in told.news():
            if not line.startswith(("report", "knob")):
                print(f"  {line}", file=sys.stderr, flush=True)
        if memory_available() < plan.reserve:
            raise SystemExit("stopped: the host's memory ran low")
        if time.monotonic() > until:
            raise SystemExit("stopped: the machine did not switch itself off")
    told.news()


def boot(plan, chosen, folder):
    """Runs the machine to its end; what it told."""
    make_initramfs(plan, chosen, f"{folder}/initramfs.gz")
    command = [str(word) for word in qemu(plan, chosen, folder)]
    where = [f"{ROOT}/{place}/x86_64-linux-gnu" for place in ("lib", "usr/lib")]
    told = Told(f"{folder}/told")
    with open(f"{folder}/qemu", "wb") as errors:
        process = subprocess.Popen(
            ["nice", "-n", "10", *command], stdout=errors, stderr=errors,
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(where)},
        )
    try:
        watch(plan, process, told)
    finally:
        process.kill()
        process.wait()
    if not told.find("end"):
        with open(f"{folder}/qemu", encoding="utf-8", errors="replace") as file:
            print(file.read()[-2000:], file=sys.stderr)
        console = f"{folder}/console"
        if os.path.exists(console):
            with open(console, encoding="utf-8", errors="replace") as file:
                print(file.read()[-4000:], file=sys.stderr)
        raise SystemExit("the machine did not come to its end")
    return told


def tell(plan, told, report, before, held, counted):
    per = plan.connections
    proof = report["idle"]
    rows = [
        ("connections opened, failed, lost", ", ".join(f"{report['connections_' + key]:,}" for key in ("opened", "failed", "lost"))),
        ("counted by the server", f"{held['connections']:,.0f}"),
        ("descriptors of its process, in one table", f"{counted['descriptors']:,.0f}"),
        ("its threads", f"{counted['threads']:.0f}"),
        ("sockets in use, both ends", f"{held['tcp_inuse']:,.0f}"),
        ("asked, ponged, echoed", ", ".join(f"{proof[key]:,}" for key in ("verified", "ponged", "echoed"))),
        ("resident memory of the server", f"{held['rss_kb'] / 1024:,.1f} MiB"),
        ("per connection, beyond the empty server", f"{(held['rss_kb'] - before['rss_kb']) * 1024 / per:,.0f} bytes"),
        ("kernel slabs per connection, both ends", f"{(held['slab_kb'] - before['slab_kb']) * 1024 / per:,.0f} bytes"),
        ("memory of the machine, still available", f"{int(told.find('memory_kb')[0]) >> 10:,} MiB, {int(held['available_kb']) >> 10:,} MiB"),
        ("from the first connect to the end, on an emulated CPU", f"{told_seconds(told) / 60:.1f} minutes"),
    ]
    print("| | |\n|---|---|")
    for left, right in rows:
        print(f"| {left} | {right} |")


def told_seconds(told):
    seen = [pairs(line.partition(" ")[2])["seconds"] for line in told.find("seen")]
    return seen[-1] - seen[0]


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/million-vm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=1_000_000, help="[%(default)s]")
    parser.add_argument("--processes", type=int, default=4, help="of the load client [%(default)s]")
    parser.add_argument("--hold", type=int, default=60, help="seconds, after all have been asked [%(default)s]")
    parser.add_argument("--memory", type=int, help="MiB of the machine [as much as they need]")
    parser.add_argument("--cores", type=int, default=1, help="of the machine [%(default)s]")
    parser.add_argument("--minutes", type=int, default=45, help="after which it is stopped [%(default)s]")
    parser.add_argument("--reserve", type=int, default=1024, help="MiB to be left of the host [%(default)s]")
    parser.add_argument("--log", help="a file for all that the machine tells")
    chosen = parser.parse_args()

    plan = Plan(chosen)
    fault = plan.fault()
    if fault:
        raise SystemExit(f"cannot: {fault}")
    # Whoever ends this script ends the machine with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    fetch()
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        told = boot(plan, chosen, folder)
    if chosen.log:
        with open(chosen.log, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in told.lines)
    seen = {line.partition(" ")[0]: pairs(line.partition(" ")[2]) for line in told.find("seen")}
    end = told.find("end")[0]
    if end not in ("client 0", "client 1") or "held" not in seen or not told.find("threads"):
        raise SystemExit(f"it ended with: {end}; {' | '.join(told.find('error'))}")
    report = json.loads(told.find("report")[0])
    counted = pairs("threads " + told.find("threads")[0])
    tell(plan, told, report, seen["before"], seen["held"], counted)
    print(f"\n`scripts/million-vm --connections {plan.connections}`; Linux {told.find('kernel')[0]} in QEMU, emulated CPU.")
    proof = report["idle"]
    good = (
        end == "client 0"
        and report["connections_opened"] == plan.connections == seen["held"]["connections"]
        and proof["ponged"] == proof["echoed"] == proof["verified"] == plan.connections
        and counted["descriptors"] > plan.connections
    )
    raise SystemExit(0 if good else 1)


main()
