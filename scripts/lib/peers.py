"""Times the protocol core beside the crates that do the same, and prints a table for each function.

A figure is the median of the rounds, in nanoseconds per message, with the smallest and the largest
round in brackets. The rounds are interleaved: all crates take turns at a message before the next.
"""

import argparse
import glob
import json
import os
import statistics
import subprocess

TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", "bench/peers/target"))
MANIFEST = "bench/peers/Cargo.toml"
NO_PEERS = ("tidegate", "copy alone", "simdutf8", "std")


def build():
    """Builds the bench, and tells where it lies."""
    command = ["cargo", "bench", "--no-run", "--quiet", "--manifest-path", MANIFEST]
    done = subprocess.run(
        command + ["--bench", "peers", "--message-format=json"], stdout=subprocess.PIPE, check=True
    )
    for line in done.stdout.decode().splitlines():
        said = json.loads(line)
        if said.get("executable") and said["target"]["name"] == "peers":
            return said["executable"]
    raise SystemExit("cargo built no bench")


def run_round(program, pattern, seconds):
    """Runs the cases that match; their medians in nanoseconds by function, message and crate."""
    home = os.path.join(TARGET, "criterion")
    environment = dict(os.environ, CRITERION_HOME=home)
    began = {path: os.stat(path).st_mtime_ns for path in estimates(home)}
    command = [program, "--bench", "--quiet", "--noplot", "--sample-size", "10"]
    command += ["--warm-up-time", str(seconds / 4), "--measurement-time", str(seconds), pattern]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    found = {}
    for path in estimates(home):
        if began.get(path) == os.stat(path).st_mtime_ns:
            continue
        with open(os.path.join(os.path.dirname(path), "benchmark.json")) as file:
            case = json.load(file)
        with open(path) as file:
            median = json.load(file)["median"]["point_estimate"]
        message, name = case["function_id"], case["value_str"]
        found[case["group_id"], message, name] = median / case["throughput"]["Elements"]
    return found


def estimates(home):
    return glob.glob(os.path.join(home, "*", "*", "*", "new", "estimates.json"))


def figure(rounds):
    """Three digits are more than the machine is good for."""
    middle, low, high = (shown(f(rounds)) for f in (statistics.median, min, max))
    return middle if len(rounds) == 1 else f"{middle} ({low}–{high})"


def shown(value):
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def table(function, order, figures, unit, cell):
    """One function in Markdown: a row for each message, a column for each crate."""
    messages = list(dict.fromkeys(m for f, m, _ in order if f == function))
    names = list(dict.fromkeys(n for f, _, n in order if f == function))
    print(f"\n**{function}**, {unit}\n")
    print(f"| | {' | '.join(names)} |")
    print("|---|" + "---|" * len(names))
    for message in messages:
        found = [figures.get((function, message, name)) for name in names]
        print(f"| {message} | {' | '.join(cell(f) if f else '' for f in found)} |")


def verdicts(order, figures, apart):
    """Where a peer is ahead of us, in one line each; `apart` tells whether that is no noise."""
    for function, message in dict.fromkeys((f, m) for f, m, _ in order):
        ours = figures.get((function, message, "tidegate"))
        for f, m, name in order:
            if (f, m) != (function, message) or name in NO_PEERS or not ours:
                continue
            theirs = figures[f, m, name]
            ratio = statistics.median(theirs) / statistics.median(ours)
            if ratio < 1 and apart(theirs, ours):
                yield f"- {function}, {message}: {name} takes {ratio:.2f} of our {shown(statistics.median(ours))}"


def print_all(order, figures, unit, cell, apart):
    order = [case for case in order if case in figures]
    for function in dict.fromkeys(f for f, _, _ in order):
        table(function, order, figures, unit, cell)
    behind = list(verdicts(order, figures, apart))
    print("\nWe are behind:\n\n" + "\n".join(behind) if behind else "\nWe are behind nowhere.")


def main():
    parser = argparse.ArgumentParser(prog="scripts/peers", description=__doc__)
    parser.add_argument("pattern", nargs="?", default="", help="a regular expression for cases [all]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each case [%(default)s]")
    chosen = parser.parse_args()

    program = build()
    figures = {}
    for _ in range(chosen.rounds):
        for case, nanoseconds in run_round(program, chosen.pattern, chosen.seconds).items():
            figures.setdefault(case, []).append(nanoseconds)
    listed = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    order = [tuple(l.removesuffix(": benchmark").split("/")) for l in listed.stdout.splitlines()]
    # Rounds that overlap tell no difference.
    print_all(order, figures, "ns per message", figure, lambda a, b: max(a) < min(b))


if __name__ == "__main__":
    main()
