"""Keeps the connection tracker from following the server's port."""

import os
import shlex
import shutil
import subprocess

import command
import knobs
import undo

TEXT = """Exempts the server's port from nf_conntrack, with nft or iptables, whichever is there: a
tracker follows 262,144 connections by default, and drops packets of all others. Without --yes it
only prints the commands; tuning/undo, or --undo, takes the rules out again. They do not outlast
a boot.

A firewall that lets in only what it follows must let this port through in both directions:
packets that are not followed are neither new nor established.

exit codes: 0 done, or nothing to be done; 1 something was refused; 2 wrong usage"""

TABLE = "tidegate"
BOOT = "proc/sys/kernel/random/boot_id"


def parse_port(text):
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ValueError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def nft(tool, ports):
    """The commands that make the rules, and those that take them out."""
    ports = ", ".join(str(port) for port in ports)
    lines = [f"add table inet {TABLE}"]
    for chain, here, other in (("prerouting", "dport", "iif lo tcp sport"), ("output", "sport", "oif lo tcp dport")):
        lines.append(f"add chain inet {TABLE} {chain} {{ type filter hook {chain} priority raw; policy accept; }}")
        lines.append(f"add rule inet {TABLE} {chain} tcp {here} {{ {ports} }} notrack")
        # Clients on this host: loopback would be followed from their end.
        lines.append(f"add rule inet {TABLE} {chain} {other} {{ {ports} }} notrack")
    # One argument is one transaction: all of it, or nothing.
    return [[tool, "\n".join(lines)]], [[tool, f"delete table inet {TABLE}"]]


def iptables(tool, ports):
    """The same with iptables, for both families."""
    make, take = [], []
    for program in (tool, os.path.join(os.path.dirname(tool), os.path.basename(tool).replace("ip", "ip6", 1))):
        for port in ports:
            for chain, match in (
                ("PREROUTING", ["--dport", str(port)]),
                ("PREROUTING", ["-i", "lo", "--sport", str(port)]),
                ("OUTPUT", ["--sport", str(port)]),
                ("OUTPUT", ["-o", "lo", "--dport", str(port)]),
            ):
                rule = [chain, "-p", "tcp", *match, "-j", "CT", "--notrack"]
                make.append([program, "-w", "-t", "raw", "-A", *rule])
                take.append([program, "-w", "-t", "raw", "-D", *rule])
    return make, take


def commands(tool, ports):
    return (iptables if "iptables" in os.path.basename(tool) else nft)(tool, ports)


def call(words):
    """Runs a command; what it says when it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        return command.reason(error)
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else None


def make_rules(host, tool, ports):
    """Makes the rules, all or none; returns the exit code."""
    kept = command.state_of(host)
    boot = (host.read(BOOT) or "").strip()
    before = kept.commands.get("conntrack")
    if before and before["boot"] == boot:
        print(f"the rules are there already, for {before['ports']}; --undo takes them out")
        return 0 if before["ports"] == ports else 1
    make, take = commands(tool, ports)
    kept.commands["conntrack"] = {"by": "conntrack", "undo": [], "ports": ports, "boot": boot}
    kept.save()
    for index, words in enumerate(make):
        fault = call(words)
        if fault is not None:
            print(f"refused: {shlex.join(words)}: {fault}")
            for undone in reversed(take[:index] if len(take) == len(make) else []):
                call(undone)
            del kept.commands["conntrack"]
            kept.save()
            return 1
        # What was made so far can be taken out, also if this is interrupted.
        kept.commands["conntrack"]["undo"] = take[: index + 1] if len(take) == len(make) else take
        kept.save()
        print(shlex.join(words))
    return 0


def main():
    parser = command.parser("conntrack", TEXT, "root")
    parser.add_argument("--port", action="append", metavar="PORT", help="the server's; several are possible [8080]")
    parser.add_argument("--tool", metavar="PROGRAM", help="nft or iptables [whichever is there]")
    parser.add_argument("--undo", action="store_true", help="take the rules out, as tuning/undo --only conntrack")
    parser.add_argument("--yes", action="store_true", help="run the commands, instead of only printing them")
    chosen = parser.parse_args()
    host = knobs.Host(chosen.root_)
    if chosen.undo:
        return undo.Undo(host, "conntrack", chosen.yes).run()
    ports = [command.meant(parser, parse_port, text) for text in chosen.port or ["8080"]]
    tool = chosen.tool or next(filter(shutil.which, ("nft", "iptables")), None)
    if chosen.yes and chosen.root_ != "/" and not chosen.tool:
        parser.error("another root has no rules of its own: --yes needs a --tool there")
    if not host.exists("proc/sys/net/netfilter/nf_conntrack_max"):
        print("nf_conntrack is not loaded: nothing is followed, so there is nothing to exempt")
        return 0
    if tool is None and chosen.yes:
        print("refused: there is neither nft nor iptables here")
        return 1
    if chosen.yes:
        return make_rules(host, tool, ports)
    for words in commands(tool or "nft", ports)[0]:
        print(shlex.join(words))
    print("nothing was done: this was a dry run; --yes runs this")
    return 0


command.run(main)
