// SPDX-License-Identifier: GPL-2.0-only
/* The VM, see vm.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vm.h"

#define VM_SLOT		0
#define DEVICE_BLOCK	8	/* pages that the device writes at once */

__u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

const char *fail_prefix = "";

int fail(const char *mend, const char *format, ...)
{
	va_list args;

	flockfile(stderr);
	fprintf(stderr, "%sfailed: ", fail_prefix);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	if (mend)
		fprintf(stderr, "%s  mend: %s\n", fail_prefix, mend);
	funlockfile(stderr);
	return -1;
}

/* -- What harvest.c calls */

static void set_dirty(void *arg, __u32 slot, __u64 page)
{
	struct vm *vm = arg;
	unsigned int bits = 8 * sizeof(long);

	if (slot != VM_SLOT || page >= vm->nr_pages) {
		fail("this is a bug in KVM or in harvest.c",
		     "page %llu of memslot %u was reported, but does not exist",
		     page, slot);
		_exit(VM_FAILED);
	}
	/* Pairs with the migration's exchange: it also sees the guest's write. */
	__atomic_fetch_or(&vm->dirty[page / bits], 1ul << page % bits, __ATOMIC_RELEASE);
}

static void set_all_dirty(void *arg)
{
	struct vm *vm = arg;
	unsigned long page;

	for (page = 0; page < vm->nr_pages; page++)
		set_dirty(vm, VM_SLOT, page);
	__atomic_fetch_add(&vm->all_dirty, 1, __ATOMIC_RELAXED);
}

/* -- vCPUs */

static void kick(int sig)
{
	/* The signal only has to interrupt KVM_RUN. */
	(void)sig;
}

void vm_broken(struct vm_vcpu *v)
{
	bool emulator = cpu_is_emulated() && !v->vm->lost;
	struct kvm_regs regs = { };

	ioctl(v->fd, KVM_GET_REGS, &regs);
	fail(emulator ? "this is QEMU's emulation of SVM; do it again" : NULL,
	     "vCPU %u made exit %u, with RIP 0x%llx, RSP 0x%llx", v->index,
	     v->run->exit_reason, regs.rip, regs.rsp);
	_exit(emulator ? EMULATOR_FAULT : VM_FAILED);
}

