// SPDX-License-Identifier: GPL-2.0-only
/*
 * The destination: receives memory and vCPUs, and runs the guest when the source
 * has handed it over.  It checks all it receives: that is another process's data.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migrate.h"

__u64 migrate_sum(const void *page)
{
	const __u64 *word = page;
	__u64 sum = 0xcbf29ce484222325ull;
	unsigned int i;

	for (i = 0; i < VM_PAGE_SIZE / sizeof(*word); i++) {
		sum = (sum ^ word[i]) * 0x9e3779b97f4a7c15ull;
		sum ^= sum >> 32;
	}
	return sum;
}

static int take_pages(int fd, struct vm *vm, const struct wire_message *message)
{
	__u64 numbers[WIRE_MAX_PAGES];
	struct iovec iov[WIRE_MAX_PAGES];
	unsigned int i, n = message->arg;

	if (!n || message->arg > WIRE_MAX_PAGES ||
	    message->bytes != n * (sizeof(numbers[0]) + VM_PAGE_SIZE))
		return fail(NULL, "the source sent %llu pages in %llu bytes", message->arg,
			    message->bytes);
	iov[0].iov_base = numbers;
	iov[0].iov_len = n * sizeof(numbers[0]);
	if (wire_readv(fd, iov, 1))
		return -1;
	for (i = 0; i < n; i++) {
		if (numbers[i] >= vm->nr_pages)
			return fail(NULL, "the source sent page %llu of %lu", numbers[i],
				    vm->nr_pages);
		iov[i].iov_base = vm->memory + numbers[i] * VM_PAGE_SIZE;
		iov[i].iov_len = VM_PAGE_SIZE;
	}
	return wire_readv(fd, iov, n);
}

static int take_vcpu(int fd, struct vm *vm, const struct wire_message *message)
{
	struct vm_vcpu_state state;
	struct iovec iov = { .iov_base = &state, .iov_len = sizeof(state) };

	if (message->arg >= vm->nr_vcpus || message->bytes != sizeof(state))
		return fail(NULL, "the source sent vCPU %llu of %u in %llu bytes",
			    message->arg, vm->nr_vcpus, message->bytes);
	if (wire_readv(fd, &iov, 1))
		return -1;
	return vm_load(vm, message->arg, &state);
}

static int send_sums(int fd, const struct vm *vm)
{
	__u64 *sums = malloc(vm->nr_pages * sizeof(*sums));
	unsigned long page;
	int ret;

	if (!sums)
		return fail(NULL, "no memory for the checksums");
	for (page = 0; page < vm->nr_pages; page++)
		sums[page] = migrate_sum(vm->memory + page * VM_PAGE_SIZE);
	ret = wire_send(fd, WIRE_SUMS, 0, sums, vm->nr_pages * sizeof(*sums));
	free(sums);
	return ret;
}

static int greet(int fd, const struct vm_config *c)
{
	struct wire_hello hello;

	if (wire_expect(fd, WIRE_HELLO, NULL, &hello, sizeof(hello)))
		return -1;
	if (hello.version != WIRE_VERSION || hello.nr_vcpus != c->nr_vcpus ||
	    hello.memory != c->memory)
		return fail("give both sides the same options",
			    "the source has version %u, %u vCPUs and %llu bytes; not %u, %u and %lu",
			    hello.version, hello.nr_vcpus, hello.memory, WIRE_VERSION,
			    c->nr_vcpus, c->memory);
	return 0;
}

static int run(int fd, struct vm *vm, const struct migrate_config *config)
{
	struct timespec after = {
		.tv_sec = config->after_ms / 1000,
		.tv_nsec = config->after_ms % 1000 * 1000000,
	};
	const struct timespec nap = { .tv_nsec = 100000 };
	struct wire_result result = { };
	__u64 first = 0, start;
	unsigned int i;

	for (i = 0; i < vm->nr_vcpus; i++)
		result.stamps -= vm_stamps(vm, i);
	start = now_ns();
	vm_resume(vm);
	while (!first) {
		for (i = 0; i < vm->nr_vcpus; i++) {
			__u64 ran = __atomic_load_n(&vm->vcpus[i].first_run_ns,
						    __ATOMIC_RELAXED);

			if (ran && (!first || ran < first))
				first = ran;
		}
		nanosleep(&nap, NULL);
	}
	if (wire_send(fd, WIRE_RUNNING, first, NULL, 0))
		return -1;

	while (nanosleep(&after, &after) && errno == EINTR)
		;
	for (i = 0; i < vm->nr_vcpus; i++)
		result.stamps += vm_stamps(vm, i);
	result.ns = now_ns() - start;
	result.bad = vm_check(vm, config->patience_s);
	return wire_send(fd, WIRE_RESULT, 0, &result, sizeof(result));
}

int migrate_in(int fd, struct vm *vm, const struct vm_config *vm_config,
	       const struct migrate_config *config)
{
	struct wire_hello hello = {
		.version = WIRE_VERSION,
		.nr_vcpus = vm_config->nr_vcpus,
		.memory = vm_config->memory,
	};
	struct wire_message message;
	int ret;

	if (wire_time_limit(fd, config->patience_s) || greet(fd, vm_config) ||
	    vm_create(vm, vm_config, false) ||
	    wire_send(fd, WIRE_HELLO, 0, &hello, sizeof(hello)))
		return -1;

	do {
		ret = wire_next(fd, &message);
		if (ret)
			break;
		switch (message.type) {
		case WIRE_PAGES:
			ret = take_pages(fd, vm, &message);
			break;
		case WIRE_VCPU:
			ret = take_vcpu(fd, vm, &message);
			break;
		case WIRE_COMPLETE:
			ret = vm->vcpus[0].started ?
			      fail(NULL, "the source sent COMPLETE twice") : vm_start(vm);
			if (!ret)
				ret = wire_send(fd, WIRE_READY, 0, NULL, 0);
			break;
		case WIRE_SUMS:
			ret = send_sums(fd, vm);
			break;
		case WIRE_GO:
			if (vm->vcpus[0].started)
				return run(fd, vm, config);
			ret = fail(NULL, "the source sent GO before COMPLETE");
			break;
		default:
			ret = fail(NULL, "the source sent message %u", message.type);
		}
	} while (!ret);
	return -1;
}
