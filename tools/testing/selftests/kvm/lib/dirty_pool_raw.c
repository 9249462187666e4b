// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM by the bare ioctls, see include/dirty_pool_raw.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../kselftest.h"
#include "dirty_pool_emulator.h"
#include "dirty_pool_raw.h"

#define CODE_IP		0x1000

/* bx: segment to write to, cx: writes that are left, di: writes an exit, si: 0 */
static const uint8_t guest_code[] = {
	0x8e, 0xdb,			/* write: mov ds, bx */
	0x89, 0x0c,			/* mov [si], cx */
	0x81, 0xc3, 0x00, 0x01,		/* add bx, 0x100: the next page */
	0x81, 0xfb, 0x00, 0xf0,		/* cmp bx, 0xf000 */
	0x72, 0x03,			/* jb over */
	0xbb, 0x00, 0x10,		/* mov bx, 0x1000 */
	0xe2, 0xed,			/* over: loop write */
	0xe6, RAW_PORT,			/* out RAW_PORT, al */
	0x89, 0xf9,			/* mov cx, di */
	0xeb, 0xe7,			/* jmp write */
};

int raw_enable_cap(int vm, uint32_t cap, uint64_t bytes, uint64_t flags)
{
	struct kvm_enable_cap args = {
		.cap = cap,
		.args = { bytes, flags },
	};

	return ioctl(vm, KVM_ENABLE_CAP, &args);
}

int raw_set_slot(int vm, uint32_t slot, uint32_t flags, uint64_t gpa,
		 uint64_t bytes, void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)hva,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

int raw_set_policy(int vm, const char *name)
{
	struct kvm_dirty_ring_policy policy = {};

	/* A name that is as long as the array, or longer, arrives without NUL. */
	memcpy(policy.name, name, strnlen(name, sizeof(policy.name)));
	return ioctl(vm, KVM_SET_DIRTY_RING_POLICY, &policy);
}

int raw_set_eventfd(int vm, int fd)
{
	struct kvm_dirty_ring_pool_eventfd args = { .fd = fd };

	return ioctl(vm, KVM_DIRTY_RING_POOL_EVENTFD, &args);
}

int raw_mark(int vm, uint32_t slot, uint64_t first, uint64_t nr)
{
	struct kvm_mark_dirty mark = {
		.slot = slot,
		.first_page = first,
		.num_pages = nr,
	};

	return ioctl(vm, KVM_MARK_DIRTY, &mark);
}

int raw_get_state(int vm, uint32_t flags, struct kvm_dirty_ring_pool_state *state,
		  struct kvm_dirty_ring_state *rings, uint32_t nr)
{
	memset(state, 0, sizeof(*state));
	state->flags = flags;
	state->nr_rings = nr;
	state->rings = (uintptr_t)rings;
	return ioctl(vm, KVM_GET_DIRTY_RING_POOL_STATE, state);
}

struct kvm_dirty_gfn *raw_map_ring(int vcpu, size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu,
		    KVM_DIRTY_LOG_PAGE_OFFSET * RAW_PAGE);
}

uint8_t *raw_memory(void)
{
	uint8_t *mem = mmap(NULL, RAW_PAGES * RAW_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return NULL;
	memcpy(mem + CODE_IP, guest_code, sizeof(guest_code));
	return mem;
}

int raw_set_slots(int vm, uint8_t *mem)
{
	return raw_set_slot(vm, RAW_CODE_SLOT, 0, RAW_CODE_GPA,
			    RAW_CODE_PAGES * RAW_PAGE, mem) ?:
	       raw_set_slot(vm, RAW_DATA_SLOT, KVM_MEM_LOG_DIRTY_PAGES,
			    RAW_DATA_GPA, RAW_DATA_PAGES * RAW_PAGE,
			    mem + RAW_CODE_PAGES * RAW_PAGE);
}

int raw_start(int vcpu, uint32_t page, uint32_t nr)
{
	struct kvm_regs regs = {
		.rip = CODE_IP,
		.rbx = (RAW_DATA_GPA + page * RAW_PAGE) >> 4,
		.rcx = nr,
		.rdi = nr,
		.rflags = 2,
	};
	struct kvm_sregs sregs;
	int ret;

	ret = ioctl(vcpu, KVM_GET_SREGS, &sregs);
	if (ret)
		return ret;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	return ioctl(vcpu, KVM_SET_SREGS, &sregs) ?:
	       ioctl(vcpu, KVM_SET_REGS, &regs);
}

uint32_t raw_smallest_ring(int kvm)
{
	int max = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_POOL);
	uint32_t bytes;
	int vm, ret;

	for (bytes = RAW_PAGE; (int)bytes <= max; bytes *= 2) {
		vm = ioctl(kvm, KVM_CREATE_VM, 0);
		ret = raw_enable_cap(vm, KVM_CAP_DIRTY_LOG_RING_POOL, bytes, 0);
		close(vm);
		if (!ret)
			return bytes;
	}
	return 0;
}

