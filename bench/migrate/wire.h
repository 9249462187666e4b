/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What source and destination say to each other, over a stream socket.
 *
 *	source				destination
 *	HELLO struct wire_hello
 *					HELLO
 *	PAGES numbers, contents		(as often as it takes)
 *	VCPU struct vm_vcpu_state	(one for each)
 *	COMPLETE
 *					READY
 *	SUMS				(if memory is to be compared)
 *					SUMS a number for each page
 *	GO
 *					RUNNING when its first vCPU ran
 *					RESULT struct wire_result
 *
 * Until it has sent GO, the guest is the source's: whatever goes wrong, the
 * source goes on with it, and the destination forgets it.  From then on it is
 * the destination's.
 *
 * Both are the same program on the same kind of machine, so structures are sent
 * as they are.
 */
#ifndef BENCH_MIGRATE_WIRE_H
#define BENCH_MIGRATE_WIRE_H

#include <sys/uio.h>

#include <linux/types.h>

#define WIRE_VERSION		1
#define WIRE_MAX_PAGES		64	/* in a message */

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_PAGES,
	WIRE_VCPU,
	WIRE_COMPLETE,
	WIRE_READY,
	WIRE_SUMS,
	WIRE_GO,
	WIRE_RUNNING,
	WIRE_RESULT,
	WIRE_NR_TYPES,
};

struct wire_message {
	__u32 magic;
	__u32 type;
	__u64 arg;		/* PAGES: how many; VCPU: which; RUNNING: when */
	__u64 bytes;		/* that follow */
};

struct wire_hello {
	__u32 version;
	__u32 nr_vcpus;
	__u64 memory;
	__u64 spare;
};

struct wire_result {
	__u64 bad;		/* pages that the guest found wrong */
	__u64 stamps;		/* made since it runs there */
	__u64 ns;		/* in this time */
};

/*
 * All of these return 0, or -1 and have said why.  Each waits no longer than
 * the time limit for the other side to read or write anything.
 */
int wire_listen(const char *path);		/* a Unix socket; returns it */
int wire_accept(int listener);
int wire_connect(const char *path);
int wire_time_limit(int fd, unsigned int seconds);

/* Send a message; iov[0] is set by it, the others are what follows. */
int wire_sendv(int fd, enum wire_type type, __u64 arg, struct iovec *iov, int n);
int wire_send(int fd, enum wire_type type, __u64 arg, void *data, size_t bytes);

/* Read what follows a message. */
int wire_readv(int fd, struct iovec *iov, int n);

/* Read a message, of any type. */
int wire_next(int fd, struct wire_message *message);

/* Read a message of this type, with exactly so much behind it. */
int wire_expect(int fd, enum wire_type type, struct wire_message *message,
		void *data, size_t bytes);

#endif /* BENCH_MIGRATE_WIRE_H */
