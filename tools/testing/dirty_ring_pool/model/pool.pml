/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol of virt/kvm/dirty_ring_pool.c, for spin.
 *
 * Each access to shared memory is a step, unless no other thread can tell it apart
 * from its neighbours: what only the owner of a ring reads or writes, and what
 * does not change while it is the owner.  Memory is sequentially consistent.
 *
 * Differences stand for indices, which would grow without end: used is
 * dirty_index - reset_index, soft is soft_end - dirty_index.
 *
 * A policy only decides in which order rings are tried.  The model tries them in
 * any order, which covers all policies and all switches of the policy.
 *
 * NU vCPUs make up to RSVD marks in each stay, and pass the gate before it.  NV
 * other users make marks without a gate, and NH threads reset.  There are NR rings
 * of SIZE entries with the soft limit SOFT.  Options, by -D:
 *
 * SYM		States that only differ in the names of rings or vCPUs are equal.
 * EXACT	Search and scan ring by ring.  Without it a claimant may take a
 *		FREE ring, or a reserve, at any time: a superset of what the code
 *		does, in fewer states.
 * ENTRIES	An entry is published, then harvested.  Without it a reset takes
 *		any number of entries below dirty_index: a superset of what an
 *		honest or a hostile userspace can cause.
 * FAIR		Userspace drains all rings whenever the eventfd or an exit tells
 *		it to, and at no other time.
 * VMR		The NV others are KVM's own marks: reserve, then OVERFLOW.  Without
 *		it they are KVM_MARK_DIRTY.
 * DEAD		User 0 stops forever, at some step.
 * NOGATE	The gate is open.
 * MARKS	Each user makes this number of marks.  Without it they never end.
 * NEARLY_FULL	Rings start parked, with one entry free.
 * M_*		Breaks, one at a time, that the search has to find.
 */
#ifndef NU
#define NU	3
#endif
#ifndef NV
#define NV	0
#endif
#ifndef NR
#define NR	3
#endif
#ifndef NH
#define NH	1
#endif
#ifndef SIZE
#define SIZE	2
#endif
#ifndef SOFT
#define SOFT	1
#endif
#define RSVD	(SIZE - SOFT)
#define N	(NU + NV)
#define THREADS	(N + NH)
#define NONE	NR
#define BIT(i)	(1 << (i))
#define ALL	(BIT(NR) - 1)

#define FREE	0
#define CLAIMED	1
#define PARKED	2
#define RESERVE	4

byte word[NR];			/* ring->word */
byte used[NR];			/* ring->dirty_index - ring->reset_index */
byte soft[NR] = SOFT;		/* ring->soft_end - ring->dirty_index */
bool lock[NR];			/* ring->reset_lock */
bool avail[NR] = true;		/* pool->avail */
byte nr_reserve;		/* pool->nr_reserve */
bool event;			/* the eventfd, or an exit: drain */
#ifdef ENTRIES
byte dirty[NR];			/* entries with the flag DIRTY */
byte harvested[NR];		/* entries with the flag RESET */
byte before[NH];		/* harvested before the reset was called */
#endif

/* Where a thread is, and its variables. */
mtype = {
	START, DONE, GATE, GATE_FREE,
	CLAIM, RACE, TRY, EXHAUSTED, SCAN, LOOK, FULL, TAKE, SUM, SUM_AGAIN,
	ROOM, COUNT, PUBLISH_EARLY, PUSH, PUBLISH, RETURN, PARK, NOTIFY,
	SETTLE, UNCOUNT, UNPARK, RELEASE, AGAIN, RETAKE,
	IDLE, LOCK, ENTRY, INDEX, PARKED_EMPTY, TAKE_PARKED
};
mtype pc[THREADS];
byte r[THREADS];		/* the ring, or NONE */
byte w[THREADS];		/* the ring's word when it was read */
byte n[THREADS];		/* entries: room of a claim, left to reset */
byte left[N];			/* marks left in this stay */
bool res[N];			/* user->reserve */
#ifdef MARKS
byte marks[N] = MARKS;
#endif
#ifdef EXACT
byte tried[N];
bool busy[N], second[N], exhausted[N], failed[N];
#endif