/* The guest halted: sleep until its rest is over, or it must stop. */
static void vcpu_rest(struct vm_vcpu *v)
{
	struct vm *vm = v->vm;
	struct timespec until;
	__u64 ns = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	ns = until.tv_nsec + vm->params->vcpu[v->index].rest * 1000ull;
	until.tv_sec += ns / 1000000000;
	until.tv_nsec = ns % 1000000000;

	pthread_mutex_lock(&vm->lock);
	while (!vm->pause && !v->unplugged && !vm->quit &&
	       pthread_cond_timedwait(&vm->changed, &vm->lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&vm->lock);
}

static void vcpu_ring_full(struct vm_vcpu *v)
{
	__u64 start = now_ns();
	int err;

	v->full_exits++;
	if (v->vm->config.tracker == HARVEST_POOL) {
		__u32 flags = v->run->dirty_ring_pool.flags;

		v->parked_exits += !!(flags & KVM_DIRTY_RING_POOL_PARKED);
		v->exhausted_exits += !!(flags & KVM_DIRTY_RING_POOL_EXHAUSTED);
	}
	err = harvest_full(&v->vm->harvest, v->run);
	if (err) {
		fail(NULL, "vCPU %u can't drain rings: %s", v->index, strerror(-err));
		_exit(VM_FAILED);
	}
	v->still_ns += now_ns() - start;
}

static bool vcpu_is_held(const struct vm_vcpu *v)
{
	return (v->vm->pause || v->unplugged) && !v->vm->quit;
}

/* Wait while the VM is paused or the vCPU unplugged.  False: the thread must end. */
static bool vcpu_may_run(struct vm_vcpu *v)
{
	struct vm *vm = v->vm;
	bool quit;

	pthread_mutex_lock(&vm->lock);
	if (vcpu_is_held(v)) {
		v->paused = true;
		pthread_cond_broadcast(&vm->changed);
		while (vcpu_is_held(v))
			pthread_cond_wait(&vm->changed, &vm->lock);
		v->paused = false;
		v->first_run_ns = now_ns();
	}
	/* It is set under the lock, so no request is lost. */
	v->run->immediate_exit = 0;
	quit = vm->quit;
	pthread_mutex_unlock(&vm->lock);
	return !quit;
}

static void *vcpu_thread(void *arg)
{
	struct vm_vcpu *v = arg;

	while (vcpu_may_run(v)) {
		if (ioctl(v->fd, KVM_RUN, NULL)) {
			if (errno == EINTR || errno == EAGAIN) {
				/* vm_expired() inspects the vCPU. */
				while (__atomic_load_n(&v->vm->expired, __ATOMIC_RELAXED))
					pause();
				continue;
			}
			/* No guest can cause this: KVM refused. */
			fail(NULL, "KVM_RUN of vCPU %u: %s", v->index, strerror(errno));
			_exit(VM_FAILED);
		}
		switch (v->run->exit_reason) {
		case KVM_EXIT_DIRTY_RING_FULL:
			vcpu_ring_full(v);
			break;
		case KVM_EXIT_HLT:
			vcpu_rest(v);
			break;
		default:
			vm_broken(v);
		}
	}
	return NULL;
}

/* -- The device writes and marks at the guest's pace */

static __u64 all_stamps(const struct vm *vm)
{
	unsigned int i;
	__u64 n = 0;

	for (i = 0; i < vm->nr_vcpus; i++)
		n += vm_stamps(vm, i);
	return n;
}

static void device_write(struct vm *vm, __u64 number)
{
	unsigned long first = vm->nr_pages - vm->config.device_pages;
	unsigned long blocks = vm->config.device_pages / DEVICE_BLOCK;
	unsigned long page = first + number * 37 % blocks * DEVICE_BLOCK;
	unsigned long i;
	int err;

	for (i = 0; i < DEVICE_BLOCK; i++)
		memset(vm->memory + (page + i) * VM_PAGE_SIZE, number + 1, VM_PAGE_SIZE);
	err = harvest_mark(&vm->harvest, VM_SLOT, page, DEVICE_BLOCK);
	if (err) {
		fail(NULL, "can't mark pages that the device wrote: %s", strerror(-err));
		_exit(VM_FAILED);
	}
	vm->device_writes += DEVICE_BLOCK;
}

static void *device_thread(void *arg)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	struct vm *vm = arg;
	__u64 written = 0;
	bool quit = false;

	while (!quit) {
		nanosleep(&nap, NULL);
		pthread_mutex_lock(&vm->lock);
		while (vm->pause && !vm->quit) {
			vm->device_paused = true;
			pthread_cond_broadcast(&vm->changed);
			pthread_cond_wait(&vm->changed, &vm->lock);
		}
		vm->device_paused = false;
		quit = vm->quit;
		pthread_mutex_unlock(&vm->lock);

		/* One block at a time: it must notice a pause. */
		if (!quit && written * 100 < all_stamps(vm) * vm->config.device_share) {
			device_write(vm, written / DEVICE_BLOCK);
			written += DEVICE_BLOCK;
		}
	}
	return NULL;
}

/* -- Start, pause, end */

int vm_start(struct vm *vm)
{
	struct sigaction action = { .sa_handler = kick };
	unsigned int i;

	sigaction(SIGUSR1, &action, NULL);
	vm->pause = true;
	for (i = 0; i < vm->nr_vcpus; i++) {
		if (pthread_create(&vm->vcpus[i].thread, NULL, vcpu_thread, &vm->vcpus[i]))
			return fail(NULL, "can't start the thread of vCPU %u", i);
		vm->vcpus[i].started = true;
	}
	if (vm->config.device_share) {
		if (pthread_create(&vm->device, NULL, device_thread, vm))
			return fail(NULL, "can't start the device's thread");
		vm->device_started = true;
	}
	return 0;
}

void vm_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->pause = false;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

static bool all_paused(const struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpus[i].started && !vm->vcpus[i].paused)
			return false;
	}
	return !vm->device_started || vm->device_paused;
}

static void kick_vcpu(struct vm_vcpu *v)
{
	v->run->immediate_exit = 1;
	if (v->started)
		pthread_kill(v->thread, SIGUSR1);
}

static void kick_all(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->nr_vcpus; i++)
		kick_vcpu(&vm->vcpus[i]);
	pthread_cond_broadcast(&vm->changed);
}

void vm_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->pause = true;
	kick_all(vm);
	while (!all_paused(vm))
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
}

