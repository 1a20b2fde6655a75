"""Reads the reports of an Autobahn run and prints one line; fails unless every case passed.

Arguments: the folder of the reports, the seconds that the run took.
"""

import collections
import glob
import json
import os
import sys

GOOD = ("OK", "INFORMATIONAL")

SECTIONS = {
    1: "1 framing", 2: "2 pings and pongs", 3: "3 reserved bits", 4: "4 opcodes", 5: "5 fragmentation",
    6: "6 UTF-8", 7: "7 closes", 8: "8", 9: "9 limits", 10: "10 fragmentation by the suite", 11: "11",
    12: "12 compression, by content", 13: "13 compression, by parameters",
}

PAGE = """<!doctype html><meta charset="utf-8"><title>Autobahn TestSuite</title>
<style>body{{font:16px sans-serif;margin:2em}}td,th{{padding:.2em 1em;text-align:right}}
td:first-child{{text-align:left}}</style>
<h1>Autobahn TestSuite: {count} cases in {seconds} s</h1>
<table><tr><th>section<th>cases<th>passed<th>informational<th>other</tr>{rows}</table>
<h2>What did not pass</h2><ul>{others}</ul>
"""

# More than that is no longer read by people.
NAMED_MAX = 20


def section(case_id):
    return [int(part) for part in case_id.split(".")]


def write_page(reports, selected, results, faults, seconds):
    """One page for people: each section, and whatever did not pass."""
    sections = collections.defaultdict(collections.Counter)
    for case_id in selected:
        behavior = results.get(case_id, {}).get("behavior", "MISSING")
        sections[section(case_id)[0]][behavior] += 1
    rows = "".join(
        f"<tr><td>{SECTIONS[number]}</td><td>{sum(counts.values())}</td><td>{counts['OK']}</td>"
        f"<td>{counts['INFORMATIONAL']}</td>"
        f"<td>{sum(counts.values()) - counts['OK'] - counts['INFORMATIONAL']}</td></tr>"
        for number, counts in sorted(sections.items())
    )
    others = "".join(f"<li>{case_id}: {fault}</li>" for case_id, fault in faults.items())
    with open(os.path.join(reports, "report.html"), "w") as target:
        target.write(PAGE.format(count=len(selected), seconds=seconds, rows=rows, others=others or "<li>none</li>"))


def main():
    reports, seconds = sys.argv[1], sys.argv[2]
    with open(os.path.join(reports, "selected.json")) as source:
        selected = json.load(source)
    results = {}
    for path in glob.glob(os.path.join(reports, "*", "index.json")):
        with open(path) as source:
            for cases in json.load(source).values():
                results.update(cases)

    behaviors = collections.Counter(result["behavior"] for result in results.values())
    faults = {}
    for case_id in sorted(selected, key=section):
        result = results.get(case_id)
        if result is None:
            faults[case_id] = "MISSING"
        elif result["behavior"] not in GOOD:
            faults[case_id] = result["behavior"]
        elif result["behaviorClose"] not in GOOD:
            faults[case_id] = "CLOSE " + result["behaviorClose"]

    # What a rerun is asked for.
    with open(os.path.join(reports, "failed"), "w") as target:
        target.write(" ".join(faults))
    with open(os.path.join(reports, "summary.json"), "w") as target:
        json.dump({"selected": len(selected), "behaviors": behaviors, "faults": faults}, target, indent=1)
    write_page(reports, selected, results, faults, seconds)
    named = " ".join(f"{case_id}:{fault}" for case_id, fault in list(faults.items())[:NAMED_MAX])
    if len(faults) > NAMED_MAX:
        named += f" and {len(faults) - NAMED_MAX} more, in {reports}/summary.json"
    print(
        f"conformance: {len(selected)} cases: {behaviors['OK']} passed, "
        f"{behaviors['INFORMATIONAL']} informational, {len(faults)} failed in {seconds} s"
        + (f": {named}" if faults else "")
    )
    sys.exit(1 if faults else 0)


main()
