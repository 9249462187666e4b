# SPDX-License-Identifier: GPL-2.0
"""Files of figures, and what all of them say about their run."""
import json


def lines(path):
    """Each line's object.  A line cut short by a dying VM is an error."""
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            try:
                yield json.loads(line)
            except ValueError as e:
                raise SystemExit(f"{path}:{number}: no JSON: {e}")


def cells(path):
    """The line that describes the machine, and the measurements."""
    env, found = {}, []
    for item in lines(path):
        if item.get("type") == "env":
            env = item
        elif item.get("type") == "cell":
            found.append(item)
    return env, found


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def write(path, data, indent=None):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(data, f, indent=indent)
        f.write("\n")


def meta(pairs):
    """From the command line: KEY=VALUE..."""
    return dict(p.split("=", 1) for p in pairs)


def emulated(data):
    return "TCG" in data["meta"].get("accelerator", "")


def busy(data):
    """The share of the host's CPU time, in percent, that other work took, if it was
    high."""
    others = int(data["meta"].get("others", 0))
    return others if others >= 10 else None


def exit_code(data):
    """Of a run that failed, else None."""
    code = data["meta"].get("exit", "0")
    return code if code != "0" else None