int vm_unplug(struct vm *vm, unsigned int vcpu)
{
	struct vm_vcpu *v = &vm->vcpus[vcpu];
	int err;

	pthread_mutex_lock(&vm->lock);
	v->unplugged = true;
	kick_vcpu(v);
	pthread_cond_broadcast(&vm->changed);
	while (v->started && !v->paused)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);

	err = harvest_unplug(&vm->harvest, vcpu);
	return err ? fail(NULL, "can't unmap the ring of vCPU %u: %s", vcpu,
			  strerror(-err)) : 0;
}

int vm_plug(struct vm *vm, unsigned int vcpu)
{
	int err = harvest_plug(&vm->harvest, vcpu, vm->vcpus[vcpu].fd);

	if (err)
		return fail(NULL, "can't map the ring of vCPU %u again: %s", vcpu,
			    strerror(-err));
	pthread_mutex_lock(&vm->lock);
	vm->vcpus[vcpu].unplugged = false;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

void vm_expired(struct vm *vm)
{
	int code = VM_FAILED;
	unsigned int i;

	__atomic_store_n(&vm->expired, true, __ATOMIC_RELAXED);
	kick_all(vm);
	sleep(2);
	for (i = 0; i < vm->nr_vcpus; i++) {
		struct vm_vcpu *v = &vm->vcpus[i];
		struct kvm_regs regs;

		/* This blocks if the vCPU is stuck in KVM. */
		alarm(5);
		if (!v->started || ioctl(v->fd, KVM_GET_REGS, &regs))
			continue;
		fprintf(stderr, "%s  vCPU %u: rip 0x%llx, state %u, %u stamps\n",
			fail_prefix, i, regs.rip, vm->params->vcpu[i].state, vm_stamps(vm, i));
		if (emulator_broke(0, regs.rip) && !vm->lost)
			code = EMULATOR_FAULT;
	}
	_exit(code);
}

/* -- State */

struct state_part {
	unsigned long get, set;
	size_t offset;
	const char *name;
};

#define STATE_PART(what, member)						\
	{ KVM_GET_##what, KVM_SET_##what,				\
	  offsetof(struct vm_vcpu_state, member), #what }

/* In this order: the others depend on the mode in SREGS. */
static const struct state_part state_parts[] = {
	STATE_PART(SREGS, sregs),
	STATE_PART(REGS, regs),
	STATE_PART(FPU, fpu),
	STATE_PART(DEBUGREGS, debugregs),
	STATE_PART(MP_STATE, mp_state),
	STATE_PART(VCPU_EVENTS, events),
	{ }
};

int vm_save(struct vm *vm, unsigned int vcpu, struct vm_vcpu_state *state)
{
	unsigned int i;

	memset(state, 0, sizeof(*state));
	for (i = 0; state_parts[i].name; i++) {
		if (ioctl(vm->vcpus[vcpu].fd, state_parts[i].get,
			  (char *)state + state_parts[i].offset))
			return fail(NULL, "KVM_GET_%s of vCPU %u: %s",
				    state_parts[i].name, vcpu, strerror(errno));
	}
	return 0;
}

int vm_load(struct vm *vm, unsigned int vcpu, const struct vm_vcpu_state *state)
{
	unsigned int i;

	for (i = 0; state_parts[i].name; i++) {
		if (ioctl(vm->vcpus[vcpu].fd, state_parts[i].set,
			  (char *)state + state_parts[i].offset))
			return fail("source and destination need the same kind of CPU",
				    "KVM_SET_%s of vCPU %u: %s",
				    state_parts[i].name, vcpu, strerror(errno));
	}
	return 0;
}

/* The state after a boot loader: protected mode, flat segments */
static int vcpu_reset(struct vm *vm, unsigned int vcpu)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
		.db = 1, .s = 1, .g = 1,
	};
	struct kvm_segment data = code;
	unsigned int *stack = (unsigned int *)(vm->memory + GUEST_STACK_TOP(vcpu));
	struct vm_vcpu_state state;

	if (vm_save(vm, vcpu, &state))
		return -1;

	data.selector = 16;
	data.type = 3;
	state.sregs.cs = code;
	state.sregs.ds = data;
	state.sregs.es = data;
	state.sregs.fs = data;
	state.sregs.gs = data;
	state.sregs.ss = data;
	state.sregs.cr0 |= 1;		/* PE */

	/* worker(params, vcpu), without a return address */
	stack[0] = 0;
	stack[1] = GUEST_PARAMS_GPA;
	stack[2] = vcpu;
	memset(&state.regs, 0, sizeof(state.regs));
	state.regs.rip = GUEST_CODE_GPA;
	state.regs.rsp = GUEST_STACK_TOP(vcpu);
	state.regs.rflags = 2;
	return vm_load(vm, vcpu, &state);
}