/* For assertions, not in the code: */
byte owners[NR];
byte rsv[NR];			/* entries pushed while parked */
byte owed[NR];			/* threads that will still look whether it is empty */
bool want[N];			/* looks for room */
bool no_room[N];		/* and at some time there was none */
byte finished;
bool dead;
#ifdef LIVE
bool pushed;			/* by the last step */
#endif
#ifdef EXACT
byte watch[N];			/* rings in the first sum, but not in the second */
bool changed[N];		/* one of them was reset in between */
byte missed[N];			/* entries reset between LOOK and FULL */
#endif

#define parked(i)	((word[i] & (CLAIMED | PARKED)) == PARKED)
#if NR == 3
#define each(x, op)	(x(0) op x(1) op x(2))
#elif NR == 2
#define each(x, op)	(x(0) op x(1))
#else
#define each(x, op)	(x(0))
#endif
#define is_full(i)	(used[i] == SIZE)
#define is_avail(i)	avail[i]
/* Not parked, or being freed */
#define is_open(i)	(!(word[i] & PARKED) || (owners[i] && !used[i]))
#define is_drained(i)	(rsv[i] == 0)
#define vcpu(t)		(t < NU)
#ifdef VMR
#define noreserve(t)	false
#else
#define noreserve(t)	(!vcpu(t))
#endif
#ifdef M_UNPARK_EARLY
#define drained(i)	(used[i] <= 1)
#else
#define drained(i)	(used[i] == 0)
#endif

/* pool_take() after its condition, and pool_release() */
inline own(i, bits)
{
	word[i] = word[i] | CLAIMED | bits;
	owners[i]++;
	assert(owners[i] == 1)
}

inline disown(i, bits)
{
	owners[i]--;
	word[i] = bits
}

/*
 * A mark is lost if all rings are full when it is made.  The reserves suffice for
 * vCPUs that pass the gate, unless users without a gate take them.
 */
inline look_full()
{
	if
	:: each(is_full, &&) ->
		for (i : 0 .. N - 1) {
			no_room[i] = no_room[i] || want[i];
#if !defined(VMR) && !defined(NOGATE)
			assert(!no_room[i] || noreserve(i))
#endif
		}
		i = 0
	:: else
	fi
}

/* The last thread that looks must not leave a ring parked and empty. */
inline looked(t)
{
	owed[r[t]]--;
	assert(owed[r[t]] || used[r[t]] || !parked(r[t]))
}

inline start_mark(t)
{
	want[t] = true;
	look_full();
#ifdef EXACT
	pc[t] = TRY
#else
	pc[t] = CLAIM
#endif
}

inline enter(t)
{
#ifdef MARKS
	if
	:: marks[t] == 0 -> pc[t] = DONE; finished++
	:: else -> left[t] = RSVD; start_mark(t)
	fi
#else
	left[t] = RSVD;
	start_mark(t)
#endif
}

inline end_mark(t)
{
	r[t] = NONE;
	w[t] = 0;
	n[t] = 0;
#ifdef MARKS
	if
	:: marks[t] == 0 -> left[t] = 0
	:: else
	fi;
#endif
	if
	:: left[t] -> start_mark(t)
	:: true ->
		left[t] = 0;
		if
		:: res[t] && vcpu(t) ->
			/* The vCPU exits until the gate is open */
			event = true;
#ifdef NOGATE
			res[t] = false;
			enter(t)
#else
			pc[t] = GATE
#endif
		:: else -> enter(t)
		fi
	fi
}

/* Claimed as FREE */
inline claimed(t)
{
	own(r[t], 0);
#ifdef M_BATCH_OVER_LIMIT
	n[t] = SIZE - used[r[t]];
#else
	n[t] = soft[r[t]];
#endif
	claim_over(t)
}

