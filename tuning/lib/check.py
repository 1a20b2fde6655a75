"""Says which of the kernel's knobs are right for a number of connections. Reads only."""

import command
import knobs

TEXT = """Says which of the kernel's knobs are right for a number of connections. Reads, and changes
nothing. `tidegate doctor` says more, where the server is installed.

exit codes: 0 all are right, or cannot be judged; 1 some are not; 2 wrong usage"""

SHOWN = {"ok": "ok", "off": "CHANGE", "absent": "absent", "unknown": "?"}


def main():
    parser = command.parser("check", TEXT, "for", "with", "root")
    parser.add_argument("--json", action="store_true", help="one array, for programs")
    chosen = parser.parse_args()
    connections = command.meant(parser, knobs.parse_count, chosen.for_)
    groups = command.meant(parser, knobs.parse_groups, chosen.with_)
    found = knobs.profile(knobs.Host(chosen.root_), connections, groups)
    if chosen.json:
        command.print_json([
            {"name": knob.name, "state": knob.state, "now": knob.now, "wanted": knob.wanted, "target": knob.target}
            for knob in found
        ])
    else:
        for knob in found:
            change = f" → {knob.target}  ({knob.why})" if knob.state == "off" else ""
            print(f"{SHOWN[knob.state]:<7} {knob.name:<38} {knob.now or '-'}{change}")
    return 1 if any(knob.state == "off" for knob in found) else 0


command.run(main)