/* -- Creation */

static void load_guest(struct vm *vm)
{
	const struct vm_config *c = &vm->config;
	unsigned long i, words = vm->config.memory / sizeof(__u64);
	__u64 *word = (__u64 *)vm->memory;

	/* A page that never arrives differs from one that did. */
	for (i = 0; i < words; i++)
		word[i] = i * 0x9e3779b97f4a7c15ull;
	memcpy(vm->memory + GUEST_CODE_GPA, guest_image, guest_image_end - guest_image);
	guest_setup(vm->params, c->nr_vcpus, c->memory, c->device_pages, c->hot,
		    c->workload, GUEST_REST_HLT, c->spin, c->seed);
}

static int create_vcpu(struct vm *vm, unsigned int index)
{
	struct vm_vcpu *v = &vm->vcpus[index];
	int err;

	v->vm = vm;
	v->index = index;
	v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
	if (v->fd < 0)
		return fail(NULL, "KVM_CREATE_VCPU %u: %s", index, strerror(errno));
	v->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return fail(NULL, "can't map vCPU %u: %s", index, strerror(errno));
	}
	vm->nr_vcpus++;
	err = harvest_add_vcpu(&vm->harvest, v->fd);
	if (err)
		return fail(NULL, "can't map the ring of vCPU %u: %s", index, strerror(-err));
	return 0;
}

/* bitmap | per-vcpu[+N] | POLICY[+nostop[+N]] */
int vm_parse_mode(struct vm_config *config, const char *mode)
{
	const char *part = strchrnul(mode, '+');
	size_t length = part - mode;
	char *end;

	if (!length || length >= KVM_DIRTY_RING_POLICY_NAME_MAX)
		return fail("see migrate --help", "'%s' is no mode", mode);
	memset(config->policy, 0, sizeof(config->policy));
	config->nostop = false;
	config->threads = 0;
	if (length == 6 && !strncmp(mode, "bitmap", length)) {
		config->tracker = HARVEST_BITMAP;
	} else if (length == 8 && !strncmp(mode, "per-vcpu", length)) {
		config->tracker = HARVEST_RINGS;
	} else {
		config->tracker = HARVEST_POOL;
		memcpy(config->policy, mode, length);
	}
	if (config->tracker == HARVEST_POOL && !strncmp(part, "+nostop", 7)) {
		config->nostop = true;
		config->threads = 1;
		part += 7;
	}
	if (*part == '+') {
		config->threads = strtoul(part + 1, &end, 10);
		part = end;
	}
	if (*part || config->threads > HARVEST_MAX_THREADS ||
	    (config->nostop && !config->threads))
		return fail("see migrate --help", "'%s' is no mode", mode);
	return 0;
}

static const char *harvest_mend(int err)
{
	switch (err) {
	case -ENOTSUP:
		return "this needs a kernel with the dirty ring pool";
	case -ENOENT:
		return "name a policy that KVM has, or load its module";
	case -E2BIG:
	case -EINVAL:
		return "choose another ring size: a power of two, 256 to 65536 entries";
	}
	return NULL;
}