inline claim_over(t)
{
#ifdef EXACT
	tried[t] = 0; busy[t] = false; second[t] = false; exhausted[t] = false;
	failed[t] = false; watch[t] = 0; changed[t] = false;
#endif
#ifdef M_PUBLISH_EARLY
	pc[t] = PUBLISH_EARLY
#else
	pc[t] = PUSH
#endif
}

#ifdef EXACT
inline next_in_scan(t)
{
	tried[t] = tried[t] | BIT(r[t]);
	r[t] = NONE;
	w[t] = 0;
	n[t] = 0;
	if
	:: tried[t] != ALL -> pc[t] = SCAN
	:: else ->
		tried[t] = 0;
		if
		:: busy[t] -> restart(t)
		:: !busy[t] && !second[t] ->
#ifdef M_SCAN_ONCE
			lose(t)
#else
			second[t] = true;
			pc[t] = SUM
#endif
		:: !busy[t] && second[t] -> pc[t] = SUM_AGAIN
		fi
	fi
}

inline restart(t)
{
	busy[t] = false; second[t] = false; watch[t] = 0; changed[t] = false;
	pc[t] = TRY
}

/* pool_overflow(): only if there was no room */
inline lose(t)
{
	second[t] = false; exhausted[t] = false; failed[t] = false;
	watch[t] = 0; changed[t] = false;
	assert(no_room[t]);

	res[t] = true;
	want[t] = false;
	no_room[t] = false;
	left[t]--;
	end_mark(t)
}
#endif

/* After pool_settle() */
#define NO_MORE		0
#define TELL		1
#define SCAN_ON		2

inline settled(t)
{
	if
	:: t >= N -> reset_over(t)
	:: t < N && n[t] == TELL -> pc[t] = NOTIFY
#ifdef EXACT
	:: t < N && n[t] == SCAN_ON -> next_in_scan(t)
#else
	:: t < N && n[t] == SCAN_ON ->
		n[t] = 0; w[t] = 0; r[t] = NONE; pc[t] = CLAIM
#endif
	:: t < N && n[t] == NO_MORE -> end_mark(t)
	fi
}

inline reset_over(t)
{
	w[t] = 0;
	n[t] = 0;
	lock[r[t]] = false;
#ifdef FAIR
	if
	:: r[t] + 1 < NR -> r[t]++; pc[t] = LOCK
	:: else -> r[t] = NONE; pc[t] = IDLE
	fi
#else
	r[t] = NONE;
	pc[t] = IDLE
#endif
}

inline reset_entry(t)
{
	assert(used[r[t]]);
	used[r[t]]--;
	n[t]--;
#ifdef ENTRIES
	if
	:: before[t - N] -> before[t - N]--
	:: else
	fi;
#endif
	if
	:: rsv[r[t]] > used[r[t]] -> rsv[r[t]] = used[r[t]]
	:: else
	fi;
#ifdef EXACT
	for (i : 0 .. N - 1) {
		changed[i] = changed[i] || (watch[i] & BIT(r[t]));
		missed[i] = missed[i] + (pc[i] == FULL && r[i] == r[t] && missed[i] < SIZE)
	}
	i = 0;
#endif
	pc[t] = ENTRY
}

inline choose(t)
{
	if
	:: r[t] = 0
#if NR > 1
	:: r[t] = 1
#endif
#if NR > 2
	:: r[t] = 2
#endif
	fi
}

#ifdef M_RESERVE_TWICE
#define has_reserve(i)	(word[i] & PARKED)
#else
#define has_reserve(i)	parked(i)
#endif
#define claimable(t, i)	(word[i] == FREE || (!noreserve(t) && has_reserve(i)))

inline choose_claimable(t)
{
	if
	:: claimable(t, 0) -> r[t] = 0
#if NR > 1
	:: claimable(t, 1) -> r[t] = 1
#endif
#if NR > 2
	:: claimable(t, 2) -> r[t] = 2
#endif
	:: else
	fi
}

