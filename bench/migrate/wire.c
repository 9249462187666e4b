// SPDX-License-Identifier: GPL-2.0-only
/* Messages over a stream socket, see wire.h. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "vm.h"
#include "wire.h"

#define WIRE_MAGIC	0x31677264	/* "drg1" */

static const char * const type_names[WIRE_NR_TYPES] = {
	[WIRE_HELLO]	= "HELLO",
	[WIRE_PAGES]	= "PAGES",
	[WIRE_VCPU]	= "VCPU",
	[WIRE_COMPLETE]	= "COMPLETE",
	[WIRE_READY]	= "READY",
	[WIRE_SUMS]	= "SUMS",
	[WIRE_GO]	= "GO",
	[WIRE_RUNNING]	= "RUNNING",
	[WIRE_RESULT]	= "RESULT",
};

static const char *type_name(__u32 type)
{
	return type < WIRE_NR_TYPES && type_names[type] ? type_names[type] : "unknown";
}

/* Create a socket and its address. */
static int wire_socket(const char *path, struct sockaddr_un *address)
{
	int fd;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(address->sun_path))
		return fail("take a shorter one", "the path of a socket is too long: %s", path);
	memcpy(address->sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd >= 0 ? fd : fail(NULL, "no socket: %s", strerror(errno));
}

int wire_listen(const char *path)
{
	struct sockaddr_un address;
	int fd = wire_socket(path, &address);

	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1)) {
		fail(errno == EADDRINUSE ? "remove it if no one listens there" : NULL,
		     "can't listen at %s: %s", path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

int wire_accept(int listener)
{
	int fd;

	do {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		fail(NULL, "no source has connected: %s", strerror(errno));
	return fd;
}

int wire_connect(const char *path)
{
	struct sockaddr_un address;
	int fd = wire_socket(path, &address);

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		fail("start the destination first, with --listen",
		     "can't connect to %s: %s", path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

int wire_time_limit(int fd, unsigned int seconds)
{
	struct timeval time = { .tv_sec = seconds };

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)))
		return fail(NULL, "can't set a time limit: %s", strerror(errno));
	return 0;
}

/* Transfer all of it, in as many pieces as the kernel makes of it. */
static int transfer(int fd, struct iovec *iov, int n, bool out)
{
	struct msghdr header = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t done;

	while (true) {
		while (header.msg_iovlen && !header.msg_iov->iov_len) {
			header.msg_iov++;
			header.msg_iovlen--;
		}
		if (!header.msg_iovlen)
			return 0;
		done = out ? sendmsg(fd, &header, MSG_NOSIGNAL) : recvmsg(fd, &header, 0);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return fail(NULL, "the peer does not %s any more",
				    out ? "read" : "write");
		if (done < 0)
			return fail(NULL, "the connection broke: %s", strerror(errno));
		if (!done)
			return fail(NULL, "the peer has closed the connection");
		for (; done; header.msg_iov++, header.msg_iovlen--) {
			struct iovec *first = header.msg_iov;

			if ((size_t)done < first->iov_len) {
				first->iov_base = (char *)first->iov_base + done;
				first->iov_len -= done;
				break;
			}
			done -= first->iov_len;
		}
	}
}

int wire_sendv(int fd, enum wire_type type, __u64 arg, struct iovec *iov, int n)
{
	struct wire_message message = {
		.magic = WIRE_MAGIC,
		.type = type,
		.arg = arg,
	};
	int i;

	for (i = 1; i < n; i++)
		message.bytes += iov[i].iov_len;
	iov[0].iov_base = &message;
	iov[0].iov_len = sizeof(message);
	return transfer(fd, iov, n, true);
}

int wire_send(int fd, enum wire_type type, __u64 arg, void *data, size_t bytes)
{
	struct iovec iov[2] = { [1] = { .iov_base = data, .iov_len = bytes } };

	return wire_sendv(fd, type, arg, iov, 2);
}

int wire_readv(int fd, struct iovec *iov, int n)
{
	return transfer(fd, iov, n, false);
}

int wire_next(int fd, struct wire_message *message)
{
	struct iovec iov = { .iov_base = message, .iov_len = sizeof(*message) };

	if (transfer(fd, &iov, 1, false))
		return -1;
	if (message->magic != WIRE_MAGIC || !message->type ||
	    message->type >= WIRE_NR_TYPES)
		return fail("run the same version of this program on both sides",
			    "what the other side sends is no message");
	return 0;
}

int wire_expect(int fd, enum wire_type type, struct wire_message *message,
		void *data, size_t bytes)
{
	struct iovec iov = { .iov_base = data, .iov_len = bytes };
	struct wire_message own;

	if (!message)
		message = &own;
	if (wire_next(fd, message))
		return -1;
	if (message->type != type || message->bytes != bytes)
		return fail("run the same version of this program on both sides",
			    "the other side sends %s with %llu bytes, not %s with %zu",
			    type_name(message->type), message->bytes, type_name(type), bytes);
	return transfer(fd, &iov, 1, false);
}
