"""The tables of scripts/compare in Markdown, and what they say: who is cheaper, and where."""

import os
import statistics
import time

import measure
from compare_cells import CELLS, GROUPS
from compare_peers import OURS, PEERS

NAMES = {peer.key: peer.name for peer in PEERS}
# A machine that does more than this beside is loud.
LOUD_FROM = 0.5
BEGIN, END = "<!-- scripts/compare begins -->", "<!-- scripts/compare ends -->"


def tables(taken):
    """For each group its columns, and for each peer and column the figures of all rounds."""
    found = []
    for group, (title, unit) in GROUPS.items():
        columns = [column(cell, taken["runs"]) for cell in CELLS if cell.group == group]
        columns = [one for one in columns if one["rows"]]
        if columns:
            found.append({"group": group, "title": title, "unit": unit, "columns": columns})
    return found


def column(cell, runs):
    mine = [run for run in runs if run["cell"] == cell.name]
    ours = {run["round"]: run["figure"] for run in mine if run["peer"] == OURS.key and run.get("figure", 0) > 0}
    rows = {}
    for key in dict.fromkeys(run["peer"] for run in mine):
        good = [run for run in mine if run["peer"] == key and run.get("figure", 0) > 0]
        rows[key] = {
            "ours": key == OURS.key,
            "figures": [run["figure"] for run in good],
            "ratios": [run["figure"] / ours[run["round"]] for run in good if run["round"] in ours],
            "reply_bytes": [run["reply_bytes"] for run in good if "reply_bytes" in run],
        }
    ordered = {key: rows[key] for key in NAMES if key in rows}
    return {"name": cell.name, "heading": cell.heading, "rows": ordered}


def number(value):
    """Three digits, for figures from 0.1 to 100,000."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def entry(row):
    if row is None:
        return ""
    figures = row["figures"]
    if not figures:
        return "failed"
    text = f"{number(statistics.median(figures))} ({number(min(figures))}–{number(max(figures))})"
    if row["reply_bytes"]:
        text += f", {statistics.median(row['reply_bytes']):.0f} B"
    if row["ratios"] and not row["ours"]:
        text += f" **{number(statistics.median(row['ratios']))}**"
    return text


def lines_of(table):
    keys = [key for key in NAMES if any(key in column["rows"] for column in table["columns"])]
    yield f"| {table['title'].lower()} | {' | '.join(column['heading'] for column in table['columns'])} |"
    yield "|---" * (len(table["columns"]) + 1) + "|"
    for key in keys:
        entries = [entry(column["rows"].get(key)) for column in table["columns"]]
        yield f"| {NAMES[key]} | {' | '.join(entries)} |"


def losses(found):
    """Where another was cheaper than ours, in every round or by the median only."""
    surely, perhaps = [], []
    for table in found:
        for column in table["columns"]:
            for key, row in column["rows"].items():
                ratios = row["ratios"]
                # The bare loop is no server; its ratios stand in the table.
                if key in (OURS.key, "bare") or not ratios or statistics.median(ratios) >= 1:
                    continue
                where = f"{NAMES[key]}, {table['title'].lower()}, {column['heading']}: {measure.spread(ratios, 2)}"
                (surely if max(ratios) < 1 else perhaps).append(where)
    return surely, perhaps


def markdown(taken, found, pictures, base):
    """The whole section; `pictures` are the files of the charts by group, named as seen from `base`."""
    lines = [BEGIN, ""]
    for table in found:
        lines += [f"### {table['title']}", "", f"In {table['unit']}.", "", *lines_of(table), ""]
        if table["group"] in pictures:
            lines += [f"![{table['title']}]({os.path.relpath(pictures[table['group']], base)})", ""]
    surely, perhaps = losses(found)
    lines += ["### Where we lose", ""]
    if surely:
        lines += ["Cheaper than ours in every round; the figure is theirs as a ratio to ours:", ""]
        lines += [f"- {where}" for where in surely] + [""]
    else:
        lines += ["No other was cheaper than ours in every round of a cell.", ""]
    if perhaps:
        lines += ["Cheaper by the median, but not in every round, so that no difference can be told:", ""]
        lines += [f"- {where}" for where in perhaps] + [""]
    failures = {(run["cell"], run["peer"]) for run in taken["runs"] if "failed" in run}
    if failures:
        lines += ["Failed: " + ", ".join(sorted(f"{NAMES[peer]} in {cell}" for cell, peer in failures)) + ".", ""]
    return "\n".join([*lines, *about(taken), "", END])


def about(taken):
    """What was run, where and when."""
    day = time.strftime("%Y-%m-%d", time.gmtime(taken["started"]))
    host = next((run["host"] for run in taken["runs"] if run.get("host")), None)
    machine = f"{processor()}, {os.cpu_count()} cores" + (f", Linux {host['kernel']}" if host else "")
    versions = [f"{NAMES[key]} {version}" for key, version in taken["versions"].items() if version]
    load = taken["load_before"]
    loud = " (loud: others were at work, and no figure here is better than a rough one)" if load > LOUD_FROM else ""
    yield (
        f"`{taken['command']}` on {day}, {taken['seconds'] / 60:.0f} minutes; load of the machine before: "
        f"{load:.1f}{loud}; {machine}."
    )
    yield ""
    yield (
        f"Median (least–most) of {taken['rounds']} rounds of {taken['duration']:g} s, in **bold** the median ratio "
        "to ours, formed within each round: above 1 it costs more than ours."
    )
    yield ""
    yield f"Versions: {'; '.join(versions)}."


def processor():
    """What the processor calls itself."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else os.uname().machine


def put_into(path, text):
    """Replaces what stands between the marks in a page."""
    with open(path, encoding="utf-8") as page:
        old = page.read()
    before, begin, rest = old.partition(BEGIN)
    if not begin or END not in rest:
        raise SystemExit(f"{path} has no place marked {BEGIN}")
    with open(path, "w", encoding="utf-8") as page:
        page.write(before + text + rest.partition(END)[2])