inline choose_untried(t)
{
	if
	:: !(tried[t] & 1) -> r[t] = 0
#if NR > 1
	:: !(tried[t] & 2) -> r[t] = 1
#endif
#if NR > 2
	:: !(tried[t] & 4) -> r[t] = 2
#endif
	fi
}

/* One step of a thread, or none if it has to wait. */
inline step(t)
{
	if
	:: pc[t] == START && t < N -> enter(t)
	:: pc[t] == START && t >= N -> pc[t] = IDLE

	/* kvm_dirty_pool_gate() */
#ifdef M_GATE_FREE_ONLY
	:: pc[t] == GATE -> pc[t] = GATE_FREE
#else
	:: pc[t] == GATE && !nr_reserve ->
#ifndef M_RESERVE_NOT_COUNTED
		assert(each(is_drained, &&));
#endif
		pc[t] = GATE_FREE
#endif
	:: pc[t] == GATE_FREE ->
		if
#ifndef M_GATE_RESERVE_ONLY
		:: !each(is_avail, ||) -> pc[t] = GATE
#endif
		:: else ->
			assert(each(is_open, ||));
			res[t] = false;
			enter(t)
		fi

#ifndef EXACT
	/* pool_claim(), without the search: any ring that is available */
	:: pc[t] == CLAIM ->
		choose_claimable(t);
		if
		:: r[t] == NONE
#ifdef M_CLAIM_NOT_ATOMIC
		:: r[t] != NONE && word[r[t]] == FREE -> pc[t] = RACE
#else
		:: r[t] != NONE && word[r[t]] == FREE -> claimed(t)
#endif
		:: r[t] != NONE && word[r[t]] != FREE ->
			w[t] = word[r[t]] & ~CLAIMED;
			own(r[t], RESERVE);
			pc[t] = ROOM
		fi
	:: pc[t] == RACE -> claimed(t)
#else
	/* pool_search(), in any order */
	:: pc[t] == TRY ->
		choose_untried(t);
		if
		:: word[r[t]] == FREE -> claimed(t)
		:: else ->
#ifndef M_WAITS_FOR_RING
			tried[t] = tried[t] | BIT(r[t]);
#endif
			r[t] = NONE;
			if
			:: tried[t] == ALL -> tried[t] = 0; pc[t] = EXHAUSTED
			:: else
			fi
		fi
	/* kvm_dirty_pool_exhausted(), and its consequence */
	:: pc[t] == EXHAUSTED ->
		if
		:: !each(is_avail, ||) -> exhausted[t] = true
		:: else
		fi;
		if
		:: noreserve(t) ->
			/* EAGAIN, and a new call; or another search */
			exhausted[t] = false;
			pc[t] = TRY
		:: !noreserve(t) && (exhausted[t] || failed[t]) -> pc[t] = SCAN
		:: else -> failed[t] = true; pc[t] = TRY
		fi
	/* pool_scan_reserve(), in any order */
	:: pc[t] == SCAN ->
		choose_untried(t);
		w[t] = word[r[t]];
		if
		:: parked(r[t]) -> pc[t] = LOOK
		:: else -> busy[t] = true; next_in_scan(t)
		fi
	/* kvm_dirty_pool_used(): reset_index, then dirty_index */
	:: pc[t] == LOOK -> missed[t] = 0; pc[t] = FULL
	:: pc[t] == FULL ->
		if
		:: used[r[t]] + missed[t] >= SIZE -> missed[t] = 0; next_in_scan(t)
		:: else -> missed[t] = 0; pc[t] = TAKE
		fi
	:: pc[t] == TAKE ->
		if
#ifdef M_RESERVE_TWICE
		:: true ->
#else
		:: word[r[t]] == w[t] ->
#endif
			own(r[t], RESERVE); pc[t] = ROOM
		:: else -> busy[t] = true; next_in_scan(t)
		fi
	/* pool_resets(), ring by ring */
	:: pc[t] == SUM ->
		choose_untried(t);
		watch[t] = watch[t] | BIT(r[t]);
		tried[t] = tried[t] | BIT(r[t]);
		r[t] = NONE;
		if
		:: tried[t] == ALL -> tried[t] = 0; pc[t] = SCAN
		:: else
		fi
	:: pc[t] == SUM_AGAIN ->
		choose_untried(t);
		watch[t] = watch[t] & ~BIT(r[t]);
		tried[t] = tried[t] | BIT(r[t]);
		r[t] = NONE;
		if
		:: tried[t] == ALL ->
			tried[t] = 0;
			if
			:: changed[t] -> restart(t)
			:: else -> lose(t)
			fi
		:: else
		fi
#endif

	/* A reserve, as its owner */
	:: pc[t] == ROOM ->
		if
		:: used[r[t]] == SIZE -> n[t] = SCAN_ON; pc[t] = SETTLE
		:: else -> n[t] = SIZE - used[r[t]]; pc[t] = COUNT
		fi
	:: pc[t] == COUNT ->
		res[t] = true;
#ifndef M_RESERVE_NOT_COUNTED
		if
		:: !(w[t] & RESERVE) -> nr_reserve++
		:: else
		fi;
#endif
		w[t] = 0;
		claim_over(t)

	/* kvm_dirty_pool_push() */
#if defined(ENTRIES) && defined(M_PUBLISH_EARLY)
	:: pc[t] == PUBLISH_EARLY -> dirty[r[t]]++; pc[t] = PUSH
#endif
	:: pc[t] == PUSH ->
		assert(n[t] && used[r[t]] < SIZE);
		used[r[t]]++;
		if
		:: word[r[t]] & PARKED -> rsv[r[t]]++
		:: else -> soft[r[t]]--; assert(used[r[t]] <= SOFT)
		fi;
		n[t]--;
		left[t]--;
		want[t] = false;
		no_room[t] = false;
#ifdef MARKS
		marks[t]--;
#endif
#ifdef LIVE
		pushed = true;
#endif
		look_full();
#if defined(ENTRIES) && !defined(M_PUBLISH_EARLY)
		pc[t] = PUBLISH
	:: pc[t] == PUBLISH ->
		dirty[r[t]]++;
#endif
		if
#ifdef MARKS
		:: n[t] && left[t] && marks[t] -> claim_over(t)
#else
		:: n[t] && left[t] -> claim_over(t)
#endif
		:: true -> n[t] = 0; pc[t] = RETURN
		fi

	/* kvm_dirty_pool_return() */
	:: pc[t] == RETURN ->
		if
		:: word[r[t]] & PARKED ->
			w[t] = word[r[t]] & ~CLAIMED;
			n[t] = NO_MORE;
			settle(t)
#ifndef M_PARK_FORGOTTEN
		:: !(word[r[t]] & PARKED) && !soft[r[t]] ->
			/* It reads reset_index */
			soft[r[t]] = SOFT - used[r[t]];
			if
			:: soft[r[t]] -> skip
			:: else -> pc[t] = PARK
			fi
#endif
		:: else -> disown(r[t], FREE); end_mark(t)
		fi
	:: pc[t] == PARK ->
#ifndef M_STAYS_AVAILABLE
		avail[r[t]] = false;
#endif
		w[t] = PARKED;
		n[t] = TELL;
		pc[t] = SETTLE
	:: pc[t] == NOTIFY ->
#ifndef M_PARK_SILENT
		event = true;
#endif
		end_mark(t)

	/* pool_settle() */
	:: pc[t] == SETTLE -> settle(t)
	:: pc[t] == UNCOUNT ->
#ifndef M_RESERVE_NOT_COUNTED
		assert(nr_reserve);
		nr_reserve--;
#endif
		pc[t] = UNPARK
	:: pc[t] == UNPARK -> disown(r[t], FREE); settled(t)
	:: pc[t] == RELEASE ->
		disown(r[t], w[t]);
		owed[r[t]]++;
		pc[t] = AGAIN
	:: pc[t] == AGAIN ->
		if
#ifndef M_PARK_MISSES_RESET
		:: !used[r[t]] -> pc[t] = RETAKE
#endif
		:: else -> looked(t); settled(t)
		fi
	:: pc[t] == RETAKE ->
		if
		:: word[r[t]] == w[t] -> own(r[t], 0); looked(t); pc[t] = SETTLE
		:: else -> looked(t); settled(t)
		fi

	/* Userspace, and pool_reset_ring() */
#ifdef ENTRIES
	:: pc[t] == IDLE ->
		choose(t);
		if
		:: dirty[r[t]] -> dirty[r[t]]--; harvested[r[t]]++
		:: else
		fi;
		r[t] = NONE
#endif
#ifdef FAIR
	:: pc[t] == IDLE && event -> event = false; r[t] = 0; pc[t] = LOCK
#else
	:: pc[t] == IDLE -> choose(t); reset_begin(t)
#endif
	:: pc[t] == LOCK -> reset_begin(t)
	:: pc[t] == ENTRY ->
		if
#ifdef ENTRIES
		:: n[t] && harvested[r[t]] -> harvested[r[t]]--; pc[t] = INDEX
		:: else ->
			assert(!before[t - N]);
#elif defined(M_RESET_TRUSTS)
		:: n[t] = 1; reset_entry(t)
		:: true ->
#elif defined(FAIR)
		:: n[t] -> reset_entry(t)
		:: else ->
#else
		:: n[t] -> reset_entry(t)
		:: true ->
#endif
			/* pool_settle_reset() */
			n[t] = 0;
			w[t] = word[r[t]];
			if
#ifdef M_RESET_WAITS
			:: word[r[t]] & CLAIMED
#endif
#ifndef M_RESET_MISSES_PARK
			:: parked(r[t]) -> pc[t] = PARKED_EMPTY
#endif
			:: else -> looked(t); reset_over(t)
			fi
		fi
	:: pc[t] == INDEX -> reset_entry(t)
	:: pc[t] == PARKED_EMPTY ->
		if
		:: drained(r[t]) -> pc[t] = TAKE_PARKED
		:: else -> looked(t); reset_over(t)
		fi
	:: pc[t] == TAKE_PARKED ->
		if
		:: word[r[t]] == w[t] -> own(r[t], 0); looked(t); pc[t] = SETTLE
		:: else -> looked(t); reset_over(t)
		fi
	:: else
	fi
}

