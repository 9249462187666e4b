// SPDX-License-Identifier: GPL-2.0-only
/*
 * dirty_pool_bench - compare KVM's ways of tracking dirty pages
 *
 * Measures {dirty bitmap, a dirty ring per vCPU, a pool of the same rings under
 * each policy} x workloads x numbers of vCPUs.  A round is each combination
 * once, so a machine that slows down during a run slows down all of them.  Each
 * measurement is a line on standard output and a JSON object in a file.
 *
 * Exits with 1 if a page was written and not reported dirty.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"

#include "dirty_pool_util.h"
#include "dirty_pool_bench.h"

#define MAX_MODES		32
#define MAX_LIST		16

/* Stands for the pool where one policy is enough. */
#define MAIN_POLICY		"emptiest"

static struct bench_mode modes[MAX_MODES];
static unsigned int nr_modes;
static enum bench_workload workloads[BENCH_NR_WORKLOADS];
static unsigned int nr_workloads;
static unsigned int vcpus[MAX_LIST];
static unsigned int nr_vcpus;
static unsigned int runs = 3;
static struct bench_cell base = {
	.pages = 8192,
	.passes = 2,
	.faults = 200,
	.period_ms = 100,
	.timeout_s = 60,
	.seed = 1,
};

static void __noreturn help(const char *argv0, int code)
{
	fprintf(code ? stderr : stdout,
		"usage: %s [option...]\n"
		"  --modes LIST      of bitmap, per-vcpu, and pool policies: NAME, or\n"
		"                    NAME+nostop (default: the baselines, each built-in\n"
		"                    policy, and " MAIN_POLICY "+nostop)\n"
		"  --workloads LIST  of uniform, skewed, vm-scoped, burst, reset\n"
		"                    (default: all)\n"
		"  --vcpus LIST      (default: 1,2,4,8)\n"
		"  --runs N          rounds of all measurements (default: %u)\n"
		"  --pages N         pages written in a pass, by all vCPUs together (default: %u)\n"
		"  --passes N        passes in a measurement (default: %u)\n"
		"  --faults N        of each kind, timed by reset for each order (default: %u)\n"
		"  --ring-size N     bytes of a ring (default: the smallest with 3/4 of its\n"
		"                    entries below the soft limit)\n"
		"  --period MS       of the reaper (default: %u)\n"
		"  --seed N          for the order of the writes (default: %u)\n"
		"  --timeout S       for one measurement (default: %u)\n"
		"  --output FILE     for the JSON lines\n",
		argv0, runs, base.pages, base.passes, base.faults,
		base.period_ms, base.seed, base.timeout_s);
	exit(code);
}

static __printf(1, 2) void __noreturn die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "dirty_pool_bench: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(2);
}

static unsigned int to_uint(const char *what, const char *s)
{
	char *end;
	unsigned long n = strtoul(s, &end, 0);

	if (*end || !*s || n > INT_MAX)
		die("%s: '%s' is not a number", what, s);
	return n;
}

/* -- What to measure */

static void add_mode(const char *name)
{
	struct bench_mode *mode = &modes[nr_modes];
	const char *plus = strchr(name, '+');

	if (nr_modes == MAX_MODES || strlen(name) >= BENCH_NAME_MAX)
		die("too many modes, or the name is too long: %s", name);

	memcpy(mode->name, name, strlen(name));
	if (!strcmp(name, "bitmap")) {
		mode->tracker = BENCH_BITMAP;
	} else if (!strcmp(name, "per-vcpu")) {
		mode->tracker = BENCH_PER_VCPU;
	} else {
		mode->tracker = BENCH_POOL;
		if (plus && strcmp(plus, "+nostop"))
			die("mode '%s': the only flag of a policy is +nostop", name);
		mode->nostop = plus;
		memcpy(mode->policy, name, plus ? plus - name : strlen(name));
	}
	nr_modes++;
}

static void add_default_modes(void)
{
	unsigned int i;

	add_mode("bitmap");
	add_mode("per-vcpu");
	for (i = 0; i < ARRAY_SIZE(dirty_pool_policies); i++)
		add_mode(dirty_pool_policies[i]);
	add_mode(MAIN_POLICY "+nostop");
}

static void add_workload(const char *name)
{
	unsigned int i;

	for (i = 0; i < BENCH_NR_WORKLOADS; i++) {
		if (strcmp(name, bench_workload_names[i]))
			continue;
		if (nr_workloads == BENCH_NR_WORKLOADS)
			die("workload named twice: %s", name);
		workloads[nr_workloads++] = i;
		return;
	}
	die("no such workload: %s", name);
}

