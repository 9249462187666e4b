// SPDX-License-Identifier: GPL-2.0
/* What a claim costs as the number of rings grows. */
#include "measure.h"
#include "rival_pool.h"

#define SIZES		11	/* 1 to 1024 rings */
#define CLAIMS		512

/*
 * free		all rings are FREE
 * one free	all rings but the last are parked, the user's own included
 * none free	no ring is FREE, and the claim does not take reserves
 * one reserve	no ring is FREE, and only the last ring's reserve has room.  The
 *		first claim of a stay in the guest, so the user has no hint
 * no reserve	all rings are full: a mark would be lost
 */
enum state { FREE, LAST, NONE, RESERVE, FULL, STATES };

static const char *const state_name[STATES] = {
	"free", "one free", "none free", "one reserve", "no reserve"
};

/* Push into a ring behind the policy's back, until it is parked or full. */
static void fill(struct pool_tracker *t, u32 i)
{
	struct kvm_dirty_pool_ring *ring = &t->ring[i];
	struct kvm_dirty_pool *pool = &t->pool;
	struct kvm_dirty_pool_claim claim = {
		.ring = ring,
		.word = atomic_read(&ring->word) | KVM_DIRTY_POOL_CLAIMED,
		.first = ring->dirty_index,
	};

	if (claim.word & KVM_DIRTY_POOL_PARKED) {
		claim.word |= KVM_DIRTY_POOL_RESERVE;
		claim.room = ring->mask + 1 - kvm_dirty_pool_used(ring);
		atomic_inc(&pool->nr_reserve);
	} else {
		claim.room = ring->soft_end - ring->dirty_index;
	}
	atomic_set(&ring->word, claim.word);
	while (claim.room)
		kvm_dirty_pool_push(&claim, BENCH_SLOT, i);
	kvm_dirty_pool_return(pool, &t->vcpu[i].user, &claim);
}

static void *scale_create(int policy, u32 nr, enum state state)
{
	struct pool_tracker *t = pool_create(&bench_pool[policy], nr, 128);
	u32 parked = 0, full = 0, i;

	if (state == LAST)
		parked = nr - 1;
	if (state >= NONE)
		parked = nr;
	if (state >= RESERVE)
		full = state == FULL ? nr : nr - 1;
	for (i = 0; i < parked; i++)
		fill(t, i);
	for (i = 0; i < full; i++)
		fill(t, i);
	return t;
}

static double scale_slice(struct pool_tracker *t, enum state state)
{
	struct kvm_dirty_pool_user *user = &t->vcpu[0].user;
	unsigned int flags = state < RESERVE ? KVM_DIRTY_POOL_NORESERVE : 0;
	bool expected = state != NONE && state != FULL;
	struct kvm_dirty_pool_claim claim;
	int i, try, warm = t->tracker.nr;
	double ns = 0;

	for (try = 0; try < TRIES; try++) {
		measure_disturbed();
		/* Warm the cache with all that a claim looks at. */
		for (i = -warm; i < CLAIMS; i++) {
			bool claimed;

			if (!i)
				ns = bench_now();
			/* The user's own ring is parked: force a search. */
			if (state != FREE)
				user->last = &t->ring[0];
			/* The gate leaves no hint behind. */
			if (state == RESERVE)
				user->home = 0;
			claimed = kvm_dirty_pool_claim(&t->pool, user, flags,
						       &claim);
			if (claimed)
				kvm_dirty_pool_return(&t->pool, user, &claim);
			if (unlikely(claimed != expected))
				bench_warnings++;
		}
		ns = bench_now() - ns;
		bench_slices++;
		if (!measure_disturbed())
			break;
		bench_disturbed++;
	}
	return ns / CLAIMS;
}

void measure_scale(const struct bench_options *opt)
{
	static double ns[BENCH_MAX_POLICIES][STATES][SIZES][MAX_ROUNDS];
	static void *tracker[BENCH_MAX_POLICIES][STATES][SIZES];
	int sizes = opt->quick ? 5 : SIZES, rounds = (opt->rounds + 3) / 4;
	int p, s, n, round;

	measure_pin(0);
	for (p = 0; p < bench_nr_policies; p++) {
		for (s = 0; s < STATES; s++) {
			for (n = 0; n < sizes; n++)
				tracker[p][s][n] = scale_create(p, BIT(n), s);
		}
	}
	for (round = -1; round < rounds; round++) {
		int at = round < 0 ? 0 : round;

		/* What is compared is measured back to back. */
		for (p = 0; p < bench_nr_policies; p++) {
			for (s = 0; s < STATES; s++) {
				for (n = 0; n < sizes; n++)
					ns[p][s][n][at] =
						scale_slice(tracker[p][s][n], s);
			}
		}
		bench_progress("6. a claim among 1 to 1024 rings", at + 1, rounds);
	}
	for (p = 0; p < bench_nr_policies; p++) {
		for (s = 0; s < STATES; s++) {
			for (n = 0; n < sizes; n++) {
				bench_begin(opt->out, "scale");
				bench_text(opt->out, "rival", bench_pool[p].name);
				bench_text(opt->out, "state", state_name[s]);
				bench_number(opt->out, "rings", BIT(n));
				bench_values(opt->out, "ns", ns[p][s][n], rounds);
				bench_end(opt->out);
				pool_destroy(tracker[p][s][n]);
			}
		}
	}
}