inline reset_begin(t)
{
	if
	:: lock[r[t]] -> pc[t] = LOCK
	:: else ->
		lock[r[t]] = true;
		owed[r[t]]++;
		n[t] = used[r[t]];
#ifdef ENTRIES
		before[t - N] = harvested[r[t]];
#endif
		pc[t] = ENTRY
	fi
}

/* The final read of the index, and the first step of pool_free_parked() */
inline settle(t)
{
	if
	:: drained(r[t]) ->
#ifndef M_SOFT_NOT_MOVED
		soft[r[t]] = SOFT;
#endif
#ifndef M_STAYS_UNAVAILABLE
		avail[r[t]] = true;
#endif
		if
#ifndef M_NEVER_UNCOUNTED
		:: word[r[t]] & RESERVE -> pc[t] = UNCOUNT
#endif
		:: else -> pc[t] = UNPARK
		fi
	:: else -> pc[t] = RELEASE
	fi
}

inline begin()
{
	for (i : 0 .. THREADS - 1) {
		pc[i] = START;
		r[i] = NONE
	}
#ifdef NEARLY_FULL
	for (i : 0 .. NR - 1) {
		word[i] = PARKED | RESERVE;
		used[i] = SIZE;
		rsv[i] = RSVD;
		soft[i] = 0;
		avail[i] = false
	}
	nr_reserve = NR - 1;
	word[0] = PARKED;
	used[0] = SOFT;
	rsv[0] = 0;
#endif
	i = 0
}

