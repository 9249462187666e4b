// SPDX-License-Identifier: GPL-2.0-only
/*
 * The source: pre-copy.
 *
 * All memory is sent while the guest runs, then the pages dirtied in that time,
 * and so on.  When the rest can be sent within the allowed downtime, or after the
 * last round, the guest is stopped and the rest is sent.
 *
 * A harvest sets bits in vm->dirty (see vm.c); the source clears a bit and then
 * reads the page.  A bit is set only after the page is write-protected again, so
 * a write after the page was read sets it again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migrate.h"

#define BITS_PER_LONG	(8 * sizeof(long))

struct batch {
	struct migration *m;
	__u64 start_ns;		/* of the round, for the bandwidth */
	__u64 bytes;		/* sent since then */
	__u64 numbers[WIRE_MAX_PAGES];
	struct iovec iov[2 + WIRE_MAX_PAGES];
	unsigned int nr;
};

static void sleep_until(__u64 ns)
{
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static int flush(struct batch *b)
{
	struct migration *m = b->m;
	__u64 bytes;

	if (!b->nr)
		return 0;
	b->iov[1].iov_base = b->numbers;
	b->iov[1].iov_len = b->nr * sizeof(b->numbers[0]);
	if (wire_sendv(m->fd, WIRE_PAGES, b->nr, b->iov, 2 + b->nr))
		return -1;

	bytes = sizeof(struct wire_message) + b->nr * (sizeof(b->numbers[0]) + VM_PAGE_SIZE);
	b->bytes += bytes;
	m->bytes_sent += bytes;
	m->pages_sent += b->nr;
	b->nr = 0;
	if (m->config.bandwidth)
		sleep_until(b->start_ns + b->bytes * 1000000000 / m->config.bandwidth);
	return 0;
}

static int send_page(struct batch *b, unsigned long page)
{
	b->numbers[b->nr] = page;
	b->iov[2 + b->nr].iov_base = b->m->vm->memory + page * VM_PAGE_SIZE;
	b->iov[2 + b->nr].iov_len = VM_PAGE_SIZE;
	b->nr++;
	return b->nr == WIRE_MAX_PAGES ? flush(b) : 0;
}

/* One pass over memory.  Returns the bytes that it sent, or -1. */
static long send_dirty(struct migration *m)
{
	unsigned long word, words = m->vm->nr_pages / BITS_PER_LONG + 1;
	struct batch b = { .m = m, .start_ns = now_ns() };

	for (word = 0; word < words; word++) {
		unsigned long bits = 0;

		if (__atomic_load_n(&m->vm->dirty[word], __ATOMIC_RELAXED))
			bits = __atomic_exchange_n(&m->vm->dirty[word], 0, __ATOMIC_ACQ_REL);
		for (; bits; bits &= bits - 1) {
			if (send_page(&b, word * BITS_PER_LONG + __builtin_ctzl(bits)))
				return -1;
		}
	}
	return flush(&b) ? -1 : (long)b.bytes;
}

static __u64 count_dirty(const struct vm *vm)
{
	unsigned long word;
	__u64 n = 0;

	for (word = 0; word < vm->nr_pages / BITS_PER_LONG + 1; word++)
		n += __builtin_popcountl(__atomic_load_n(&vm->dirty[word], __ATOMIC_RELAXED));
	return n;
}

static int harvest_round(struct migration *m)
{
	int err = harvest_all(&m->vm->harvest);

	return err ? fail(NULL, "can't harvest dirty pages: %s", strerror(-err)) : 0;
}

static int one_round(struct migration *m)
{
	__u64 start = now_ns();
	long sent;

	sent = send_dirty(m);
	if (sent < 0 || harvest_round(m))
		return -1;
	m->rounds++;
	m->round_ns = now_ns() - start;
	m->round_bytes = sent;
	m->left = count_dirty(m->vm);
	/* Only a round that sent something tells how long the rest takes. */
	m->expected_ns = sent ? m->left * VM_PAGE_SIZE * m->round_ns / sent : 0;
	return m->on_round ? m->on_round(m, m->arg) : 0;
}

static int compare_memory(struct migration *m)
{
	size_t bytes = m->vm->nr_pages * sizeof(__u64);
	__u64 *sums = malloc(bytes);
	unsigned long page;
	int ret = -1;

	if (!sums)
		return fail(NULL, "no memory for the checksums");
	if (!wire_send(m->fd, WIRE_SUMS, 0, NULL, 0) &&
	    !wire_expect(m->fd, WIRE_SUMS, NULL, sums, bytes))
		ret = 0;
	for (page = 0; !ret && page < m->vm->nr_pages; page++) {
		if (migrate_sum(m->vm->memory + page * VM_PAGE_SIZE) == sums[page])
			continue;
		m->vm->lost = true;
		if (!m->unequal++)
			fail(NULL, "page %lu differs at the destination", page);
	}
	free(sums);
	return ret;
}

/* Up to the point of no return, with the guest paused */
static int send_rest(struct migration *m, __u64 told_ns)
{
	struct vm_vcpu_state state;
	struct wire_message running;
	__u64 go_ns, pages = m->pages_sent;
	unsigned int i;

	if (harvest_round(m) || send_dirty(m) < 0)
		return -1;
	m->last_pages = m->pages_sent - pages;
	for (i = 0; i < m->vm->nr_vcpus; i++) {
		if (vm_save(m->vm, i, &state) ||
		    wire_send(m->fd, WIRE_VCPU, i, &state, sizeof(state)))
			return -1;
		m->bytes_sent += sizeof(struct wire_message) + sizeof(state);
	}
	if (wire_send(m->fd, WIRE_COMPLETE, 0, NULL, 0) ||
	    wire_expect(m->fd, WIRE_READY, NULL, NULL, 0))
		return -1;
	m->downtime_ns = now_ns() - told_ns;
	m->total_ns = now_ns() - m->start_ns;

	if (m->config.verify && compare_memory(m))
		return -1;
	if (m->unequal)
		return fail(NULL, "%llu pages differ at the destination", m->unequal);

	go_ns = now_ns();
	if (wire_send(m->fd, WIRE_GO, 0, NULL, 0))
		return -1;
	/*
	 * From here on the guest must not run here, whatever happens.  Both
	 * sides read the same clock: they are on one machine.
	 */
	if (!wire_expect(m->fd, WIRE_RUNNING, &running, NULL, 0)) {
		m->downtime_ns += running.arg - go_ns;
		m->total_ns += running.arg - go_ns;
	}
	return 0;
}

static int greet(struct migration *m)
{
	struct wire_hello hello = {
		.version = WIRE_VERSION,
		.nr_vcpus = m->vm->nr_vcpus,
		.memory = m->vm->config.memory,
	};

	if (wire_time_limit(m->fd, m->config.patience_s) ||
	    wire_send(m->fd, WIRE_HELLO, 0, &hello, sizeof(hello)))
		return -1;
	return wire_expect(m->fd, WIRE_HELLO, NULL, &hello, sizeof(hello));
}

int migrate_out(struct migration *m)
{
	struct vm *vm = m->vm;
	__u64 told_ns;
	unsigned int i;
	int ret, err;

	if (greet(m))
		return -1;

	m->start_ns = now_ns();
	for (i = 0; i < vm->nr_vcpus; i++)
		m->stamps[i] = vm_stamps(vm, i);
	err = harvest_start(&vm->harvest);
	if (err)
		return fail(NULL, "can't log dirty pages: %s", strerror(-err));
	memset(vm->dirty, 0xff, vm->nr_pages / 8);

	do {
		ret = one_round(m);
	} while (!ret && m->rounds < m->config.max_rounds &&
		 m->expected_ns > m->config.downtime_ms * 1000000ull);

	if (!ret) {
		told_ns = now_ns();
		vm_pause(vm);
		m->stop_ns = now_ns() - told_ns;
		m->run_ns = told_ns - m->start_ns;
		for (i = 0; i < vm->nr_vcpus; i++)
			m->stamps[i] = (__u32)(vm_stamps(vm, i) - m->stamps[i]);
		ret = send_rest(m, told_ns);
	}

	err = harvest_stop(&vm->harvest);
	if (err && !ret)
		fail(NULL, "can't stop logging dirty pages: %s", strerror(-err));
	if (ret) {
		vm_resume(vm);
		return -1;
	}
	/* The guest runs there for a while, then checks its pages. */
	if (wire_time_limit(m->fd, 3 * m->config.patience_s + m->config.after_ms / 1000) ||
	    wire_expect(m->fd, WIRE_RESULT, NULL, &m->result, sizeof(m->result)))
		return fail(NULL, "the guest was handed over; its fate is unknown");
	vm->lost = m->result.bad;
	return 0;
}
