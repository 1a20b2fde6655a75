"""Measures our server beside others on this machine.

All take turns, round by round, so that whatever else the machine does meets all of them. Each
server has core 0, the client core 1; a ratio is formed within each round, against ours. What a
server needs is fetched by its name from npm, PyPI, crates.io or Debian into target/compare, and
nothing is installed; one that cannot be had, or fails, is named, and the others go on.
"""

import argparse
import collections
import json
import os
import resource
import signal
import subprocess
import sys
import time

import compare_cells
import compare_charts
import compare_peers
import compare_report
import measure
from compare_cells import CELLS
from compare_peers import OURS, PEERS

# The client's libraries are built with the servers, and drive these.
NEED_CLIENTS = {"foreign", "handshakes", "deflate"}
# So often may a server fail in a cell, which can take a minute, before it is left out there.
FAILURES_MAX = 2


# Connections of the largest cell, and room for what else a process opens.
FILES = 10_200


def say(text):
    print(text, file=sys.stderr, flush=True)


def obtain(peers, cells):
    """Those that can be had, and the version of each."""
    os.makedirs(compare_peers.PLACE, exist_ok=True)
    versions = {}
    for peer in peers:
        try:
            versions[peer.key] = peer.get()
        except (compare_peers.Missing, LookupError, OSError, StopIteration, subprocess.TimeoutExpired) as error:
            say(f"compare: without {peer.name}: {error}")
    if OURS.key not in versions:
        raise SystemExit("compare: our own server is not there")
    if any(cell.group in NEED_CLIENTS for cell in cells):
        try:
            compare_peers.build_rust()
        except compare_peers.Missing as error:
            say(f"compare: without the clients that are not ours: {error}")
            cells[:] = [cell for cell in cells if cell.group not in NEED_CLIENTS]
    return versions


def measure_all(cells, peers, chosen):
    """All runs, one dictionary each, in the order in which they were made."""
    runs, failures = [], collections.Counter()
    started = begun = time.monotonic()
    for turn in range(chosen.rounds):
        now = time.monotonic()
        if turn > 0 and now - started + (now - begun) > chosen.minutes * 60:
            say(f"compare: only {turn} rounds, another would end after --minutes {chosen.minutes}")
            chosen.rounds = turn
            break
        begun = now
        for cell in cells:
            if cell.rounds_max and turn >= cell.rounds_max:
                continue
            taking_part = [peer for peer in peers if peer.takes(cell)]
            # Who goes first changes, in case going first matters.
            for peer in taking_part if turn % 2 == 0 else reversed(taking_part):
                if failures[cell.name, peer.key] >= FAILURES_MAX:
                    continue
                about = {"round": turn, "cell": cell.name, "peer": peer.key}
                try:
                    result = compare_cells.run(cell, peer, chosen.duration)
                # Whatever it was: an hour of figures is not lost for one of them.
                except (measure.Failed, Exception) as error:
                    failures[cell.name, peer.key] += 1
                    result = {"failed": str(error)}
                    say(f"compare: {peer.name} failed in {cell.name}: {(str(error).splitlines() or [repr(error)])[-1]}")
                else:
                    say(f"round {turn + 1}, {cell.name}, {peer.name}: {result['figure']:.3g}")
                runs.append({**about, **result})
    return runs


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/compare", description=__doc__,
        epilog="TIDEGATE_BIN=folder takes our programs from there instead of building them.",
    )
    keys, names = [peer.key for peer in PEERS], [cell.name for cell in CELLS]
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--duration", type=float, default=0.8, help="seconds counted of each run [%(default)s]")
    parser.add_argument("--minutes", type=float, default=14, help="begin no round that would end later [%(default)s]")
    parser.add_argument("--only", nargs="+", choices=keys, metavar="PEER", help="beside ours; see --list")
    parser.add_argument("--scenario", nargs="+", metavar="SCENARIO", help="a group or a cell of it; see --list")
    parser.add_argument("--list", action="store_true", help="name peers and scenarios, and end")
    parser.add_argument("--json", metavar="FILE", help="every run [target/compare/runs.json]")
    parser.add_argument("--pictures", metavar="FOLDER", help="a chart for each table [target/compare/pictures]")
    parser.add_argument("--docs", action="store_true", help="put tables and charts into docs/benchmarks.md")
    parser.add_argument("--redraw", metavar="FILE", help="tables and charts from the runs in FILE, measuring nothing")
    chosen = parser.parse_args()
    if chosen.list:
        print("peers:    ", *keys)
        print("groups:   ", *compare_cells.GROUPS)
        print("scenarios:", *names)
        raise SystemExit(0)
    known = set(names) | set(compare_cells.GROUPS)
    for name in chosen.scenario or []:
        if name not in known:
            parser.error(f"no scenario {name}; there are {', '.join(sorted(known))}")
    return chosen


def take(chosen):
    """Measures what was chosen."""
    peers = [
        peer for peer in PEERS
        if peer is OURS or (peer.key in chosen.only if chosen.only else not peer.asked_for)
    ]
    wanted = chosen.scenario
    cells = [cell for cell in CELLS if not wanted or cell.name in wanted or cell.group in wanted]
    versions = obtain(peers, cells)
    started, load = time.time(), os.getloadavg()
    runs = measure_all(cells, [peer for peer in peers if peer.key in versions], chosen)
    return {
        "command": " ".join(["scripts/compare", *sys.argv[1:]]),
        "rounds": chosen.rounds,
        "duration": chosen.duration,
        "started": started,
        "seconds": time.time() - started,
        # Of others, before; our own two processes would make it 2.
        "load_before": load[0],
        "versions": versions,
        "runs": runs,
    }


def main():
    chosen = arguments()
    # A server must not outlive us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if chosen.redraw:
        with open(chosen.redraw, encoding="utf-8") as text:
            taken = json.load(text)
    else:
        taken = take(chosen)
        with open(chosen.json or f"{compare_peers.PLACE}/runs.json", "w", encoding="utf-8") as raw:
            json.dump(taken, raw, indent=1)
    pictures = chosen.pictures or ("docs/pictures" if chosen.docs else f"{compare_peers.PLACE}/pictures")
    tables = compare_report.tables(taken)
    drawn = compare_charts.draw(tables, pictures)
    # In the page, pictures are named from where it lies.
    text = compare_report.markdown(taken, tables, drawn, "docs" if chosen.docs else ".")
    if chosen.docs:
        compare_report.put_into("docs/benchmarks.md", text)
    print(text)


main()
