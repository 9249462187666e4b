# SPDX-License-Identifier: GPL-2.0
"""The tests, as TAP: a guest goes through all that QEMU can do with dirty pages, in
each mode.  No test depends on speed."""
import time

import machine
import migrate
from machine import Failure, Guest, Machine, Qmp

# Small, but enough to fill rings
VCPUS = 2
MEMORY = 32
HOT = 3072
RATE = 50

# The vCPU that is unplugged; stamps per second at which no ring fills within a
# second; bytes per second at which no migration ends
LAST = VCPUS - 1
CALM = 500
SLOW = 64 << 10

# The guest's program, an invalid instruction (ud2), and a jump to an address
# without memory: mov $0x40000000, %eax; jmp *%eax
PROGRAM = 0x100000
INVALID = b"\x0f\x0b"
NOP = b"\x90"
NOWHERE = b"\xb8\x00\x00\x00\x40\xff\xe0"


def dirty_rate(source, mode):
    """calc-dirty-rate, which reads the rings, too."""
    source.qmp("calc-dirty-rate", **{
        "calc-time": 1, "mode": "dirty-bitmap" if mode == "bitmap" else "dirty-ring"})
    source.wait("the dirty rate is measured",
                lambda: source.qmp("query-dirty-rate")["status"] == "measured")
    found = source.qmp("query-dirty-rate")
    source.goes_on()
    if found["dirty-rate"] <= 0:
        raise Failure(f"the guest dirties pages all the time, but QEMU measured {found}")
    each = [v["dirty-rate"] for v in found.get("vcpu-dirty-rate", [])]
    if mode != "bitmap" and len(each) != VCPUS:
        raise Failure(f"a vCPU is missing: {found}")
    return f"{found['dirty-rate']} MB/s" + (f", vCPUs {each}" if each else "")


def dirty_limit(source):
    """set-vcpu-dirty-limit: vCPUs sleep at exits for a full ring, each drains only its
    own ring, and nothing else drains any."""
    before = source.rate(0.5)
    source.qmp("set-vcpu-dirty-limit", **{"dirty-rate": 1})
    try:
        # It measures for a second, and adjusts once a second
        during = [source.rate(1) for _ in range(3)]
        limits = source.qmp("query-vcpu-dirty-limit")
        source.goes_on()
    finally:
        source.qmp("cancel-vcpu-dirty-limit")
    source.goes_on()
    after = source.rate(0.5)
    if len(limits) != VCPUS or any(v["limit-rate"] != 1 for v in limits):
        raise Failure(f"the limits are {limits}")
    return (f"{before:.0f} stamps/s, limited {', '.join(f'{d:.0f}' for d in during)}, "
            f"then {after:.0f}; measured {[v['current-rate'] for v in limits]} MB/s")


def cancel(source, meddle=None):
    """Cancel a migration halfway; the guest continues at the source."""
    target = migrate.receiver(source)
    try:
        # Too slow to be complete by then
        migrate.begin(source, target, bandwidth=1 << 20)
        source.wait("the migration begins", lambda: migrate.status(source, "active"))
        time.sleep(0.5)
        if meddle:
            meddle()
        source.qmp("migrate_cancel")
        source.wait("the migration is cancelled", lambda: migrate.status(source, "cancelled"))
        source.expect_stop = False
        source.goes_on()
    finally:
        target.end()
    return ""


def judge(cell, bad):
    if cell["unequal"]:
        raise Failure(f"{len(cell['unequal'])} pages differ, the first: "
                      f"{cell['unequal'][:8]}")
    if bad:
        # Both sides' memory is equal, so these pages differ from the guest's table at
        # the source, too: that is not for lack of a dirty page.
        raise machine.EmulatorFault(f"the guest finds {bad} pages wrong, all of which were "
                                    f"sent")
    if cell["pool"]["overflows"]:
        raise Failure(f"{cell['pool']['overflows']} marks lost to OVERFLOW")
    return (f"{cell['total_ms']} ms, down {cell['downtime_ms']} ms, {cell['pages']} pages, "
            f"{cell['syncs']} syncs, {cell['full_exits']} ring-full exits, "
            f"{cell['pool']['pushed']} through the pool")


