"""What the scripts have in common: their command line, and how they report."""

import argparse
import json
import signal
import sys

import state

OPTIONS = {
    "for": {"metavar": "COUNT", "default": "1m", "help": "connections: 100k, 1m, 5m [%(default)s]"},
    "with": {
        "metavar": "GROUPS", "default": "",
        "help": "also the knobs of clients (ports to dial from) or namespaces (their tables), or both: clients,namespaces",
    },
    "root": {"metavar": "DIR", "default": "/", "help": "another tree than / to read and write, for trials"},
}


def parser(name, text, *options):
    """A command line with some of the options that several scripts have."""
    made = argparse.ArgumentParser(
        prog=f"tuning/{name}", description=text, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in options:
        made.add_argument(f"--{option}", dest=f"{option}_", **OPTIONS[option])
    return made


def meant(parser_, call, text):
    """The value of an option, or the end with the exit code of wrong usage."""
    try:
        return call(text)
    except ValueError as error:
        parser_.error(str(error))


def state_of(host):
    """The state that earlier runs have left."""
    try:
        return state.State(host)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"tuning: {host.path(state.PATH)} cannot be read ({error!r}); nothing was changed") from error


def reason(error):
    return error.strerror or str(error)


def run(main):
    """Runs a script: a closed pipe ends it quietly, an interrupt between two steps."""
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


def print_json(value):
    print(json.dumps(value, indent=1))
