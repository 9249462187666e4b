// SPDX-License-Identifier: GPL-2.0-only
/*
 * The threads of dirty_pool_oracle, see include/dirty_pool_workers.h.
 */
#include <signal.h>

#include "dirty_pool_workers.h"

#define HANG_S	60

struct worker workers[MAX_WORKERS + 1];
__thread struct worker *me;

static pthread_mutex_t workers_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*report_hang)(void);

static void *worker_main(void *arg)
{
	me = arg;
	me->loop(me);
	AT("its end");
	return NULL;
}

struct worker *worker_spawn(const char *kind, unsigned int id,
			    void (*loop)(struct worker *w), uint64_t *progress)
{
	struct worker *w = workers;

	while (w->live)
		w++;
	TEST_ASSERT(w < workers + MAX_WORKERS, "Too many threads");
	pthread_mutex_lock(&workers_lock);
	w->kind = kind;
	w->id = id;
	w->loop = loop;
	w->kick = NULL;
	w->what = "its start";
	w->progress = progress ?: &w->loops;
	w->seen = READ_ONCE(*w->progress);
	w->since = time(NULL);
	w->stop = false;
	w->rng = rnd(1ull << 40) + 1;
	TEST_ASSERT(!pthread_create(&w->thread, NULL, worker_main, w), "pthread_create()");
	w->live = true;
	w->signals = loop != worker_signal_loop;
	pthread_mutex_unlock(&workers_lock);
	return w;
}

void worker_join(struct worker *w)
{
	WRITE_ONCE(w->stop, true);
	pthread_mutex_lock(&workers_lock);
	w->signals = false;
	if (w->kick)
		w->kick(w);
	pthread_mutex_unlock(&workers_lock);
	me->since = time(NULL);
	AT("a thread's end");
	pthread_join(w->thread, NULL);
	pthread_mutex_lock(&workers_lock);
	w->live = false;
	pthread_mutex_unlock(&workers_lock);
}

void workers_join(void (*loop)(struct worker *w))
{
	struct worker *w;

	for (w = workers; w < workers + MAX_WORKERS; w++)
		if (w->live && w->loop == loop)
			worker_join(w);
}

void worker_signal_loop(struct worker *unused)
{
	struct worker *w;

	until_stopped() {
		nap(50 + rnd(1000));
		w = &workers[rnd(MAX_WORKERS)];
		pthread_mutex_lock(&workers_lock);
		if (w->signals)
			pthread_kill(w->thread, SIGUSR1);
		pthread_mutex_unlock(&workers_lock);
	}
}

static void *watchdog(void *unused)
{
	struct worker *w, *hangs, dog = { .kind = "watchdog" };

	for (me = &dog, hangs = NULL; !hangs; sleep(1)) {
		pthread_mutex_lock(&workers_lock);
		for (w = workers; w < workers + MAX_WORKERS; w++) {
			if (!w->live || READ_ONCE(*w->progress) != w->seen)
				w->since = time(NULL);
			if (w->live)
				w->seen = READ_ONCE(*w->progress);
			if (time(NULL) - w->since > HANG_S)
				hangs = w;
		}
		if (!hangs)
			pthread_mutex_unlock(&workers_lock);
	}
	for (w = workers; w <= workers + MAX_WORKERS; w++)
		if (w->live)
			ksft_print_msg("%s %u: waits for %s, progress %lu, for %lu s\n", w->kind,
				       w->id, READ_ONCE(w->what), w->seen, time(NULL) - w->since);
	report_hang();
	ksft_exit_fail_msg("%s %u hangs\n", hangs->kind, hangs->id);
	return NULL;
}

static void nop_signal(int sig)
{
}

void workers_init(void (*report)(void))
{
	struct sigaction sa = { .sa_handler = nop_signal };	/* no SA_RESTART */
	pthread_t dog;

	sigaction(SIGUSR1, &sa, NULL);
	me = &workers[MAX_WORKERS];
	me->kind = "first thread";
	me->live = true;
	report_hang = report;
	TEST_ASSERT(!pthread_create(&dog, NULL, watchdog, NULL), "pthread_create()");
}
