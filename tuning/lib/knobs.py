"""The knobs of knobs.json, computed for a host: what is, and what is wanted."""

import json
import os
import re

KNOBS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "knobs.json")
GROUPS = ("server", "clients", "namespaces")
COUNT_MAX = 100_000_000
# No file of /proc or /sys that is read here is larger.
TEXT_MAX = 1 << 20
NUMBER_MAX = (1 << 64) - 1


def parse_count(text):
    """100k, 1m, 5m or 1000000, as a number."""
    found = re.fullmatch(r"([0-9]{1,12})([kKmM]?)", text, re.ASCII)
    count = 0
    if found:
        count = int(found[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[found[2].lower()]
    if not 1 <= count <= COUNT_MAX:
        raise ValueError(f"write a number of connections such as 100k, 1m or 1000000, at most {COUNT_MAX}")
    return count


class Host:
    """The files of a host, under `root`. Only `write` changes anything."""

    def __init__(self, root="/"):
        self.root = root

    def path(self, path):
        return os.path.join(self.root, path.lstrip("/"))

    def exists(self, path):
        return os.path.exists(self.path(path))

    def read(self, path):
        """The text, or None."""
        try:
            with open(self.path(path), "rb") as file:
                return file.read(TEXT_MAX).decode("utf-8", "replace")
        except OSError:
            return None

    def write(self, path, text):
        """Writes to a file that is there, as the kernel's are."""
        # Without O_CREAT: a knob that this kernel lacks must not become a file. One write: the
        # kernel takes each as a value of its own.
        flags = os.O_WRONLY if self.path(path).startswith(("/proc/", "/sys/")) else os.O_WRONLY | os.O_TRUNC
        descriptor = os.open(self.path(path), flags)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def memory(self):
        """Bytes of RAM, or None."""
        found = re.search(r"^MemTotal:\s*([0-9]{1,15}) kB", self.read("proc/meminfo") or "", re.M | re.A)
        return int(found[1]) * 1024 if found else None

    def page_size(self):
        found = re.search(r"^KernelPageSize:\s*([0-9]{1,6}) kB", self.read("proc/self/smaps") or "", re.M | re.A)
        return (int(found[1]) if found else 4) * 1024 or 4096

    def limit_of_files(self):
        """The hard limit of this process; NUMBER_MAX where there is none; or None."""
        found = re.search(r"^Max open files\s+\S+\s+(\S+)", self.read("proc/self/limits") or "", re.M | re.A)
        if not found:
            return None
        return NUMBER_MAX if found[1] == "unlimited" else number(found[1])


def number(text):
    """A whole number of 64 bits without a sign, or None."""
    if re.fullmatch(r"[0-9]{1,20}", text, re.ASCII) and int(text) <= NUMBER_MAX:
        return int(text)
    return None


def compute(field, connections, memory, page_size):
    """What a field should be; None if that cannot be known."""
    value = field.get("base", 0) - (-field.get("per_thousand", 0) * connections // 1000)
    if "share" in field or "memory_part" in field:
        if memory is None:
            return None
    if "share" in field:
        value = memory // field["share"] // connections
    if field.get("power_of_two"):
        value = 1 << (value - 1).bit_length() if value > 1 else 1
    if "rounded_up" in field:
        value = -(-value // field["rounded_up"]) * field["rounded_up"]
    if "memory_part" in field:
        value = min(value, memory // field["memory_part"] // (field["unit"] or page_size))
    value = max(value, field.get("floor", 0))
    return min(value, field.get("ceiling", NUMBER_MAX))


class Knob:
    """One knob on one host, for a number of connections."""

    # state: ok, off (to be changed), absent (this kernel has none), unknown (cannot be read).
    def __init__(self, entry, host, connections):
        self.name, self.kind, self.group = entry["name"], entry["kind"], entry["group"]
        self.why, self.symptom = entry["why"], entry["symptom"]
        self.host = host
        self.path = entry.get("path") or "proc/sys/" + self.name.replace(".", "/")
        if self.kind == "choice":
            self.read_choice(entry)
        else:
            self.read_fields(entry["fields"], connections)

    def read_choice(self, entry):
        text = self.host.read(self.path)
        chosen = re.search(r"\[([a-z+_-]+)\]", text or "", re.ASCII)
        self.now = chosen[1] if chosen else None
        self.wanted = entry["good"]
        if chosen:
            self.state = "off" if self.now in entry["bad"] else "ok"
        else:
            self.state = "absent" if not self.host.exists(self.path) else "unknown"
        self.target = entry["good"] if self.state == "off" else self.now

    def read_fields(self, fields, connections):
        memory, page_size = self.host.memory(), self.host.page_size()
        computed = [compute(field, connections, memory, page_size) for field in fields]
        now = self.read_now()
        self.now = " ".join(str(value) for value in now) if now else None
        known = now is not None and len(now) == len(fields)
        target = []
        shown = []
        for index, (field, value) in enumerate(zip(fields, computed)):
            is_now = now[index] if known else None
            if field["rule"] == "keep":
                target.append(is_now)
                shown.append("-")
                continue
            if value is None:
                known = False
                continue
            if field["rule"] == "at_most" and index and is_now is not None:
                # A maximum below the default beside it would be refused or without sense.
                value = max(value, now[index - 1])
            shown.append(str(value))
            if is_now is not None:
                target.append(max(is_now, value) if field["rule"] == "at_least" else min(is_now, value))
        self.wanted = " ".join(shown) if len(shown) == len(fields) else None
        self.target = " ".join(str(value) for value in target) if known else None
        if now is None and not self.host.exists(self.path) and self.kind != "limit":
            self.state = "absent"
        elif not known:
            self.state = "unknown"
        else:
            self.state = "ok" if target == now else "off"

    def read_now(self):
        if self.kind == "limit":
            limit = self.host.limit_of_files()
            return None if limit is None else [limit]
        words = (self.host.read(self.path) or "").split()
        if self.kind == "boot":
            # A negative number: this namespace shares the table of the host.
            words = [word.removeprefix("-") for word in words]
        values = [number(word) for word in words]
        return values if values and None not in values else None

    def now_exactly(self):
        """What must be written to have today's value again."""
        return self.now if self.kind == "choice" else (self.host.read(self.path) or "").rstrip("\n")


def profile(host, connections, groups):
    """All knobs of the groups, in the order in which they are changed."""
    with open(KNOBS, encoding="utf-8") as file:
        entries = json.load(file)["knobs"]
    return [Knob(entry, host, connections) for entry in entries if entry["group"] in groups]


def parse_groups(text):
    """`clients,namespaces` as names of groups; the server's is always there."""
    groups = {"server", *filter(None, text.split(","))}
    for group in groups:
        if group not in GROUPS:
            raise ValueError(f"{group!r} is none of {', '.join(GROUPS[1:])}")
    return groups