static void add_vcpus(const char *s)
{
	unsigned int n = to_uint("--vcpus", s);

	if (!n || n > BENCH_MAX_VCPUS || nr_vcpus == MAX_LIST)
		die("--vcpus: %s is not between 1 and %u, or the list is too long", s,
		    BENCH_MAX_VCPUS);
	vcpus[nr_vcpus++] = n;
}

/* Calls @fn with each word of @list, which commas or blanks separate. */
#define for_each_word(list, fn)						\
do {									\
	char *copy = strdup(list), *word, *save;			\
									\
	for (word = strtok_r(copy, ", ", &save); word;			\
	     word = strtok_r(NULL, ", ", &save))			\
		fn(word);						\
	free(copy);							\
} while (0)

/* A reset does not depend on the policy: measure one. */
static bool is_reset_pool(const struct bench_mode *mode)
{
	const char *name = NULL;
	unsigned int i;

	for (i = 0; i < nr_modes; i++) {
		if (modes[i].tracker == BENCH_POOL &&
		    (!name || !strcmp(modes[i].name, MAIN_POLICY)))
			name = modes[i].name;
	}
	return name && !strcmp(mode->name, name);
}

static bool cell_makes_sense(const struct bench_cell *cell, unsigned int run)
{
	/* Always two vCPUs and two threads. */
	if (cell->workload == BENCH_RESET)
		return cell->nr_vcpus == vcpus[0] &&
		       (cell->mode.tracker == BENCH_PER_VCPU ||
			is_reset_pool(&cell->mode));
	/* There is no skew with one vCPU. */
	if (cell->workload == BENCH_SKEWED)
		return cell->nr_vcpus > 1;
	/* A bitmap never fills up.  The count is the same in each round. */
	if (cell->workload == BENCH_BURST)
		return cell->mode.tracker != BENCH_BITMAP && !run;
	return true;
}

static void drop_unsupported_modes(bool asked_for)
{
	unsigned int i, n = 0;

	for (i = 0; i < nr_modes; i++) {
		if (bench_mode_supported(&modes[i]))
			modes[n++] = modes[i];
		else if (asked_for ||
			 (modes[i].tracker == BENCH_POOL && dirty_pool_max_size()))
			die("this kernel does not have %s", modes[i].name);
		else
			printf("%s: not supported by this kernel, left out\n",
			       modes[i].name);
	}
	nr_modes = n;
	if (!nr_modes)
		die("nothing left to measure");
}

static bool read_param(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "r");
	bool ok = f && fgets(buf, size, f);

	if (f)
		fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	else
		buf[0] = '\0';
	return ok;
}

static bool param_is_set(const char *path)
{
	char buf[64];

	return read_param(path, buf, sizeof(buf)) && (buf[0] == 'Y' || buf[0] == '1');
}

/* The parameter exists wherever kvm_intel does, also where it is not in use. */
static bool has_pml(void)
{
	return host_cpu_is_intel &&
	       param_is_set("/sys/module/kvm_intel/parameters/pml");
}

/*
 * KVM reserves 64 entries, and with PML as many more as the processor's log has.
 */
static unsigned int default_ring_bytes(void)
{
	unsigned int rsvd = 64, bytes = getpagesize();

	if (has_pml())
		rsvd += 512;
	while (bytes / sizeof(struct kvm_dirty_gfn) < 4 * rsvd)
		bytes *= 2;
	return bytes;
}

/* -- Results */

static void print_env(FILE *f)
{
	struct utsname uts;
	char clock[64];

	if (!f)
		return;
	uname(&uts);
	read_param("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		   clock, sizeof(clock));
	fprintf(f, "{\"type\": \"env\", \"kernel\": \"%s\", \"build\": \"%s\", ",
		uts.release, uts.version);
	fprintf(f, "\"cpus\": %ld, \"vendor\": \"%s\", \"pml\": %s, ",
		sysconf(_SC_NPROCESSORS_ONLN),
		host_cpu_is_intel ? "Intel" : "AMD", has_pml() ? "true" : "false");
	fprintf(f, "\"tdp_mmu\": %s, \"prefault\": %s, \"clocksource\": \"%s\", ",
		param_is_set("/sys/module/kvm/parameters/tdp_mmu") ? "true" : "false",
		kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY) ? "true" : "false", clock);
	fprintf(f, "\"runs\": %u, \"pages\": %u, \"passes\": %u, ", runs,
		base.pages, base.passes);
	fprintf(f, "\"ring_bytes\": %u, \"period_ms\": %u, \"seed\": %u}\n",
		base.ring_bytes, base.period_ms, base.seed);
	fflush(f);
}