#ifdef SYM
inline select_thread(t)
{
	if
	:: t = 0
#if THREADS > 1
	:: t = 1
#endif
#if THREADS > 2
	:: t = 2
#endif
#if THREADS > 3
	:: t = 3
#endif
#if THREADS > 4
	:: t = 4
#endif
	fi
}

#define swap(what)	x = what[i]; what[i] = what[i + 1]; what[i + 1] = x

#define swap_bits(set)	x = (set >> i) & 3; \
	set = (set & ~(3 << i)) | (((x & 1) << 1 | x >> 1) << i)

inline ring_key(key, i)
{
	key = word[i] + 8 * used[i] + 64 * soft[i] + 512 * owed[i] + 2048 * lock[i] +
		4096 * avail[i] + 8192 * rsv[i];
	for (j : 0 .. THREADS - 1) {
		key = key + (r[j] == i -> 32768 * pc[j] + 3000000 * n[j] : 0)
	}
}

#define user_key(i) \
	(pc[i] + 64 * r[i] + 512 * w[i] + 8192 * n[i] + 65536 * left[i] + \
	 524288 * res[i] + 1048576 * no_room[i] + more_key(i))
#ifdef EXACT
#define more_key(i) \
	(2097152 * tried[i] + 16777216 * watch[i] + 134217728 * changed[i] + \
	 268435456 * (busy[i] + second[i] + exhausted[i] + failed[i]))
