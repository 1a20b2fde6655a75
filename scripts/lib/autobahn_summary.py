"""Reads the reports of an Autobahn run and prints one line; fails unless every case passed.

Arguments: the folder of the reports, the seconds that the run took.
"""

import collections
import glob
import json
import os
import sys

GOOD = ("OK", "INFORMATIONAL")

# More than that is no longer read by people.
NAMED_MAX = 20


def section(case_id):
    return [int(part) for part in case_id.split(".")]


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

    with open(os.path.join(reports, "summary.json"), "w") as target:
        json.dump({"selected": len(selected), "behaviors": behaviors, "faults": faults}, target, indent=1)
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
