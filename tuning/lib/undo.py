"""Gives back what was before apply, queues and conntrack, and removes what they installed."""

import os
import shlex
import subprocess

import command
import knobs

TEXT = """Gives back every value that tuning/apply, tuning/queues and tuning/conntrack have changed,
exactly as it was before the first of them, and removes the files that they have installed.
What cannot be given back stays on record for another try.

exit codes: 0 all is as it was; 1 something was refused; 2 wrong usage"""


class Undo:
    def __init__(self, host, by, write):
        self.host, self.by, self.write = host, by, write
        self.state = command.state_of(host)
        self.refused = 0

    def run(self):
        if self.state.is_empty():
            print("nothing was changed, so there is nothing to undo")
            return 0
        # The last change is undone first.
        for key, entry in reversed(list(self.state.knobs.items())):
            if self.by in (None, entry["by"]):
                print(f"{key:<38} {self.restore(key, entry)}", flush=True)
        for name, entry in reversed(list(self.state.commands.items())):
            if self.by in (None, entry["by"]):
                print(f"{name:<38} {self.call(name, entry)}", flush=True)
        if self.by in (None, "apply"):
            for path, before in reversed(list(self.state.files.items())):
                print(f"/{path:<37} {self.put_back(path, before)}", flush=True)
        if self.write:
            self.state.save()
        else:
            print("nothing was written: this was a dry run")
        return 1 if self.refused else 0

    def restore(self, key, entry):
        path, was = entry["path"], entry["was"]
        now = self.host.read(path)
        if now is None:
            self.drop(self.state.knobs, key)
            return "is gone, with its module or device"
        now, shown = " ".join(now.split()), " ".join(was.split())
        if not self.write:
            return f"{now} → {shown}"
        try:
            self.host.write(path, was + "\n")
        except OSError as error:
            self.refused += 1
            return f"{now} → {shown} refused: {command.reason(error)}"
        self.drop(self.state.knobs, key)
        return f"{now} → {shown}"

    def call(self, name, entry):
        if entry["boot"] != (self.host.read("proc/sys/kernel/random/boot_id") or "").strip():
            self.drop(self.state.commands, name)
            return "is gone since the last boot"
        for words in entry["undo"] if self.write else []:
            try:
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                fault = done.stderr.strip() if done.returncode else None
            except OSError as error:
                fault = command.reason(error)
            if fault is not None:
                self.refused += 1
                return f"refused: {shlex.join(words)}: {fault}"
        self.drop(self.state.commands, name)
        return "removed: " + "; ".join(shlex.join(words) for words in entry["undo"])

    def put_back(self, path, before):
        full = self.host.path(path)
        what = "removed" if before is None else "as it was"
        if self.write:
            try:
                if before is not None:
                    self.state.write_file(path, before)
                elif os.path.exists(full):
                    os.remove(full)
            except OSError as error:
                self.refused += 1
                return f"refused: {command.reason(error)}"
        self.drop(self.state.files, path)
        return what

    def drop(self, entries, key):
        """Forgets what is done, at once: an interrupted undo goes on where it was."""
        if self.write:
            del entries[key]
            self.state.save()


def main():
    parser = command.parser("undo", TEXT, "root")
    parser.add_argument("--only", choices=("apply", "queues", "conntrack"), help="what that script has changed")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
    parser.add_argument("--yes", action="store_true", help="taken, and not needed")
    chosen = parser.parse_args()
    try:
        return Undo(knobs.Host(chosen.root_), chosen.only, not chosen.dry_run).run()
    except OSError as error:
        raise SystemExit(f"tuning: {error.filename}: {command.reason(error)}; run it again") from error


if __name__ == "__main__":
    command.run(main)