#else
#define more_key(i)	0
#endif

/* Of all states that only differ in names, keep the sorted one. */
inline normalise()
{
	d_step {
		for (k : 0 .. NR - 2) {
		for (i : 0 .. NR - 2) {
			ring_key(a, i);
			ring_key(b, (i + 1));
			if
			:: a > b ->
				swap(word); swap(used); swap(soft); swap(lock);
				swap(avail); swap(owners); swap(rsv); swap(owed);
#ifdef ENTRIES
				swap(dirty); swap(harvested);
#endif
				for (j : 0 .. THREADS - 1) {
					r[j] = (r[j] == i -> i + 1 :
						(r[j] == i + 1 -> i : r[j]))
				}
#ifdef EXACT
				for (j : 0 .. N - 1) {
					swap_bits(tried[j]);
					swap_bits(watch[j])
				}
#endif
			:: else
			fi
		}
		}
		for (k : 0 .. NU - 2) {
		for (i : 0 .. NU - 2) {
			if
			:: user_key(i) > user_key((i + 1)) ->
				swap(pc); swap(r); swap(w); swap(n); swap(left);
				swap(res); swap(want); swap(no_room);
#ifdef MARKS
				swap(marks);
#endif
#ifdef EXACT
				swap(tried); swap(busy); swap(second);
				swap(exhausted); swap(failed); swap(watch);
				swap(changed); swap(missed);
#endif
			:: else
			fi
		}
		}
		a = 0; b = 0; x = 0; i = 0; j = 0; k = 0
	}
}

active proctype threads()
{
	byte t, i, j, k;
	int x, a, b;

	atomic {
		begin()
	};
	do
	:: atomic {
		select_thread(t);
		step(t);
		normalise();
		t = 0
	}
	od
}
#else
proctype thread(byte t)
{
	byte i;

	do
	:: atomic { !(dead && t == 0) ->
#ifdef LIVE
		pushed = false;
#endif
		step(t)
	}
	:: dead && t == 0 -> break
	od
}

#ifdef DEAD
active proctype stop()
{
	dead = true
}
#endif

init {
	byte i;

	atomic {
		begin();
		for (i : 0 .. THREADS - 1) {
			run thread(i)
		}
		i = 0
	}
}
#endif

#ifdef LIVE
ltl goes_on { [] <> pushed }
#endif
#if defined(MARKS) && !defined(SYM)
ltl all_done { <> (finished == N) }
#endif
