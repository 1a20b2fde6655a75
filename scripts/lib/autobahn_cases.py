"""Chooses the Autobahn cases to run and writes one specification for each group of them.

Runs on Python 2.7, inside the suite's own environment.
Arguments: the folder of the reports, the URL, 1 for the compression cases too, globs or ''.
Prints the names of the groups. Groups run side by side, so the slow section 9 is one of its own.
"""

import fnmatch
import json
import os
import sys

from autobahntestsuite.case import Cases


def identifier(case):
    """Case9_1_2 is 9.1.2."""
    return case.__name__[len("Case"):].replace("_", ".")


def wanted(case_id, full, globs):
    if globs:
        return any(fnmatch.fnmatchcase(case_id, glob) for glob in globs)
    return full or case_id.split(".")[0] not in ("12", "13")


def group_of(case_id):
    section = case_id.split(".")[0]
    return {"9": "large", "12": "compressed", "13": "compressed"}.get(section, "small")


def main():
    reports, url, full, globs = sys.argv[1], sys.argv[2], sys.argv[3] == "1", sys.argv[4].split()
    selected = [i for i in map(identifier, Cases) if wanted(i, full, globs)]
    if not selected:
        sys.exit("conformance: no case is named so")
    groups = {}
    for case_id in selected:
        groups.setdefault(group_of(case_id), []).append(case_id)
    for name, cases in groups.items():
        specification = {
            "outdir": os.path.join(reports, name),
            "servers": [{"agent": "tidegate", "url": url}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        with open(os.path.join(reports, name + ".json"), "w") as target:
            json.dump(specification, target)
        print(name)
    with open(os.path.join(reports, "selected.json"), "w") as target:
        json.dump(selected, target)


main()
