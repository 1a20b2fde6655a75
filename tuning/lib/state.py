"""What was before: kept on disk before anything is changed, so that undo gives it back."""

import json
import os

PATH = "var/lib/tidegate/tuning/state.json"


class State:
    """Values and files as they were before the first change to each."""

    def __init__(self, host):
        self.host = host
        self.path = host.path(PATH)
        self.knobs = {}
        self.files = {}
        self.commands = {}
        try:
            with open(self.path, encoding="utf-8") as file:
                kept = json.load(file)
            self.knobs, self.files, self.commands = kept["knobs"], kept["files"], kept["commands"]
            self.folders = kept["folders"]
        except FileNotFoundError:
            self.folders = []

    def is_empty(self):
        return not (self.knobs or self.files or self.commands)

    def save(self):
        """To disk, whole or not at all; gone when there is nothing to keep."""
        if self.is_empty():
            remove_if_unused(self.path)
            for made in reversed(self.folders):
                remove_if_unused(self.host.path(made))
            self.folders = []
            return
        folder = os.path.dirname(self.path)
        self.folders += self.missing(os.path.dirname(PATH))
        os.makedirs(folder, mode=0o755, exist_ok=True)
        partial = self.path + ".new"
        kept = {"knobs": self.knobs, "files": self.files, "commands": self.commands, "folders": self.folders}
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def write_knob(self, key, path, target, by, was=None):
        """Changes a value of the kernel. Returns what the kernel then says; OSError if it refuses."""
        known = key in self.knobs
        if was is None:
            was = (self.host.read(path) or "").rstrip("\n")
        if not known:
            self.knobs[key] = {"path": path, "was": was, "by": by}
            self.save()
        try:
            self.host.write(path, target + "\n")
        except OSError:
            if not known:
                del self.knobs[key]
                self.save()
            raise
        return " ".join((self.host.read(path) or "").split())

    def write_file(self, path, text, mode=0o644):
        """Installs a file, whole or not at all."""
        known = path in self.files
        if not known:
            self.files[path] = self.host.read(path)
            self.save()
        full = self.host.path(path)
        partial = full + ".new"
        try:
            self.make_folder(os.path.dirname(path))
            with open(partial, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(partial, mode)
            os.replace(partial, full)
        except OSError:
            remove_if_unused(partial)
            if not known:
                del self.files[path]
                self.save()
            raise

    def make_folder(self, path):
        missing = self.missing(path)
        self.folders += missing
        self.save()
        for folder in missing:
            os.mkdir(self.host.path(folder))

    def missing(self, path):
        """The folders that must be made for this one, the outermost first."""
        missing = []
        while path and not os.path.isdir(self.host.path(path)):
            missing.insert(0, path)
            path = os.path.dirname(path)
        return missing


def remove_if_unused(path):
    """Removes a file, or a folder in which nothing is left."""
    try:
        os.rmdir(path) if os.path.isdir(path) else os.remove(path)
    except OSError:
        pass