class Journey:
    """A guest that moves through several QEMUs."""

    def __init__(self, mode):
        self.mode = mode
        migrate.set_mode(mode)
        self.machine = None
        self.others = []

    def boot(self):
        self.machine = Machine(Guest(VCPUS, "skewed", HOT, RATE, MEMORY),
                               migrate.ring_of(self.mode))
        self.machine.start()
        return f"{self.machine.rate(0.5):.0f} stamps/s"

    def move(self, cpus=VCPUS, meddle=None):
        target = migrate.receiver(self.machine, cpus)
        self.others.append(target)
        cell = migrate.migrate(self.machine, target, meddle)
        self.others.remove(target)
        self.machine.end()
        self.machine = target
        pushed = cell["pool"]["pushed"]
        if bool(pushed) != (self.mode not in migrate.BASELINES):
            raise Failure(f"{pushed} pages went through the pool")
        return judge(cell, migrate.resume(target))

    def unplug(self):
        """Unplug a vCPU during a migration, with pages in its ring that QEMU has not
        harvested and that are not written again."""
        source = self.machine

        def meddle():
            # The other ring must have room for them: QEMU cannot recover from an
            # OVERFLOW.  It drains the rings once a second.
            migrate.limit(source, bandwidth=SLOW, downtime=1)
            with source.calm(CALM):
                time.sleep(1.5)
                source.unplug(LAST)

        return self.move(VCPUS - 1, meddle)

    def replug(self):
        """Unplug a vCPU and plug it again: KVM still has it, and QEMU harvests its ring
        from the first entry on."""
        self.machine.plug(LAST)

        def meddle():
            with self.machine.calm(CALM):
                time.sleep(1.5)
                self.machine.unplug(LAST)

        cancel(self.machine, meddle)
        self.machine.plug(LAST)
        return self.move()

    def end(self):
        for m in [self.machine] + self.others:
            if m:
                m.end()


def names(mode):
    """The tests of a mode, in their order."""
    # With per-vCPU rings, QEMU itself loses what it has not harvested from the ring
    # of an unplugged vCPU, and does not know where KVM continues when it maps the
    # ring again.
    without = {"bitmap": ["vcpu_dirty_limit"], "per-vcpu": ["unplug", "plug again"]}
    return [n for n in ("boot", "dirty_rate", "vcpu_dirty_limit", "cancel", "migrate",
                        "migrate back", "unplug", "plug again")
            if n not in without.get(mode, [])]


def journey(mode):
    """[(test, why it failed or None, note)], up to the first failure."""
    way = Journey(mode)
    steps = {"boot": way.boot, "migrate": way.move, "migrate back": way.move,
             "dirty_rate": lambda: dirty_rate(way.machine, mode),
             "vcpu_dirty_limit": lambda: dirty_limit(way.machine),
             "cancel": lambda: cancel(way.machine),
             "unplug": way.unplug, "plug again": way.replug}
    done = []
    try:
        for name in names(mode):
            try:
                done.append((name, None, steps[name]()))
                print(f"{mode}: {name}", flush=True)
            except (Failure, Qmp) as e:
                done.append((name, str(e), ""))
                break
        return done
    finally:
        way.end()


def loss_is_found(_options):
    """Would these tests notice a lost page?  Write one behind KVM's back at the source,
    make another one stale at the destination."""
    migrate.set_mode("per-vcpu")
    machines = []
    try:
        source = Machine(Guest(VCPUS, "uniform", HOT, RATE, MEMORY), migrate.RING)
        machines.append(source)
        source.start()
        target = migrate.receiver(source)
        machines.append(target)
        lost = machine.UNUSED

        def behind_the_back():
            source.memory[lost * machine.PAGE] ^= 0xff

        cell = migrate.migrate(source, target, behind_the_back)
        if cell["unequal"] != [lost]:
            raise Failure(f"page {lost} was changed, {cell['unequal']} differ")
        vcpu = target.vcpus()[0]
        stale = vcpu.first + vcpu.pages - 1
        target.memory[stale * machine.PAGE + 8] ^= 0xff
        bad = migrate.resume(target)
        if bad != 1:
            raise Failure(f"the guest finds {bad} pages wrong, not 1")
        return [("found", None, "by the comparison and by the guest")]
    finally:
        for m in machines:
            m.end()