bool raw_emulator_fault(int vcpu, const struct kvm_run *run)
{
	struct kvm_regs regs = {};

	ioctl(vcpu, KVM_GET_REGS, &regs);
	return emulator_broke(run->exit_reason, regs.rip);
}

int raw_open(struct raw_client *c, int max_vcpus, uint32_t ring_bytes)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	memset(c, 0, sizeof(*c));
	c->entries = ring_bytes / sizeof(struct kvm_dirty_gfn);
	c->vm = ioctl(kvm, KVM_CREATE_VM, 0);
	close(kvm);
	c->mem = raw_memory();
	c->vcpu = calloc(max_vcpus, sizeof(*c->vcpu));
	c->fetch = calloc(max_vcpus, sizeof(*c->fetch));
	c->ring = calloc(max_vcpus, sizeof(*c->ring));
	return c->vm >= 0 && c->mem && c->vcpu && c->fetch && c->ring ? 0 : -1;
}

int raw_add_vcpu(struct raw_client *c)
{
	int i = c->nr_vcpus;

	c->vcpu[i] = ioctl(c->vm, KVM_CREATE_VCPU, (unsigned long)i);
	if (c->vcpu[i] < 0)
		return -1;
	c->ring[i] = raw_map_ring(c->vcpu[i], c->entries * sizeof(struct kvm_dirty_gfn));
	c->nr_vcpus++;
	return c->ring[i] == MAP_FAILED ? -1 : 0;
}

void raw_close(struct raw_client *c)
{
	int i;

	for (i = 0; i < c->nr_vcpus; i++) {
		if (c->ring[i] != MAP_FAILED)
			munmap(c->ring[i], c->entries * sizeof(struct kvm_dirty_gfn));
		close(c->vcpu[i]);
	}
	close(c->vm);
	munmap(c->mem, RAW_PAGES * RAW_PAGE);
	free(c->vcpu);
	free(c->fetch);
	free(c->ring);
}

bool raw_drain(struct raw_client *c)
{
	struct kvm_dirty_gfn *gfn;
	int i, n = 0;

	for (i = 0; i < c->nr_vcpus; i++) {
		for (;; c->fetch[i]++, n++) {
			gfn = &c->ring[i][c->fetch[i] % c->entries];
			/* Pairs with the release by which KVM pushes the entry. */
			if (__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) !=
			    KVM_DIRTY_GFN_F_DIRTY)
				break;
			if (gfn->slot != RAW_DATA_SLOT || gfn->offset >= RAW_DATA_PAGES)
				return false;
			c->found[gfn->offset] = 1;
			/* The kernel may reuse the entry: reads come before. */
			__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		}
	}
	c->harvested += n;
	return ioctl(c->vm, KVM_RESET_DIRTY_RINGS, 0) == n;
}

bool raw_found(struct raw_client *c, uint32_t first, uint32_t nr)
{
	uint32_t i;

	if (!raw_drain(c))
		return false;
	for (i = 0; i < RAW_DATA_PAGES; i++)
		if (c->found[i] != (i - first < nr))
			return false;
	memset(c->found, 0, sizeof(c->found));
	return true;
}

int raw_write(struct raw_client *c, int i, uint32_t first, uint32_t nr)
{
	struct kvm_run *run = mmap(NULL, RAW_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				   c->vcpu[i], 0);
	int ret = 1;

	if (run == MAP_FAILED)
		return -1;
	if (raw_start(c->vcpu[i], first, nr))
		goto unmap;
	do {
		ret = ioctl(c->vcpu[i], KVM_RUN, 0);
		if (ret)
			goto unmap;
	} while (run->exit_reason == KVM_EXIT_DIRTY_RING_FULL && raw_drain(c));
	if (raw_emulator_fault(c->vcpu[i], run))
		ret = EMULATOR_FAULT;
	else
		ret = run->exit_reason != KVM_EXIT_IO || run->io.port != RAW_PORT;
unmap:
	munmap(run, RAW_PAGE);
	return ret;
}

#define MODULE		"dirty_ring_policy_random"