static const char * const trackers[] = { "bitmap", "per-vcpu", "pool" };

static void print_u64(FILE *f, const char *name, u64 value)
{
	fprintf(f, ", \"%s\": %lu", name, value);
}

static void print_json(FILE *f, unsigned int run, const struct bench_cell *cell,
		       const struct bench_result *res, unsigned int repeats)
{
	unsigned int i;

	if (!f)
		return;
	fprintf(f, "{\"type\": \"cell\", \"run\": %u, \"workload\": \"%s\", ", run,
		bench_workload_names[cell->workload]);
	fprintf(f, "\"vcpus\": %u, \"mode\": \"%s\", \"tracker\": \"%s\", ",
		cell->nr_vcpus, cell->mode.name, trackers[cell->mode.tracker]);
	fprintf(f, "\"policy\": \"%s\", \"nostop\": %s", cell->mode.policy,
		cell->mode.nostop ? "true" : "false");
	print_u64(f, "rings", cell->mode.tracker == BENCH_BITMAP ?
			      0 : cell->nr_vcpus);
	print_u64(f, "ring_bytes", cell->ring_bytes);
	print_u64(f, "soft_limit", res->soft_limit);
	print_u64(f, "emulator_faults", repeats);
	print_u64(f, "writes", res->writes);
	print_u64(f, "marks", res->marks);
	print_u64(f, "lost", res->lost);
	print_u64(f, "write_ns", res->write_ns);
	print_u64(f, "total_ns", res->total_ns);
	print_u64(f, "ring_full_exits", res->ring_full_exits);
	print_u64(f, "parked_exits", res->parked_exits);
	print_u64(f, "exhausted_exits", res->exhausted_exits);
	print_u64(f, "still_ns", res->still_ns);
	print_u64(f, "active_ns", res->active_ns);
	print_u64(f, "harvests", res->harvests);
	print_u64(f, "harvests_by_vcpu", res->harvests_by_vcpu);
	print_u64(f, "harvest_ns", res->harvest_ns);
	print_u64(f, "reset_ns", res->reset_ns);
	print_u64(f, "device_writes", res->device_writes);
	print_u64(f, "device_mark_ns", res->device_mark_ns);
	print_u64(f, "device_eagain", res->device_eagain);
	print_u64(f, "device_wait_ns", res->device_wait_ns);
	if (cell->mode.tracker == BENCH_POOL) {
		print_u64(f, "wakeups", res->wakeups);
		print_u64(f, "claims", res->claims);
		print_u64(f, "claim_retries", res->claim_retries);
		print_u64(f, "reserve_claims", res->reserve_claims);
		print_u64(f, "parks", res->parks);
		print_u64(f, "drains", res->drains);
		print_u64(f, "exhaustions", res->exhaustions);
		print_u64(f, "overflows", res->overflows);
		print_u64(f, "pushed", res->pushed);
		print_u64(f, "moves", res->moves);
	}
	fprintf(f, ", \"per_vcpu\": [");
	for (i = 0; i < cell->nr_vcpus; i++) {
		const struct bench_vcpu_result *v = &res->vcpu[i];

		fprintf(f, "%s{\"writes\": %lu", i ? ", " : "", v->writes);
		print_u64(f, "active_ns", v->active_ns);
		print_u64(f, "still_ns", v->still_ns);
		print_u64(f, "ring_full_exits", v->ring_full_exits);
		fprintf(f, "}");
	}
	fprintf(f, "]}\n");
	fflush(f);
}

static void print_faults(FILE *f, const char *name, const struct bench_faults *faults)
{
	unsigned int i;

	fprintf(f, ", \"%s\": [", name);
	for (i = 0; i < faults->nr; i++)
		fprintf(f, "%s%u", i ? ", " : "", faults->ns[i]);
	fprintf(f, "]");
}