def shutdown_is_noticed(options):
    """A guest that the emulator broke is repeated as often as allowed, then counts as a
    failure.  Overwrite our program: the guest has no handler for an invalid
    instruction, so it ends in a triple fault."""
    migrate.set_mode("bitmap")
    made, noticed = [], []

    def shut_down():
        source = Machine(Guest(VCPUS, "uniform", HOT, RATE, MEMORY))
        made.append(source)
        try:
            source.start()
            source.memory[PROGRAM:PROGRAM + machine.PAGE] = INVALID * (machine.PAGE // 2)
            source.wait("the guest shuts down", lambda: False)
        except machine.EmulatorFault as e:
            noticed.append("the guest shut down (guest-reset)" in str(e))
            raise
        finally:
            source.end()

    try:
        options.attempt("this guest shuts down on purpose", options.repeats, shut_down)
    except Failure as e:
        # The emulator may have broken any of them before that
        if not any(noticed) or len(made) != options.repeats + 1:
            raise
        return [("noticed", None, str(e))]
    raise AssertionError


def stop_is_noticed(_options):
    """KVM stops a guest during a migration: the guest jumps to an address without
    memory, which KVM does not emulate."""
    migrate.set_mode("bitmap")
    machines = []
    try:
        source = Machine(Guest(VCPUS, "uniform", HOT, RATE, MEMORY))
        machines.append(source)
        source.start()
        target = migrate.receiver(source)
        machines.append(target)

        def lead_astray():
            source.memory[PROGRAM:PROGRAM + machine.PAGE] = (
                NOP * (machine.PAGE - len(NOWHERE)) + NOWHERE)

        try:
            migrate.migrate(source, target, lead_astray)
        except machine.EmulatorFault as e:
            return [("noticed", None, str(e))]
        raise Failure("a guest that KVM stopped was migrated without an error")
    finally:
        for m in machines:
            m.end()


# Tests of the tests
OWN = {"a lost page": ("found", loss_is_found),
       "a guest that shuts down": ("noticed", shutdown_is_noticed),
       "a guest that KVM stops": ("noticed", stop_is_noticed)}


def run(lines, options):
    """Leave a line for each mode, and for each test of the tests."""
    for mode in list(OWN) + options.modes:
        if lines.find(mode=mode):
            continue
        start = time.monotonic()
        try:
            if mode in OWN:
                done, faults = options.attempt(mode, options.repeats, OWN[mode][1], options)
            else:
                done, faults = options.attempt(mode, options.repeats, journey, mode)
        except Failure as e:
            done, faults = [("the guest lives", str(e), "")], options.repeats
        bad = [f"{name}: {why}" for name, why, _ in done if why]
        print(f"{mode}: {'; '.join(bad) or 'passed'}, {time.monotonic() - start:.0f} s", flush=True)
        lines.add(mode=mode, tests=done, faults=faults)
    return all(not why for item in lines.items for _, why, _ in item["tests"])


def tap(lines, options):
    """One line each; a test without a result did not run."""
    out = []
    for mode in list(OWN) + options.modes:
        tests = [OWN[mode][0]] if mode in OWN else names(mode)
        item = lines.find(mode=mode)
        results = {name: (why, note) for name, why, note in item[0]["tests"]} if item else {}
        for name in tests + [n for n in results if n not in tests]:
            why, note = results.get(name, ("did not run", ""))
            note = (why or note).replace("\n", " ")
            out.append(f"{'not ok' if why else 'ok'} {len(out) + 1} {mode}: {name}"
                       f"{' # ' + note if note else ''}")
    print("\n".join(["TAP version 13", f"1..{len(out)}"] + out))
    return all(line.startswith("ok") for line in out)
