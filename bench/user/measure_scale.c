// SPDX-License-Identifier: GPL-2.0
/* What a claim costs as the number of rings grows. */
#include <string.h>
#include "measure.h"
#include "rival_pool.h"

#define SIZES		11	/* 1 to 1024 rings */
#define CLAIMS		512

/*
 * free		all rings are FREE
 * last		the user's ring is parked, and so are all but one
 * none		no ring is FREE, and the claim does not take reserves
 * reserve	no ring is FREE, and all reserves but one are full
 */
enum state { FREE, LAST, NONE, RESERVE, STATES };

static const char *const state_name[STATES] = {
	"free", "one free", "none free", "one reserve"
};

/* Park rings, or fill them, until one is left; returns that one. */
static u32 fill(struct pool_tracker *t, u32 leave, bool reserve)
{
	struct kvm_dirty_ring_pool *pool = &t->pool;
	u32 nr = t->tracker.nr, i, k;

	for (i = 0; i < nr; i++) {
		struct kvm_dirty_pool_user *user = &t->vcpu[i].user;
		struct kvm_dirty_pool_claim claim;

		if (i == leave && !reserve)
			continue;
		for (k = 0; k < (reserve ? (i == leave ? 1 : 2) : 1); k++) {
			/* The ring itself, whatever the policy. */
			struct kvm_dirty_pool_ring *ring = &t->ring[i];
			int word = atomic_read(&ring->word);

			claim.ring = ring;
			claim.word = word | KVM_DIRTY_POOL_CLAIMED;
			claim.first = ring->dirty_index;
			atomic_set(&ring->word, claim.word);
			if (word & KVM_DIRTY_POOL_PARKED) {
				if (!(word & KVM_DIRTY_POOL_RESERVE))
					atomic_inc(&pool->nr_reserve);
				claim.word |= KVM_DIRTY_POOL_RESERVE;
				claim.room = ring->mask + 1 -
					     kvm_dirty_pool_used(ring);
			} else {
				claim.room = ring->soft_end - ring->dirty_index;
			}
			while (claim.room)
				kvm_dirty_pool_push(&claim, BENCH_SLOT, i);
			kvm_dirty_pool_return(pool, user, &claim);
		}
	}
	return leave;
}

static void *scale_create(int policy, u32 nr, enum state state)
{
	struct pool_tracker *t = pool_create(&bench_pool[policy], nr, 128);
	u32 far = nr - 1;

	if (state == LAST && nr > 1)
		fill(t, far, false);
	if (state == NONE)
		fill(t, nr, false);
	if (state == RESERVE) {
		fill(t, nr, false);
		fill(t, far, true);
	}
	return t;
}

static double scale_slice(struct pool_tracker *t, enum state state)
{
	struct kvm_dirty_pool_user *user = &t->vcpu[0].user;
	unsigned int flags = state == RESERVE ? 0 : KVM_DIRTY_POOL_NORESERVE;
	struct kvm_dirty_pool_claim claim;
	double ns;
	int i, try;

	for (try = 0; try < TRIES; try++) {
		measure_disturbed();
		ns = bench_now();
		for (i = 0; i < CLAIMS; i++) {
			/* The user's own ring is parked: it has to search. */
			if (state != FREE)
				user->last = &t->ring[0];
			if (kvm_dirty_pool_claim(&t->pool, user, flags, &claim))
				kvm_dirty_pool_return(&t->pool, user, &claim);
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
	static double ns[BENCH_SPEC][STATES][SIZES][1024];
	static void *tracker[BENCH_SPEC][STATES][SIZES];
	int sizes = opt->quick ? 5 : SIZES, rounds = (opt->rounds + 3) / 4;
	int p, s, n, round;

	measure_pin(0);
	for (p = 0; p < BENCH_SPEC; p++) {
		for (s = 0; s < STATES; s++) {
			for (n = 0; n < sizes; n++)
				tracker[p][s][n] = scale_create(p, BIT(n), s);
		}
	}
	for (round = -1; round < rounds; round++) {
		int at = round < 0 ? 0 : round;

		for (n = 0; n < sizes; n++) {
			for (s = 0; s < STATES; s++) {
				for (p = 0; p < BENCH_SPEC; p++)
					ns[p][s][n][at] =
						scale_slice(tracker[p][s][n], s);
			}
		}
		bench_progress("6. a claim among 1 to 1024 rings", at + 1, rounds);
	}
	for (p = 0; p < BENCH_SPEC; p++) {
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
