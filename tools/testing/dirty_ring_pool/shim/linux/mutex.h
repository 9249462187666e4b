/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_MUTEX_H
#define SHIM_MUTEX_H

#include <linux/lockdep.h>
#include <linux/types.h>

#ifdef SHIM_SCHED

struct mutex {
	int owner;
};

#define DEFINE_MUTEX(name)	struct mutex name

int sched_lock_owner(void);

static inline void mutex_init(struct mutex *lock)
{
	lock->owner = 0;
}

/* The scheduler only returns when the lock is free. */
static inline void mutex_lock(struct mutex *lock)
{
	sched_point(lock, SCHED_LOCK);
	lock->owner = sched_lock_owner();
}

static inline void mutex_unlock(struct mutex *lock)
{
	sched_point(lock, SCHED_UNLOCK);
	lock->owner = 0;
}

#else

#include <pthread.h>

struct mutex {
	pthread_mutex_t lock;
};

#define DEFINE_MUTEX(name)	\
	struct mutex name = { PTHREAD_MUTEX_INITIALIZER }
#define mutex_init(m)		pthread_mutex_init(&(m)->lock, NULL)
#define mutex_lock(m)		pthread_mutex_lock(&(m)->lock)
#define mutex_unlock(m)		pthread_mutex_unlock(&(m)->lock)

#endif

#endif