bool raw_load_policy(void)
{
	int fd = open("/lib/modules/" MODULE ".ko", O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return false;
	ret = syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	return !ret;
}

void raw_unload_policy(void)
{
	if (syscall(SYS_delete_module, MODULE, O_NONBLOCK))
		ksft_print_msg("the policy's module is in use, errno %d\n", errno);
}

bool read_file(const char *path, char *text, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t ret = -1;

	if (fd >= 0) {
		while (n < max - 1 && (ret = read(fd, text + n, max - 1 - n)) > 0)
			n += ret;
		close(fd);
	}
	text[n] = 0;
	return ret >= 0;
}

bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd < 0)
		return false;
	ret = write(fd, text, strlen(text));
	close(fd);
	return ret == (ssize_t)strlen(text);
}

long kernel_memory(const char *name)
{
	char text[8192], *at;

	if (!read_file("/proc/meminfo", text, sizeof(text)))
		return 0;
	at = strstr(text, name);
	return at ? atol(at + strlen(name) + 1) : 0;
}

int log_open(void)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (log >= 0)
		lseek(log, 0, SEEK_END);
	return log;
}

bool log_trouble(int log)
{
	static const char * const lines[] = {
		"WARNING:", "BUG:", "Oops", "general protection fault", "unable to handle",
		"INFO: task", "rcu: INFO", "possible ", "inconsistent lock state",
		"suspicious RCU", "refcount_t:", "UBSAN", "soft lockup", "hard LOCKUP",
		"lockdep is turned off", "corruption", "suspected memory leak",
	};
	char text[8192];
	bool bad = false;
	ssize_t n;
	uint32_t i;

	for (;;) {
		n = read(log, text, sizeof(text) - 1);
		/* Records were overwritten before they were read. */
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			return bad;
		text[n] = 0;
		/* Whose race it is takes the whole report: left to who reads the log. */
		if (strstr(text, "BUG: KCSAN:"))
			continue;
		for (i = 0; i < ARRAY_SIZE(lines); i++) {
			if (!strstr(text, lines[i]))
				continue;
			ksft_print_msg("kernel log: %s", text);
			bad = true;
			break;
		}
	}
}

static int count_debugfs(void)
{
	DIR *dir = opendir("/sys/kernel/debug/kvm");
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_type == DT_DIR && entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static int count_vmalloc(void)
{
	FILE *file = fopen("/proc/vmallocinfo", "r");
	char line[512];
	int n = 0;

	while (file && fgets(line, sizeof(line), file))
		n += strstr(line, "kvm") || strstr(line, "pool_");
	if (file)
		fclose(file);
	return n;
}

static int count_refs(const char *path)
{
	char text[32];

	return read_file(path, text, sizeof(text)) ? atoi(text) : 0;
}

void remains_count(struct remains *r)
{
	r->debugfs = count_debugfs();
	r->vmalloc = count_vmalloc();
	r->kvm_refs = count_refs("/sys/module/kvm/refcnt");
	r->policy_refs = count_refs("/sys/module/" MODULE "/refcnt");
}

bool remains_gone(const struct remains *before)
{
	struct remains now;
	int i;

	for (i = 0; i < 1000; i++) {
		remains_count(&now);
		if (now.debugfs <= before->debugfs && now.vmalloc <= before->vmalloc &&
		    now.kvm_refs <= before->kvm_refs &&
		    now.policy_refs <= before->policy_refs)
			return true;
		usleep(20000);
	}
	ksft_print_msg("VMs in debugfs: %d, before: %d; virtual areas: %d, %d\n",
		       now.debugfs, before->debugfs, now.vmalloc, before->vmalloc);
	ksft_print_msg("references to kvm: %d, before: %d; to the policy: %d, %d\n",
		       now.kvm_refs, before->kvm_refs, now.policy_refs,
		       before->policy_refs);
	return false;
}

#define KMEMLEAK	"/sys/kernel/debug/kmemleak"

void leaks_forget(void)
{
	write_file(KMEMLEAK, "scan");
	write_file(KMEMLEAK, "clear");
}

int leaks_count(void)
{
	/* Not static: the library's static memory is loaded into each guest. */
	size_t size = 1 << 20;
	char *at, *next, *text;
	int n = 0;

	if (access(KMEMLEAK, F_OK))
		return -1;
	/* It takes an object for leaked when it is 5 s old. */
	sleep(6);
	write_file(KMEMLEAK, "scan");
	/* A pointer that was in a register during one scan is found by the next. */
	write_file(KMEMLEAK, "scan");
	text = malloc(size);
	if (!text)
		return -1;
	read_file(KMEMLEAK, text, size);
	for (at = strstr(text, "unreferenced object"); at; at = next) {
		next = strstr(at + 1, "unreferenced object");
		if (next)
			next[-1] = 0;
		if (!strstr(at, "kvm") && !strstr(at, "dirty_"))
			continue;
		if (n++ < 3)
			ksft_print_msg("%s\n", at);
	}
	free(text);
	return n;
}
