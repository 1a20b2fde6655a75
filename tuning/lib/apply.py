"""Sets the kernel's knobs for a number of connections, now and for the next boot."""

import os

import command
import knobs

FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "files")
SYSCTL = "etc/sysctl.d/90-tidegate.conf"
LIMITS = "etc/security/limits.d/90-tidegate.conf"
SERVICE = "etc/systemd/system/tidegate.service.d/90-tuning.conf"
MODPROBE = "etc/modprobe.d/90-tidegate.conf"
TMPFILES = "etc/tmpfiles.d/90-tidegate.conf"
# What the kernel and the server keep for an idle connection.
BYTES_PER_CONNECTION = 4_300

TEXT = """Sets the kernel's knobs for a number of connections, computed for this host's memory: the
values now, and files for the next boot (sysctl.d, limits.d, a drop-in for tidegate.service,
modprobe.d, tmpfiles.d). Without --yes it only prints what it would do. What was is kept in
/var/lib/tidegate/tuning, and tuning/undo gives it back. Nothing is made smaller that is larger
than wanted, but for the maxima of buffers and times.

exit codes: 0 done, or nothing to be done; 1 something was refused; 2 wrong usage"""


class Apply:
    def __init__(self, host, connections, groups, write):
        self.host, self.connections, self.write = host, connections, write
        self.knobs = knobs.profile(host, connections, groups)
        self.state = command.state_of(host)
        self.refused = 0

    def run(self):
        for knob in self.knobs:
            print(f"{knob.name:<38} {self.change(knob)}", flush=True)
        for path, text in self.files():
            print(f"/{path:<37} {self.install(path, text)}", flush=True)
        if not self.write:
            print("nothing was written: this was a dry run; --yes writes")
        elif self.refused:
            print(f"{self.refused} refused; tuning/undo gives back what was")
        else:
            print("done; tuning/undo gives back what was")
        return 1 if self.refused else 0

    def change(self, knob):
        """Changes a knob if it must be; says what happened."""
        if knob.state == "absent":
            return "is not here (an older kernel, or a module that is not loaded)"
        if knob.state == "unknown":
            return f"cannot be read as it is meant: {knob.now!r}; left alone"
        if knob.state == "ok":
            return f"{knob.now}: enough"
        if knob.kind == "boot":
            return f"{knob.now}; for {knob.target}, add thash_entries={knob.target} to the kernel's command line"
        if knob.kind == "limit":
            return f"{knob.now} → {knob.target} for what starts later, by the files below"
        if not self.write:
            return f"{knob.now} → {knob.target}  ({knob.why})"
        try:
            is_now = self.state.write_knob(knob.name, knob.path, knob.target, "apply", knob.now_exactly())
        except OSError as error:
            self.refused += 1
            return f"{knob.now} → {knob.target} refused: {command.reason(error)}"
        if knob.kind != "choice" and is_now != knob.target:
            return f"{knob.now} → {is_now} (asked for {knob.target})"
        return f"{knob.now} → {knob.target}"

    def install(self, path, text):
        """Writes a file if it must be; says what happened."""
        before = self.host.read(path)
        if before == text:
            return "is there"
        what = "new" if before is None else "changed"
        if not self.write:
            return f"{what}:\n" + "".join(f"    {line}\n" for line in text.splitlines()).rstrip("\n")
        try:
            self.state.write_file(path, text)
        except OSError as error:
            self.refused += 1
            return f"refused: {command.reason(error)}"
        return what

    def files(self):
        """The files that keep the change over a boot, with their texts."""
        by_name = {knob.name: knob for knob in self.knobs}
        limit, hashsize = by_name["nofile"], by_name["nf_conntrack.hashsize"]
        huge = by_name["transparent_hugepage"]
        nofile = limit.wanted
        if limit.now and int(limit.now) < knobs.NUMBER_MAX:
            nofile = str(max(int(limit.now), int(limit.wanted)))
        values = {
            "connections": str(self.connections),
            "nofile": nofile,
            "hashsize": hashsize.target or hashsize.wanted,
            "memory_max": f"{-(-self.connections * BYTES_PER_CONNECTION // (1 << 20))}M",
            "sysctls": "\n".join(self.sysctls()),
        }
        wanted = [(SYSCTL, "sysctl.conf", values["sysctls"])]
        wanted.append((LIMITS, "limits.conf", limit.now != str(knobs.NUMBER_MAX)))
        wanted.append((SERVICE, "service.conf", True))
        wanted.append((MODPROBE, "modprobe.conf", hashsize.state != "ok" or self.is_ours(hashsize)))
        wanted.append((TMPFILES, "tmpfiles.conf", huge.state == "off" or self.is_ours(huge)))
        return [(path, fill(template, values)) for path, template, needed in wanted if needed]

    def sysctls(self):
        """The lines of what was changed, now or by an earlier run, and is not refused."""
        values = {}
        for name, entry in self.state.knobs.items():
            if entry["by"] == "apply" and entry["path"].startswith("proc/sys/"):
                values[name] = " ".join((self.host.read(entry["path"]) or "").split())
        for knob in self.knobs:
            if not self.write and knob.kind == "sysctl" and knob.state == "off":
                values[knob.name] = knob.target
        return [f"-{name} = {value}" for name, value in values.items()]

    def is_ours(self, knob):
        return knob.name in self.state.knobs


def fill(template, values):
    with open(os.path.join(FILES, template), encoding="utf-8") as file:
        text = file.read()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def main():
    parser = command.parser("apply", TEXT, "for", "with", "root")
    parser.add_argument("--yes", action="store_true", help="write, instead of only printing")
    chosen = parser.parse_args()
    connections = command.meant(parser, knobs.parse_count, chosen.for_)
    groups = command.meant(parser, knobs.parse_groups, chosen.with_)
    try:
        return Apply(knobs.Host(chosen.root_), connections, groups, chosen.yes).run()
    except OSError as error:
        raise SystemExit(
            f"tuning: what was cannot be kept in {error.filename} ({command.reason(error)}); "
            "so nothing more was changed"
        ) from error


command.run(main)
