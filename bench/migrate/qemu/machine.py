# SPDX-License-Identifier: GPL-2.0
"""A QEMU process with our guest in it: its QMP socket and its memory.

The guest's memory is a file on tmpfs that QEMU maps shared, so it can be read and
compared without QEMU's help and without disturbing the vCPUs.
"""
import contextlib
import json
import mmap
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time

QEMU = "/usr/bin/qemu-system-x86_64"
PAGE = 4096
MIB = 1 << 20

# ../guest/params.h
PARAMS = 0x20000
CHECK = PARAMS + 24
VCPU = PARAMS + 64
VCPU_SIZE = 128
VCPU_SET = 32
# Where vCPUs execute; guest/boot.ld puts the program there
WORKER = range(0x100800, 0x101000)
WORKLOADS = {"idle": 0, "uniform": 1, "skewed": 2, "bursty": 3}
NOT_STARTED, FILLING, RUNNING, CHECKING, STOPPED = range(5)

# An unused page, below the parameters
UNUSED = 0x18

# Where a guest with ACPI ejects CPUs: docs/specs/acpi_cpu_hotplug.rst of QEMU
CPU_SELECTOR = 0xaf00
CPU_FLAGS = 0xaf04
CPU_EJECT = 8


class Failure(Exception):
    """What is tested is wrong."""


class EmulatorFault(Exception):
    """The emulated CPU broke the guest, or QEMU itself: repeat it."""


class Hung(Exception):
    """A process can't be killed: a CPU of the VM is stuck."""


class Qmp(Exception):
    """QEMU refused a command."""


class Vcpu:
    """What the guest reports of one vCPU."""

    def __init__(self, raw):
        words = struct.unpack("<32I", raw)
        self.first, self.pages, self.hot, self.table = words[:4]
        (self.state, self.stamps, self.seq, _, _, self.checked, self.checks,
         self.bad, self.bad_page) = words[16:25]


class Guest:
    """The guest's task.  All vCPUs together keep stamping HOT pages, RATE times as fast
    as guest_setup() has it."""

    def __init__(self, vcpus, workload, hot, rate, memory=64, seed=1):
        self.vcpus = vcpus
        self.workload = workload
        self.hot = hot
        self.rate = rate
        self.memory = memory
        self.seed = seed
        # vCPUs that do nothing: unplugged, or plugged and not started
        self.idle = set()

    def line(self):
        return (f"vcpus={self.vcpus} memory={self.memory} "
                f"hot={self.hot // self.vcpus} workload={WORKLOADS[self.workload]} "
                f"rate={self.rate} seed={self.seed}")