static void print_reset(FILE *f, unsigned int run, const struct bench_cell *cell,
			const struct bench_result *res, unsigned int repeats)
{
	unsigned int i, t;

	if (!f)
		return;
	for (i = 0; i < BENCH_NR_PATTERNS; i++) {
		const struct bench_reset_result *r = &res->reset[i];

		fprintf(f, "{\"type\": \"reset\", \"run\": %u, \"mode\": \"%s\", ", run,
			cell->mode.name);
		fprintf(f, "\"tracker\": \"%s\", \"pattern\": \"%s\"",
			trackers[cell->mode.tracker], bench_pattern_names[i]);
		print_u64(f, "emulator_faults", i ? 0 : repeats);
		for (t = 0; t < 2; t++) {
			print_u64(f, t ? "pages_2" : "pages_1", r->time[t].pages);
			print_u64(f, t ? "ns_2" : "ns_1", r->time[t].ns);
		}
		print_u64(f, "bare_pages", r->bare.pages);
		print_u64(f, "bare_ns", r->bare.ns);
		print_u64(f, "write_locks", r->write_locks);
		print_faults(f, "protected_ns", &r->faults[BENCH_PROTECTED]);
		print_faults(f, "idle_protected_ns", &r->idle_faults[BENCH_PROTECTED]);
		print_faults(f, "unmapped_ns", &r->faults[BENCH_UNMAPPED]);
		print_faults(f, "idle_unmapped_ns", &r->idle_faults[BENCH_UNMAPPED]);
		fprintf(f, "}\n");
	}
	fflush(f);
}

static void print_reset_progress(unsigned int n, unsigned int total, u64 ms,
				 const struct bench_cell *cell,
				 const struct bench_result *res)
{
	unsigned int i;

	printf("[%3u/%u] reset     2 vCPUs %-18s", n, total, cell->mode.name);
	for (i = 0; i < BENCH_NR_PATTERNS; i++)
		printf(" %s %.0f, %.0f;", bench_pattern_names[i],
		       res->reset[i].time[0].pages * 1e6 / res->reset[i].time[0].ns,
		       res->reset[i].time[1].pages * 1e6 / res->reset[i].time[1].ns);
	printf(" pages/ms by 1, 2 threads  (%.1f s)\n", ms / 1000.0);
	fflush(stdout);
}

static void print_progress(unsigned int n, unsigned int total, u64 ms,
			   const struct bench_cell *cell,
			   const struct bench_result *res)
{
	printf("[%3u/%u] %-9s %u vCPU%s %-18s ", n, total,
	       bench_workload_names[cell->workload], cell->nr_vcpus,
	       cell->nr_vcpus > 1 ? "s" : " ", cell->mode.name);
	if (cell->workload == BENCH_BURST)
		printf("%7lu pages before it must stop", res->writes);
	else
		printf("%7.0f pages/s, still %4.1f %%",
		       res->writes * 1e9 / res->write_ns,
		       res->still_ns * 100.0 / res->active_ns);
	printf(", %3lu ring-full exits, lost %lu  (%.1f s)\n",
	       res->ring_full_exits, res->lost, ms / 1000.0);
	fflush(stdout);
}

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/* Cell @i of round @run. */
static bool select_cell(struct bench_cell *cell, unsigned int run, unsigned int i)
{
	cell->workload = workloads[i / nr_modes / nr_vcpus];
	cell->nr_vcpus = vcpus[i / nr_modes % nr_vcpus];
	/* A different mode comes first in each round. */
	cell->mode = modes[(i + base.seed + run) % nr_modes];
	cell->pages = base.pages;
	/* More than all rings have room for. */
	if (cell->workload == BENCH_BURST)
		cell->pages = (cell->nr_vcpus + 1) * base.ring_bytes /
			      sizeof(struct kvm_dirty_gfn);
	return cell_makes_sense(cell, run);
}

/*
 * Each cell is measured in a process of its own, which may exit wherever
 * something goes wrong.  Returns how often the emulator spoilt it.
 */
static unsigned int measure_cell(const struct bench_cell *cell,
				 struct bench_result *res)
{
	unsigned int repeats;
	int status;
	pid_t pid;

	for (repeats = 0; ; repeats++) {
		fflush(NULL);
		pid = fork();
		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid) {
			if (cell->workload == BENCH_RESET)
				bench_run_reset(cell, res->reset);
			else
				bench_run(cell, res);
			_exit(BENCH_OK);
		}
		if (waitpid(pid, &status, 0) != pid)
			die("waitpid: %s", strerror(errno));
		if (WIFEXITED(status) && WEXITSTATUS(status) == BENCH_OK)
			return repeats;
		if (!exited_by_emulator_fault(status) || repeats == EMULATOR_REPEATS)
			die("%s, %u vCPUs, %s: failed",
			    bench_workload_names[cell->workload],
			    cell->nr_vcpus, cell->mode.name);
		printf("the emulator ran the guest with its host's registers: once more\n");
	}
}

