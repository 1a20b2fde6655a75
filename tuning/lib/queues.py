"""Spreads the work of a network card over the cores on which the shards run."""

import os
import re

import command
import knobs
import undo

TEXT = """Gives each queue of a network card its interrupt on a core of its own (IRQ affinity, RSS),
sends from the queue of the same core (XPS), and, only where there are fewer queues than cores,
lets the other cores do the work of a packet too (RPS, RFS). Without --yes it only prints what
it would do; tuning/undo, or --undo, gives back what was. It does not outlast a boot, and a
running irqbalance changes it again.

exit codes: 0 done, or nothing to be done; 1 something was refused; 2 wrong usage"""

# Packets of so many flows are steered to the core that last read from them (RFS).
FLOWS = 32768
FLOWS_PATH = "proc/sys/net/core/rps_sock_flow_entries"
# Interrupts of a card that are not those of a queue.
OTHER = re.compile(r"config|control|ctrl|async|event|mgmt|admin|cmd|misc|fw|health|pages|mbx|lsc")


def parse_cores(text):
    """0-3,8 as numbers, in order."""
    cores = []
    for part in text.strip().split(","):
        found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part, re.ASCII)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise ValueError(f"write cores as 0-3,8, not {text!r}")
        cores.extend(range(int(found[1]), int(found[2] or found[1]) + 1))
    return sorted(set(cores))


def mask(cores):
    """The kernel's way: hexadecimal words of 32 cores, the highest first."""
    value = sum(1 << core for core in cores)
    words = []
    while value or not words:
        words.append(f"{value & 0xFFFFFFFF:08x}")
        value >>= 32
    words[-1] = words[-1].lstrip("0") or "0"
    return ",".join(reversed(words))


def same(path, now, target):
    """Whether two ways to write a value mean the same."""
    if path.endswith("cpus"):
        plain = [re.sub(r"[,\s]", "", text).lstrip("0") for text in (now, target)]
        return plain[0] == plain[1]
    return now.strip() == target


class Device:
    """A network card and its queues."""

    def __init__(self, host, name):
        self.host, self.name = host, name
        self.folder = f"sys/class/net/{name}"
        self.receive = self.queues("rx")
        self.send = self.queues("tx")

    def queues(self, kind):
        try:
            names = os.listdir(self.host.path(f"{self.folder}/queues"))
        except OSError:
            return []
        return sorted(int(name[3:]) for name in names if re.fullmatch(kind + "-[0-9]{1,5}", name, re.ASCII))

    def interrupts(self):
        """The interrupts of its queues, as pairs of queue and number."""
        names = {}
        for line in (self.host.read("proc/interrupts") or "").splitlines():
            fields = line.split()
            if len(fields) > 1 and re.fullmatch("[0-9]{1,6}:", fields[0], re.ASCII):
                names[int(fields[0][:-1])] = fields[-1]
        numbers = []
        device = os.path.realpath(self.host.path(f"{self.folder}/device"))
        # That of a virtio card belongs to the PCI device above it.
        for folder in (device, os.path.dirname(device)):
            if os.path.isdir(f"{folder}/msi_irqs"):
                numbers = sorted(int(n) for n in os.listdir(f"{folder}/msi_irqs") if n.isascii() and n.isdigit())
                break
        found = []
        for number in numbers:
            name = names.get(number)
            if name is None or OTHER.search(name.split("@")[0]):
                continue
            digits = re.findall("[0-9]+", name.split("@")[0])
            # virtio2-input.0, eth0-TxRx-3, mlx5_comp7@pci:...: the last number is the queue.
            found.append((int(digits[-1]) if digits else len(found), number))
        return found


def changes(device, cores):
    """What a device needs: the path and the value of each setting, and remarks."""
    wanted, remarks = [], []
    count = len(cores)
    for queue, number in device.interrupts():
        wanted.append((f"proc/irq/{number}/smp_affinity_list", str(cores[queue % count])))
    queues = len(device.receive)
    spread = 0 < queues < count
    if spread:
        remarks.append(
            f"{device.name}: {queues} receive queues for {count} cores; "
            f"where the card has more, better: ethtool -L {device.name} combined {count}"
        )
        wanted.append((FLOWS_PATH, str(FLOWS)))
    for index, queue in enumerate(device.receive):
        folder = f"{device.folder}/queues/rx-{queue}"
        shared = [core for at, core in enumerate(cores) if at % queues == index]
        wanted.append((f"{folder}/rps_cpus", mask(shared) if spread else "0"))
        wanted.append((f"{folder}/rps_flow_cnt", str(FLOWS // queues) if spread else "0"))
    for index, queue in enumerate(device.send):
        if len(device.send) > 1:
            shared = [core for at, core in enumerate(cores) if at % len(device.send) == index]
            wanted.append((f"{device.folder}/queues/tx-{queue}/xps_cpus", mask(shared)))
    return wanted, remarks


def names_of(host):
    """The cards that are there and up; loopback, bridges and the like have no device."""
    folder = host.path("sys/class/net")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    up = [name for name in names if (host.read(f"sys/class/net/{name}/operstate") or "").strip() != "down"]
    return [name for name in up if host.exists(f"sys/class/net/{name}/device")]


def change(host, kept, path, target, write):
    """One setting: what happened, and whether it was refused."""
    now = host.read(path)
    if now is None:
        return "is not here", False
    if same(path, now, target):
        return f"{now.strip()}: right", False
    if write:
        try:
            kept.write_knob(path, path, target, "queues")
        except OSError as error:
            return f"{now.strip()} → {target} refused: {command.reason(error)}", True
    return f"{now.strip()} → {target}", False


def spread(host, names, cores, write):
    """Spreads all of them; returns the exit code."""
    kept = command.state_of(host)
    refused = 0
    seen = set()
    for name in names:
        wanted, remarks = changes(Device(host, name), cores)
        for remark in remarks:
            print(remark)
        for path, target in wanted:
            if path not in seen:
                said, bad = change(host, kept, path, target, write)
                print(f"/{path:<52} {said}", flush=True)
                refused += bad
                seen.add(path)
    if not names:
        print("no network card is up here, so there is nothing to spread")
    if host.exists("run/irqbalance"):
        print("irqbalance runs: stop it (systemctl disable --now irqbalance), or it changes this again")
    if not write:
        print("nothing was written: this was a dry run; --yes writes")
    return 1 if refused else 0


def main():
    parser = command.parser("queues", TEXT, "root")
    parser.add_argument("--device", action="append", metavar="NAME", help="a card [all that are up]")
    parser.add_argument("--cores", metavar="LIST", help="the cores of the shards, such as 0-3,8 [all]")
    parser.add_argument("--undo", action="store_true", help="give back what was, as tuning/undo --only queues")
    parser.add_argument("--yes", action="store_true", help="write, instead of only printing")
    chosen = parser.parse_args()
    host = knobs.Host(chosen.root_)
    if chosen.undo:
        return undo.Undo(host, "queues", chosen.yes).run()
    online = chosen.cores or host.read("sys/devices/system/cpu/online") or "0"
    cores = command.meant(parser, parse_cores, online)
    for name in chosen.device or []:
        if "/" in name or not host.exists(f"sys/class/net/{name}"):
            parser.error(f"there is no card {name!r}")
    try:
        return spread(host, chosen.device or names_of(host), cores, chosen.yes)
    except OSError as error:
        raise SystemExit(f"tuning: {error.filename}: {command.reason(error)}; nothing more was changed") from error


command.run(main)
