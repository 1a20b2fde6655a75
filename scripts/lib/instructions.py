"""Counts the instructions of the protocol core beside the crates that do the same, per message.

Each case runs twice under callgrind, some times and some times more; the difference, divided, is one
message without any set-up. The counts hardly depend on the machine's load. Valgrind shows a program no
AVX-512, so who would use that uses AVX2 here.
"""

import argparse
import os
import re
import subprocess

import peers

DEFAULT = "^(mask|read header|write header|inbound|inbound, mixed|inbound, 16 a chunk|outbound)/"


def build():
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path", peers.MANIFEST]
    subprocess.run(command + ["--target-dir", peers.TARGET], check=True)
    return os.path.join(peers.TARGET, "release", "count")


def collected(program, case, runs):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        command + [program, case, str(runs)], capture_output=True, text=True, check=True
    )
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def per_message(program, case, messages, runs):
    difference = collected(program, case, 2 * runs) - collected(program, case, runs)
    return difference / runs / messages


def main():
    parser = argparse.ArgumentParser(prog="scripts/instructions", description=__doc__)
    parser.add_argument("pattern", nargs="?", default=DEFAULT, help="cases [%(default)s]")
    parser.add_argument("--runs", type=int, default=200, help="of each case [%(default)s]")
    chosen = parser.parse_args()

    program = build()
    listed = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True)
    order, counts = [], {}
    for line in listed.stdout.splitlines():
        case, messages = line.split("\t")
        if re.search(chosen.pattern, case):
            order.append(tuple(case.split("/")))
            counts[order[-1]] = [per_message(program, case, int(messages), chosen.runs)]
    unit = "instructions per message"
    peers.print_all(order, counts, unit, lambda c: f"{c[0]:,.0f}", lambda a, b: a < b)


if __name__ == "__main__":
    main()