int vm_create(struct vm *vm, const struct vm_config *config, bool load)
{
	struct harvest_config harvest = {
		.tracker = config->tracker,
		.ring_bytes = config->ring_entries * sizeof(struct kvm_dirty_gfn),
		.nostop = config->nostop,
		.policy = config->policy[0] ? config->policy : NULL,
		.threads = config->threads,
		.period_ms = config->period_ms,
		.dirty = set_dirty,
		.all_dirty = set_all_dirty,
		.arg = vm,
	};
	struct kvm_userspace_memory_region region = {
		.slot = VM_SLOT,
		.memory_size = config->memory,
	};
	unsigned int i;
	int err;

	memset(vm, 0, sizeof(*vm));
	vm->config = *config;
	vm->nr_pages = config->memory / VM_PAGE_SIZE;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	vm->fd = -1;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return fail("load kvm_amd or kvm_intel; be root, or in the group kvm",
			    "can't open /dev/kvm: %s", strerror(errno));
	vm->run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return fail(NULL, "KVM_CREATE_VM: %s", strerror(errno));
	/* Intel CPUs need some pages of their own below 4 GiB. */
	ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000);

	vm->memory = mmap(NULL, config->memory, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	vm->dirty = calloc(vm->nr_pages / 8 / sizeof(long) + 1, sizeof(long));
	if (vm->memory == MAP_FAILED || !vm->dirty) {
		vm->memory = NULL;
		return fail("give the guest less memory",
			    "no %lu bytes for the guest", config->memory);
	}
	vm->params = (struct guest_params *)(vm->memory + GUEST_PARAMS_GPA);

	harvest.vm_fd = vm->fd;
	err = harvest_init(&vm->harvest, &harvest);
	if (err)
		return fail(harvest_mend(err), "can't track dirty pages this way: %s",
			    strerror(-err));
	region.userspace_addr = (unsigned long)vm->memory;
	err = harvest_add_slot(&vm->harvest, &region);
	if (err)
		return fail(NULL, "KVM_SET_USER_MEMORY_REGION: %s", strerror(-err));

	if (load)
		load_guest(vm);
	for (i = 0; i < config->nr_vcpus; i++) {
		if (create_vcpu(vm, i) || (load && vcpu_reset(vm, i)))
			return -1;
	}
	return 0;
}

void vm_free(struct vm *vm)
{
	unsigned int i;

	if (vm->nr_vcpus) {
		pthread_mutex_lock(&vm->lock);
		vm->quit = true;
		kick_all(vm);
		pthread_mutex_unlock(&vm->lock);
	}
	for (i = 0; i < vm->nr_vcpus; i++) {
		struct vm_vcpu *v = &vm->vcpus[i];

		if (v->started)
			pthread_join(v->thread, NULL);
	}
	if (vm->device_started)
		pthread_join(vm->device, NULL);
	harvest_free(&vm->harvest);
	for (i = 0; i < vm->nr_vcpus; i++) {
		munmap(vm->vcpus[i].run, vm->run_size);
		close(vm->vcpus[i].fd);
	}
	if (vm->memory)
		munmap(vm->memory, vm->config.memory);
	free(vm->dirty);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	memset(vm, 0, sizeof(*vm));
	vm->fd = -1;
	vm->kvm_fd = -1;
}

/* -- The guest, as the host sees it */

unsigned int vm_stamps(const struct vm *vm, unsigned int vcpu)
{
	return __atomic_load_n(&vm->params->vcpu[vcpu].stamps, __ATOMIC_RELAXED);
}

static bool nap_until(__u64 end)
{
	const struct timespec nap = { .tv_nsec = 1000000 };

	nanosleep(&nap, NULL);
	return now_ns() < end;
}

void vm_wait_filled(struct vm *vm, unsigned int timeout_s)
{
	__u64 end = now_ns() + timeout_s * 1000000000ull;
	unsigned int i;

	for (i = 0; i < vm->nr_vcpus; i++) {
		while (__atomic_load_n(&vm->params->vcpu[i].state, __ATOMIC_ACQUIRE) <
		       GUEST_RUNNING) {
			if (nap_until(end))
				continue;
			fail(NULL, "vCPU %u has not filled its pages after %u s", i, timeout_s);
			vm_expired(vm);
		}
	}
}

unsigned long vm_check(struct vm *vm, unsigned int timeout_s)
{
	__u64 end = now_ns() + timeout_s * 1000000000ull;
	unsigned int i, asked = vm->params->check + 1;
	unsigned long bad = 0;

	__atomic_store_n(&vm->params->check, asked, __ATOMIC_RELEASE);
	for (i = 0; i < vm->nr_vcpus; i++) {
		struct guest_vcpu *g = &vm->params->vcpu[i];

		while (__atomic_load_n(&g->checked, __ATOMIC_ACQUIRE) != asked) {
			if (nap_until(end))
				continue;
			fail(NULL, "vCPU %u has not answered for %u s", i, timeout_s);
			vm_expired(vm);
		}
		if (g->bad)
			fail(NULL, "vCPU %u finds %u of its pages wrong, the first is page %u", i,
			     g->bad, g->bad_page);
		bad += g->bad;
	}
	return bad;
}