class Machine:
    """A QEMU process."""
    number = 0

    def __init__(self, guest, ring=0, incoming=None, cpus=None):
        """RING entries per ring, 0 for the bitmap; CPUS of the guest's vCPUs exist."""
        Machine.number += 1
        self.name = f"qemu{Machine.number}"
        self.guest = guest
        self.ring = ring
        self.incoming = incoming
        self.events = []
        self.expect_stop = False
        self.broken = None
        base = f"/tmp/{self.name}"
        self.ram_path = base + ".ram"
        self.log_path = base + ".log"
        accel = "kvm" + (f",dirty-ring-size={ring}" if ring else "")
        # No SMM: QEMU's emulation of SVM, one level below, does not support it
        self.command = [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none",
            "-accel", accel, "-cpu", "host",
            "-smp", f"{cpus or guest.vcpus},maxcpus={guest.vcpus}",
            "-machine", "pc,smm=off,vmport=off,memory-backend=ram",
            "-object", f"memory-backend-file,id=ram,size={guest.memory}M,"
                       f"mem-path={self.ram_path},share=on",
            "-m", f"{guest.memory}M", "-kernel", "/tmp/out/guest.elf",
            "-append", guest.line(), "-qmp", f"unix:{base}.qmp,server=on,wait=off",
            "-S", "-no-reboot", "-action", "shutdown=pause"]
        if incoming:
            self.command += ["-incoming", f"unix:{incoming}"]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        self.buffer = b""
        self.memory = None
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self._connect(base + ".qmp")
            with open(self.ram_path, "r+b") as f:
                self.memory = mmap.mmap(f.fileno(), guest.memory * MIB)
        except BaseException:
            self.end()
            raise

    # -- QMP
    def _connect(self, path, limit=60):
        end = time.monotonic() + limit
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                self._alive()
                if time.monotonic() > end:
                    raise Failure(f"{self.name}: QEMU did not start within {limit} s") from None
                time.sleep(0.02)
        self._line(limit)
        self.qmp("qmp_capabilities")
        self.qmp("migrate-set-capabilities",
                 capabilities=[{"capability": "events", "state": True}])

    def _alive(self):
        if self.process.poll() is not None:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                said = f.read()[-400:].strip()
            raise Failure(f"{self.name}: QEMU ended with {self.process.returncode}: {said}")

    def _gone(self):
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        self._alive()
        raise Failure(f"{self.name}: QEMU closed its QMP socket")

    def _line(self, limit):
        """The next message; None if there is none within LIMIT seconds."""
        end = time.monotonic() + limit
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.socket], [], [], max(end - time.monotonic(), 0))
            if not ready:
                return None
            try:
                more = self.socket.recv(65536)
            except OSError:
                more = b""
            if not more:
                self._gone()
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def _event(self, message):
        at = message["timestamp"]
        self.events.append((message["event"], message.get("data", {}),
                            at["seconds"] + at["microseconds"] / 1e6))
        if self.broken is not None:
            return
        # Our guest does neither.  At a triple fault (KVM_EXIT_SHUTDOWN) QEMU
        # requests a reset, and -no-reboot stops the guest instead.
        if message["event"] == "SHUTDOWN" and message["data"].get("guest"):
            self.broken = f"the guest shut down ({message['data'].get('reason')})"
        elif message["event"] == "STOP" and not self.expect_stop:
            self.broken = "KVM stopped the guest"

    def _tell_broken(self):
        """Not called by _event(): this sends a command, and another one's answer may
        still be on its way."""
        if self.broken:
            why, self.broken = f"{self.name}: {self.broken}", ""
            try:
                why += f", vCPUs at {' '.join(self.at())}"
            except Failure as e:
                why += f"; {e}"
            raise EmulatorFault(why)

    def qmp(self, name, limit=60, **arguments):
        request = json.dumps({"execute": name, "arguments": arguments})
        try:
            self.socket.sendall(request.encode() + b"\n")
        except OSError:
            self._gone()
        end = time.monotonic() + limit
        while True:
            message = self._line(end - time.monotonic())
            if message is None:
                raise Failure(f"{self.name}: no answer to {name} within {limit} s")
            if "event" in message:
                self._event(message)
                continue
            self._tell_broken()
            if "error" in message:
                raise Qmp(f"{name}: {message['error']['desc']}")
            return message["return"]

    def poll(self, limit=0.0):
        """Process events; wait LIMIT seconds at most for the first one."""
        message = self._line(limit)
        while message is not None:
            self._event(message)
            message = self._line(0)
        self._tell_broken()

    def event(self, name, **data):
        """The time of such an event, None if there was none."""
        for what, with_, at in self.events:
            if what == name and all(with_.get(k) == v for k, v in data.items()):
                return at
        return None

    def wait(self, what, done, limit=60, must=True):
        """Wait until DONE() returns something; it is called often."""
        end = time.monotonic() + limit
        while True:
            found = done()
            if found:
                return found
            if time.monotonic() > end:
                if not must:
                    return None
                self.hang(f"{what}: not within {limit} s")
            self.poll(0.01)

    def hang(self, what):
        """Is it the emulator's fault?  At times it lets a vCPU continue with the registers
        of the kernel below, which then does anything."""
        what = f"{self.name}: {what}"
        try:
            at = self.at()
        except Failure as e:
            raise Failure(f"{what}; {e}") from None
        what += f", vCPUs at {' '.join(at)}"
        self.tell_state()
        if any(int(a, 16) not in WORKER for i, a in enumerate(at)
               if i not in self.guest.idle):
            raise EmulatorFault(what)
        raise Failure(what)

    def tell_state(self):
        """Print all that is known of a guest that misbehaves."""
        print(f"{self.name}: {self.qmp('query-status')}, {self.events}")
        print(self.human("info registers -a", limit=10))
        print("parameters:", *struct.unpack("<8I", self.memory[PARAMS:PARAMS + 32]))
        for i, v in enumerate(self.vcpus()):
            print(f"vCPU {i}:", *(f"{name} {value}" for name, value in vars(v).items()),
                  flush=True)

    def at(self):
        """The address at which each vCPU is.  After a triple fault that is the reset
        vector on AMD CPUs: KVM resets the vCPU."""
        return re.findall(r"[RE]IP=([0-9a-f]+)", self.human("info registers -a", limit=10))

    def human(self, line, limit=60):
        return self.qmp("human-monitor-command", limit, **{"command-line": line})

    # -- the guest
    def vcpus(self):
        at = VCPU
        out = []
        for _ in range(self.guest.vcpus):
            out.append(Vcpu(self.memory[at:at + VCPU_SIZE]))
            at += VCPU_SIZE
        return out

    def working(self):
        return [v for i, v in enumerate(self.vcpus()) if i not in self.guest.idle]

    def stamps(self):
        return sum(v.stamps for v in self.vcpus())

    def run(self):
        """Let the guest run."""
        # Its loops would take CPU time from the threads that migrate
        for vcpu in self.qmp("query-cpus-fast"):
            os.setpriority(os.PRIO_PROCESS, vcpu["thread-id"], 10)
        self.qmp("cont")

    def start(self):
        """Run from power-on until each vCPU has filled its pages."""
        self.run()
        self.wait("the guest starts and fills its memory",
                  lambda: all(v.state == RUNNING and v.stamps for v in self.vcpus()))

    def goes_on(self):
        """Check that each vCPU keeps stamping."""
        before = [v.stamps for v in self.working()]
        self.wait("each vCPU goes on",
                  lambda: all(v.stamps != b for v, b in zip(self.working(), before)))

    def self_check(self):
        """Let the guest check all its pages; returns how many are wrong."""
        asked = struct.unpack("<I", self.memory[CHECK:CHECK + 4])[0] + 1
        before = sum(v.bad for v in self.working())
        self.memory[CHECK:CHECK + 4] = struct.pack("<I", asked)
        self.wait("the guest checks its memory",
                  lambda: all(v.checked == asked for v in self.working()))
        return sum(v.bad for v in self.working()) - before

    @contextlib.contextmanager
    def calm(self, rate):
        """Slow the guest down to RATE stamps per second, into any of its pages: most were
        not written since they were filled.  vCPUs keep writing the page of the
        parameters, so KVM need not know of our writes to it."""
        ats = [VCPU + i * VCPU_SIZE for i in range(self.guest.vcpus)]
        before = [self.memory[at:at + VCPU_SET] for at in ats]
        turns = 1 << 17
        while turns == 1 << 17 or self.rate(0.3) > rate:
            turns *= 2
            for at in ats:
                words = list(struct.unpack("<8I", self.memory[at:at + VCPU_SET]))
                words[2], words[5] = words[1], turns
                self.memory[at:at + VCPU_SET] = struct.pack("<8I", *words)
        yield
        for at, words in zip(ats, before):
            self.memory[at:at + VCPU_SET] = words

    # -- vCPUs that come and go
    def cpus(self):
        return len(self.qmp("query-cpus-fast"))

    def unplug(self, cpu):
        """Do what device_del asks a guest to do.  Ours has no ACPI, so write the ports for
        it; the first write leaves the legacy interface."""
        cpus = self.cpus()
        try:
            for write in (f"/b {CPU_SELECTOR} 0", f"/w {CPU_SELECTOR} {cpu}",
                          f"/b {CPU_FLAGS} {CPU_EJECT}"):
                self.human(f"o {write}")
        except Failure as e:
            # QEMU 7.2 unmaps the ring while its other threads can still see the
            # vCPU.  The one that harvests the rings once a second can hit that
            # window, which is wide on a slow CPU.
            if self.process.poll() == -signal.SIGSEGV:
                raise EmulatorFault(f"{e}, while it unplugged a vCPU") from None
            raise
        self.guest.idle.add(cpu)
        if self.cpus() != cpus - 1:
            raise Failure(f"{self.name}: vCPU {cpu} of {cpus} was not unplugged")

    def plug(self, cpu):
        """Add a vCPU.  The guest does not start it."""
        slots = [s for s in self.qmp("query-hotpluggable-cpus") if "qom-path" not in s]
        self.qmp("device_add", driver=slots[0]["type"], id=f"cpu{cpu}", **slots[0]["props"])

    def rate(self, seconds):
        """Stamps per second, all vCPUs together."""
        stamps, at = self.stamps(), time.monotonic()
        self.poll(0)
        time.sleep(seconds)
        self.poll(0)
        return (self.stamps() - stamps) / (time.monotonic() - at)

    def pool_stats(self):
        """KVM's counters of the pool, by QEMU's own query."""
        found = {}
        for provider in self.qmp("query-stats", target="vm"):
            for stat in provider["stats"]:
                if stat["name"].startswith("dirty_pool_"):
                    found[stat["name"][len("dirty_pool_"):]] = stat["value"]
        return found

    def end(self):
        """Make QEMU quit, kill it if it does not."""
        self.expect_stop = True
        if self.process.poll() is None:
            try:
                self.socket.sendall(b'{"execute": "quit"}\n')
                self.process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                try:
                    self.process.wait(30)
                except subprocess.TimeoutExpired:
                    raise Hung(f"{self.name} cannot be killed") from None
        self.socket.close()
        if self.memory:
            self.memory.close()
        for path in (self.ram_path, self.incoming):
            if path and os.path.exists(path):
                os.unlink(path)


def unequal_pages(a, b):
    """The pages whose contents differ between two machines."""
    out = []
    for start in range(0, len(a.memory), MIB):
        if a.memory[start:start + MIB] == b.memory[start:start + MIB]:
            continue
        for at in range(start, start + MIB, PAGE):
            if a.memory[at:at + PAGE] != b.memory[at:at + PAGE]:
                out.append(at // PAGE)
    return out
