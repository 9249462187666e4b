/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The messages between source and destination, over a stream socket.
 *
 *	source				destination
 *	HELLO struct wire_hello
 *					HELLO
 *	PAGES numbers, contents		(repeated)
 *	VCPU struct vm_vcpu_state	(one for each vCPU)
 *	COMPLETE
 *					READY
 *	SUMS				(if memory is to be compared)
 *					SUMS a checksum for each page
 *	GO
 *					RUNNING when its first vCPU ran
 *					RESULT struct wire_result
 *
 * The source owns the guest until it sends GO: if anything goes wrong, the source
 * keeps running it and the destination drops it.  From then on the destination
 * owns it.
 *
 * Both sides are the same program on the same kind of machine, so structures are
 * sent as they are.
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
	__u64 arg;		/* PAGES: number; VCPU: index; RUNNING: time */
	__u64 bytes;		/* of the payload */
};

struct wire_hello {
	__u32 version;
	__u32 nr_vcpus;
	__u64 memory;
	__u64 spare;
};

struct wire_result {
	__u64 bad;		/* pages that the guest found wrong */
	__u64 stamps;		/* made at the destination */
	__u64 ns;		/* time in which they were made */
};

/*
 * All return 0, or print the reason and return -1.  None waits for the peer
 * longer than the time limit.
 */
int wire_listen(const char *path);		/* a Unix socket; returns it */
int wire_accept(int listener);
int wire_connect(const char *path);
int wire_time_limit(int fd, unsigned int seconds);

/* Send a message: fills iov[0], the others are the payload. */
int wire_sendv(int fd, enum wire_type type, __u64 arg, struct iovec *iov, int n);
int wire_send(int fd, enum wire_type type, __u64 arg, void *data, size_t bytes);

/* Read the payload of a message. */
int wire_readv(int fd, struct iovec *iov, int n);

/* Read a message of any type, without its payload. */
int wire_next(int fd, struct wire_message *message);

/* Read a message of this type with a payload of exactly this size. */
int wire_expect(int fd, enum wire_type type, struct wire_message *message,
		void *data, size_t bytes);

#endif /* BENCH_MIGRATE_WIRE_H */