static u64 measure(FILE *f)
{
	unsigned int cells = nr_workloads * nr_vcpus * nr_modes;
	unsigned int run, i, n = 0, total = 0;
	struct bench_cell cell = base;
	struct bench_result *res;
	unsigned int repeats;
	u64 lost = 0, t;

	res = mmap(NULL, sizeof(*res), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (res == MAP_FAILED)
		die("mmap: %s", strerror(errno));

	for (run = 0; run < runs; run++)
		for (i = 0; i < cells; i++)
			total += select_cell(&cell, run, i);

	for (run = 0; run < runs; run++) {
		for (i = 0; i < cells; i++) {
			if (!select_cell(&cell, run, i))
				continue;

			t = now_ms();
			repeats = measure_cell(&cell, res);
			if (cell.workload == BENCH_RESET) {
				print_reset_progress(++n, total, now_ms() - t, &cell, res);
				print_reset(f, run, &cell, res, repeats);
				continue;
			}
			print_progress(++n, total, now_ms() - t, &cell, res);
			print_json(f, run, &cell, res, repeats);
			lost += res->lost;
		}
	}
	return lost;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "modes",	required_argument, NULL, 'm' },
		{ "workloads",	required_argument, NULL, 'w' },
		{ "vcpus",	required_argument, NULL, 'v' },
		{ "runs",	required_argument, NULL, 'r' },
		{ "pages",	required_argument, NULL, 'p' },
		{ "passes",	required_argument, NULL, 'P' },
		{ "faults",	required_argument, NULL, 'f' },
		{ "ring-size",	required_argument, NULL, 's' },
		{ "period",	required_argument, NULL, 'i' },
		{ "seed",	required_argument, NULL, 'S' },
		{ "timeout",	required_argument, NULL, 't' },
		{ "output",	required_argument, NULL, 'o' },
		{ "help",	no_argument,	   NULL, 'h' },
		{ }
	};
	const char *output = NULL;
	bool asked_for;
	FILE *f = NULL;
	u64 lost;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'm':
			for_each_word(optarg, add_mode);
			break;
		case 'w':
			for_each_word(optarg, add_workload);
			break;
		case 'v':
			for_each_word(optarg, add_vcpus);
			break;
		case 'r':
			runs = to_uint("--runs", optarg);
			break;
		case 'p':
			base.pages = to_uint("--pages", optarg) & ~15u;
			break;
		case 'P':
			base.passes = to_uint("--passes", optarg);
			break;
		case 'f':
			base.faults = to_uint("--faults", optarg);
			if (!base.faults || base.faults > BENCH_MAX_FAULTS)
				die("--faults: %s is not between 1 and %u", optarg,
				    BENCH_MAX_FAULTS);
			break;
		case 's':
			base.ring_bytes = to_uint("--ring-size", optarg);
			break;
		case 'i':
			base.period_ms = to_uint("--period", optarg);
			break;
		case 'S':
			base.seed = to_uint("--seed", optarg);
			break;
		case 't':
			base.timeout_s = to_uint("--timeout", optarg);
			break;
		case 'o':
			output = optarg;
			break;
		default:
			help(argv[0], opt == 'h' ? 0 : 2);
		}
	}
	if (optind != argc)
		help(argv[0], 2);
	asked_for = nr_modes;
	if (!asked_for)
		add_default_modes();
	if (!nr_workloads)
		for_each_word("uniform,skewed,vm-scoped,burst,reset", add_workload);
	if (!nr_vcpus)
		for_each_word("1,2,4,8", add_vcpus);
	if (!base.ring_bytes)
		base.ring_bytes = default_ring_bytes();
	if (param_is_set("/sys/module/kvm/parameters/dirty_ring_pool"))
		die("kvm.dirty_ring_pool=1 turns all rings into pools: nothing to compare");

	if (output) {
		f = fopen(output, "w");
		if (!f)
			die("%s: %s", output, strerror(errno));
	}
	drop_unsupported_modes(asked_for);
	print_env(f);
	printf("%u pages a pass, %u passes, rings of %u bytes, reaper every %u ms\n",
	       base.pages, base.passes, base.ring_bytes, base.period_ms);

	lost = measure(f);
	if (f && fclose(f))
		die("%s: %s", output, strerror(errno));
	if (lost) {
		printf("%lu PAGES LOST: written, never reported dirty\n", lost);
		return 1;
	}
	printf("no page lost\n");
	return 0;
}
