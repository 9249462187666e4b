# SPDX-License-Identifier: GPL-2.0
"""Modes of tracking dirty pages, and one live migration with its figures."""
import os
import time

import machine
from machine import Failure, Machine

KVM = "/sys/module/kvm/parameters/"
TRACING = "/sys/kernel/tracing/"
BASELINES = ("bitmap", "per-vcpu")
# Entries of a ring: QEMU's minimum, so that rings fill at this speed
RING = 1024
# Bandwidth of the network, and allowed downtime
BANDWIDTH = 32 << 20
DOWNTIME_MS = 500
# After this many seconds, any downtime is allowed
PATIENCE = 30
LIMIT = 120


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def set_mode(mode):
    """Set the mode of QEMUs started from now on."""
    if mode in BASELINES:
        if os.path.exists(KVM + "dirty_ring_pool"):
            write(KVM + "dirty_ring_pool", "0")
        return
    write(KVM + "dirty_ring_policy", mode)
    write(KVM + "dirty_ring_pool", "1")


def ring_of(mode):
    return 0 if mode == "bitmap" else RING


class Exits:
    """Exits for a full ring, by KVM's own tracepoint."""
    EVENT = TRACING + "events/kvm/kvm_dirty_ring_exit/enable"

    def __init__(self, vcpus):
        self.vcpus = vcpus
        write(TRACING + "trace", "")
        write(self.EVENT, "1")

    def end(self):
        """The number of exits of each vCPU."""
        write(self.EVENT, "0")
        count = [0] * self.vcpus
        with open(TRACING + "trace", encoding="ascii", errors="replace") as f:
            for line in f:
                if "kvm_dirty_ring_exit:" in line:
                    count[int(line.rsplit("vcpu", 1)[1].split()[0])] += 1
        return count


def receiver(source, cpus=None):
    """A QEMU that waits for the migration of SOURCE."""
    return Machine(source.guest, source.ring,
                   incoming=f"/tmp/incoming{Machine.number + 1}", cpus=cpus)


def limit(source, bandwidth=BANDWIDTH, downtime=DOWNTIME_MS):
    source.qmp("migrate-set-parameters",
               **{"max-bandwidth": bandwidth, "downtime-limit": downtime})


def begin(source, target, bandwidth=BANDWIDTH, downtime=DOWNTIME_MS):
    limit(source, bandwidth, downtime)
    source.expect_stop = True
    source.poll(0)
    source.events.clear()
    source.qmp("migrate", uri="unix:" + target.incoming)


def status(source, *wanted):
    """The first of these states that SOURCE's migration has reached, or None."""
    for state in wanted:
        if source.event("MIGRATION", status=state):
            return state
    return None


def migrate(source, target, meddle=None):
    """Migrate live; returns the figures.  Leaves the guest stopped on both sides.
    Calls MEDDLE() once, after the first pass, and before the end as long as the
    guest writes."""
    exits = Exits(source.guest.vcpus)
    pool = source.pool_stats()
    stamps, start = source.stamps(), time.time()
    begin(source, target, downtime=1 if meddle else DOWNTIME_MS)

    ends = ("completed", "failed", "cancelled")
    if meddle:
        source.wait("the first pass", lambda: source.event("MIGRATION_PASS", **{"pass": 2})
                    or status(source, *ends), LIMIT)
        meddle()
        limit(source)
    ended = source.wait("the migration ends", lambda: status(source, *ends), PATIENCE, False)
    if not ended:
        limit(source, downtime=LIMIT * 1000)
        ended = source.wait("the migration ends", lambda: status(source, *ends), LIMIT)
    if ended != "completed":
        raise Failure(f"the migration {ended}: "
                      f"{source.qmp('query-migrate').get('error-desc', 'no reason given')}")
    target.wait("the other side is done", lambda: status(target, "completed", "failed"))
    if status(target, "failed"):
        raise Failure("the other side failed")

    came_over(source, target)
    info = source.qmp("query-migrate")
    # Earlier overflows count, too
    pool["overflows"] = 0
    ram = info["ram"]
    stopped = source.event("STOP")
    full = exits.end()
    return {
        "total_ms": info["total-time"],
        "downtime_ms": info["downtime"],
        "pages": ram["normal"] + ram["duplicate"],
        "zero_pages": ram["duplicate"],
        "bytes": ram["transferred"],
        "syncs": ram["dirty-sync-count"],
        "forced": source.event("MIGRATION", status="completed") - start > PATIENCE,
        "full_exits": sum(full),
        "full_exits_vcpu": full,
        "stamps": source.stamps() - stamps,
        "stamps_per_s": (source.stamps() - stamps) / max(stopped - start, 1e-3),
        "pool": {k: v - pool[k] for k, v in source.pool_stats().items()},
        "unequal": machine.unequal_pages(source, target),
    }


def came_over(source, target):
    """Did the guest arrive intact?  If not, the emulator has mixed in the registers of
    the kernel below.  QEMU 7.2 does not complain if KVM rejects the registers of a
    vCPU that arrived, and leaves it at the reset vector.  At the source, a guest that
    KVM stopped during the migration looks like one that QEMU stopped, but its run
    state arrives, too."""
    sent, got = source.at(), target.at()
    if sent != got:
        print(source.human("info registers -a"), flush=True)
        raise machine.EmulatorFault(f"{target.name}: vCPUs were sent at {' '.join(sent)}, "
                                    f"and are at {' '.join(got)}")
    state = target.qmp("query-status")["status"]
    if state != "paused":
        raise machine.EmulatorFault(f"{target.name}: what came over is in the state {state}, "
                                    f"vCPUs at {' '.join(sent)}")


def resume(target):
    """Let the guest continue at the destination; returns the number of pages that it
    finds wrong."""
    target.run()
    target.goes_on()
    return target.self_check()
