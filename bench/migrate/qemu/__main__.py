# SPDX-License-Identifier: GPL-2.0
"""python3 DIR COMMAND

In the VM, in the host's root:
  bench --modes LIST --workloads LIST --vcpus LIST --runs N
                  migrate a guest in each mode
  check --modes LIST
                  test all that QEMU does with dirty pages, in each mode
Anywhere:
  tap --modes LIST
                  print the results of 'check' as TAP

--lines FILE    a line of JSON for each measurement or test; those that are there
                already are not repeated
--repeats N     how often to repeat what the emulated CPU broke
"""
import argparse
import json
import os
import sys

import bench
import check
from machine import EmulatorFault, Failure, Hung


class Lines:
    """The file of JSON lines."""

    def __init__(self, path):
        self.path = path
        self.items = []
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                self.items = [json.loads(line) for line in f]

    def add(self, **item):
        self.items.append(item)
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(item) + "\n")

    def find(self, **match):
        return [i for i in self.items
                if all(i.get(k) == v for k, v in match.items())]


def attempt(what, repeats, function, *args):
    """Call FUNCTION, again if the emulator broke the guest; also returns how often."""
    for faults in range(repeats + 1):
        try:
            return function(*args), faults
        except EmulatorFault as e:
            if faults == repeats:
                raise Failure(f"{e}, {repeats + 1} times") from None
            print(f"{what}: the emulator broke the guest ({e}), once more", flush=True)
    raise AssertionError


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("bench", "check", "tap"))
    parser.add_argument("--lines", required=True)
    parser.add_argument("--modes", required=True)
    parser.add_argument("--workloads", default="uniform,skewed")
    parser.add_argument("--vcpus", default="1,2,4")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=0)
    options = parser.parse_args()
    for name in ("modes", "workloads", "vcpus"):
        setattr(options, name, getattr(options, name).split(","))
    options.attempt = attempt

    command = {"bench": bench.run, "check": check.run, "tap": check.tap}[options.command]
    try:
        sys.exit(not command(Lines(options.lines), options))
    except Hung as e:
        print(e, flush=True)
        # scripts/migrate-qemu goes on in another VM
        sys.exit(77)


if __name__ == "__main__":
    main()
