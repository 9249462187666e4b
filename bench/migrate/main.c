// SPDX-License-Identifier: GPL-2.0-only
/*
 * migrate - migrate a guest that dirties memory, and report the cost
 *
 * One process is the source, another the destination; without --listen and --to
 * this program forks and is both.  The source prints its figures and appends
 * them to a file as a JSON object.
 *
 * Exits with 1 if the migration failed or a page was lost, and with 77 if the
 * emulator broke the guest (see vm.h): then run it again.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate.h"

#define MIB	1048576ul

static const char * const workload_names[GUEST_NR_WORKLOADS] = {
	[GUEST_IDLE]	= "idle",
	[GUEST_UNIFORM]	= "uniform",
	[GUEST_SKEWED]	= "skewed",
	[GUEST_BURSTY]	= "bursty",
};

static struct vm_config vm_config = {
	.nr_vcpus = 4,
	.memory = 24 * MIB,
	.workload = GUEST_UNIFORM,
	.hot = 512,
	.seed = 1,
	.tracker = HARVEST_POOL,
	.ring_entries = 256,
	.period_ms = 100,
};

static struct migrate_config migrate_config = {
	.bandwidth = 32 * MIB,
	.downtime_ms = 50,
	.max_rounds = 10,
	.verify = true,
	.patience_s = 10,
	.after_ms = 100,
};

static const char *mode = "emptiest+nostop";
static unsigned int before_ms = 500;
static unsigned int timeout_s = 40;
static unsigned int run_number = 1;
static const char *output;
static const char *listen_at;
static const char *connect_to;

/* The VM of this process, also for the thread that watches the time limit */
static struct vm vm;

static void help(FILE *f)
{
	fprintf(f,
		"usage: migrate [option...]\n"
		"  --mode MODE        how dirty pages are tracked, and who harvests (%s):\n"
		"                     bitmap | per-vcpu[+N] | POLICY[+nostop[+N]]\n"
		"                     POLICY is the pool's; N threads harvest (without N: the\n"
		"                     vCPUs do, or one thread with nostop)\n"
		"  --workload W       idle, uniform, skewed or bursty (%s)\n"
		"  --vcpus N          up to %u (%u)\n"
		"  --memory MIB       of the guest (%lu)\n"
		"  --hot PAGES        pages that each vCPU keeps writing (%u)\n"
		"  --spin N           iterations of a loop between two writes (%u)\n"
		"  --device PERCENT   pages that a device writes per 100 of the vCPUs (%u)\n"
		"  --ring N           entries of a ring (%u)\n"
		"  --period MS        how often threads harvest without a request (%u)\n"
		"  --bandwidth MIB    per second, 0 is no limit (%lu)\n"
		"  --downtime MS      stop the guest once the rest takes no longer (%u)\n"
		"  --rounds N         or after this many rounds (%u)\n"
		"  --before MS        how long to measure the guest first (%u)\n"
		"  --after MS         how long to run it at the destination (%u)\n"
		"  --patience S       how long to wait for a silent peer (%u)\n"
		"  --timeout S        for the whole migration (%u)\n"
		"  --seed N           of the guest (%u)\n"
		"  --no-verify        do not compare memory\n"
		"  --output FILE      append a line of JSON to it\n"
		"  --run N            a number for that line (%u)\n"
		"  --listen PATH      be the destination only, at this Unix socket\n"
		"  --to PATH          be the source only; other options must be the same\n",
		mode, workload_names[vm_config.workload], GUEST_MAX_VCPUS,
		vm_config.nr_vcpus, vm_config.memory / MIB, vm_config.hot,
		vm_config.spin, vm_config.device_share, vm_config.ring_entries,
		vm_config.period_ms, migrate_config.bandwidth / MIB,
		migrate_config.downtime_ms, migrate_config.max_rounds, before_ms,
		migrate_config.after_ms, migrate_config.patience_s, timeout_s,
		vm_config.seed, run_number);
}

static void __attribute__((noreturn)) usage(const char *option, const char *value)
{
	fail("see migrate --help", "%s is not valid for --%s", value, option);
	exit(VM_FAILED);
}

/* -- Options */

static unsigned long number(const char *option, const char *text, unsigned long max)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || value > max || *text == '-')
		usage(option, text);
	return value;
}

static enum guest_workload workload(const char *name)
{
	unsigned int i;

	for (i = 0; i < GUEST_NR_WORKLOADS; i++) {
		if (!strcmp(name, workload_names[i]))
			return i;
	}
	usage("workload", name);
}

enum option_id {
	OPT_HELP, OPT_MODE, OPT_WORKLOAD, OPT_VCPUS, OPT_MEMORY, OPT_HOT, OPT_SPIN,
	OPT_DEVICE, OPT_RING, OPT_PERIOD, OPT_BANDWIDTH, OPT_DOWNTIME, OPT_ROUNDS,
	OPT_BEFORE, OPT_AFTER, OPT_PATIENCE, OPT_TIMEOUT, OPT_SEED, OPT_NO_VERIFY,
	OPT_OUTPUT, OPT_RUN, OPT_LISTEN, OPT_TO,
};

static const struct option options[] = {
	{ "help", no_argument, NULL, OPT_HELP },
	{ "mode", required_argument, NULL, OPT_MODE },
	{ "workload", required_argument, NULL, OPT_WORKLOAD },
	{ "vcpus", required_argument, NULL, OPT_VCPUS },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "hot", required_argument, NULL, OPT_HOT },
	{ "spin", required_argument, NULL, OPT_SPIN },
	{ "device", required_argument, NULL, OPT_DEVICE },
	{ "ring", required_argument, NULL, OPT_RING },
	{ "period", required_argument, NULL, OPT_PERIOD },
	{ "bandwidth", required_argument, NULL, OPT_BANDWIDTH },
	{ "downtime", required_argument, NULL, OPT_DOWNTIME },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "before", required_argument, NULL, OPT_BEFORE },
	{ "after", required_argument, NULL, OPT_AFTER },
	{ "patience", required_argument, NULL, OPT_PATIENCE },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "no-verify", no_argument, NULL, OPT_NO_VERIFY },
	{ "output", required_argument, NULL, OPT_OUTPUT },
	{ "run", required_argument, NULL, OPT_RUN },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "to", required_argument, NULL, OPT_TO },
	{ }
};

static void set_option(enum option_id id, const char *name, const char *text)
{
	const unsigned int max = 1u << 30;

	switch (id) {
	case OPT_HELP:
		help(stdout);
		exit(VM_OK);
	case OPT_MODE:
		mode = text;
		if (vm_parse_mode(&vm_config, text))
			exit(VM_FAILED);
		break;
	case OPT_WORKLOAD:
		vm_config.workload = workload(text);
		break;
	case OPT_VCPUS:
		vm_config.nr_vcpus = number(name, text, GUEST_MAX_VCPUS);
		break;
	case OPT_MEMORY:
		vm_config.memory = number(name, text, 2048) * MIB;
		break;
	case OPT_HOT:
		vm_config.hot = number(name, text, max);
		break;
	case OPT_SPIN:
		vm_config.spin = number(name, text, max);
		break;
	case OPT_DEVICE:
		vm_config.device_share = number(name, text, 1000);
		break;
	case OPT_RING:
		vm_config.ring_entries = number(name, text, max);
		break;
	case OPT_PERIOD:
		vm_config.period_ms = number(name, text, max);
		break;
	case OPT_BANDWIDTH:
		migrate_config.bandwidth = number(name, text, max) * MIB;
		break;
	case OPT_DOWNTIME:
		migrate_config.downtime_ms = number(name, text, max);
		break;
	case OPT_ROUNDS:
		migrate_config.max_rounds = number(name, text, max);
		break;
	case OPT_BEFORE:
		before_ms = number(name, text, max);
		break;
	case OPT_AFTER:
		migrate_config.after_ms = number(name, text, max);
		break;
	case OPT_PATIENCE:
		migrate_config.patience_s = number(name, text, max);
		break;
	case OPT_TIMEOUT:
		timeout_s = number(name, text, max);
		break;
	case OPT_SEED:
		vm_config.seed = number(name, text, max);
		break;
	case OPT_NO_VERIFY:
		migrate_config.verify = false;
		break;
	case OPT_OUTPUT:
		output = text;
		break;
	case OPT_RUN:
		run_number = number(name, text, max);
		break;
	case OPT_LISTEN:
		listen_at = text;
		break;
	case OPT_TO:
		connect_to = text;
		break;
	}
}

static void parse_options(int argc, char **argv)
{
	int id, index = 0;

	vm_parse_mode(&vm_config, mode);
	while ((id = getopt_long(argc, argv, "", options, &index)) != -1) {
		if (id == '?') {
			help(stderr);
			exit(VM_FAILED);
		}
		set_option(id, options[index].name, optarg);
	}
	if (optind < argc) {
		help(stderr);
		exit(VM_FAILED);
	}
	if (!vm_config.nr_vcpus)
		usage("vcpus", "0");
	if (vm_config.memory < 8 * MIB)
		usage("memory", "less than 8 MiB");
	if (vm_config.device_share)
		vm_config.device_pages = 512;
}

/* -- Time limit */

static void *watch(void *arg)
{
	const struct timespec limit = { .tv_sec = timeout_s };

	nanosleep(&limit, NULL);
	fail("--timeout gives it more time", "the %s is not done after %u s",
	     (const char *)arg, timeout_s);
	vm_expired(&vm);
}

static void start_watch(const char *who)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, watch, (void *)who))
		exit(VM_FAILED);
	pthread_detach(thread);
}

/* -- The destination */

static int be_destination(int fd)
{
	struct vm_config config = vm_config;
	int ret;

	/* The guest is not migrated further, so nothing is tracked. */
	config.tracker = HARVEST_BITMAP;
	config.nostop = false;
	config.threads = 0;
	start_watch("destination");
	ret = migrate_in(fd, &vm, &config, &migrate_config);
	vm_free(&vm);
	return ret ? VM_FAILED : VM_OK;
}

/* -- The source */

static double per_s(__u64 n, __u64 ns)
{
	return ns ? n * 1e9 / ns : 0;
}

static int progress(struct migration *m, void *arg)
{
	(void)arg;
	printf("  round %2u: %5.1f MiB in %4llu ms, %5.1f MiB/s; %5llu pages left, %4llu ms\n",
	       m->rounds, (double)m->round_bytes / MIB, m->round_ns / 1000000,
	       per_s(m->round_bytes, m->round_ns) / MIB, m->left, m->expected_ns / 1000000);
	fflush(stdout);
	return 0;
}

struct figures {
	__u64 before_ns;
	__u64 before[GUEST_MAX_VCPUS];
	__u64 full_exits[GUEST_MAX_VCPUS];
	__u64 still_ns[GUEST_MAX_VCPUS];
	struct kvm_dirty_ring_pool_state pool;
};

static void write_line(FILE *f, const struct migration *m, const struct figures *g)
{
	unsigned int i;

	fprintf(f, "{\"type\": \"cell\", \"run\": %u, \"workload\": \"%s\", \"vcpus\": %u, ",
		run_number, workload_names[vm_config.workload], vm_config.nr_vcpus);
	fprintf(f, "\"mode\": \"%s\", \"tracker\": \"%s\", \"nostop\": %s, \"threads\": %u, ",
		mode, vm_config.tracker == HARVEST_POOL ? "pool" :
		vm_config.tracker == HARVEST_RINGS ? "per-vcpu" : "bitmap",
		vm_config.nostop ? "true" : "false", vm_config.threads);
	fprintf(f, "\"memory\": %lu, \"hot\": %u, \"ring_entries\": %u, \"seed\": %u, ",
		vm_config.memory, vm_config.hot, vm_config.ring_entries, vm_config.seed);
	fprintf(f, "\"device_share\": %u, \"bandwidth\": %lu, \"downtime_limit_ms\": %u, ",
		vm_config.device_share, migrate_config.bandwidth, migrate_config.downtime_ms);
	fprintf(f, "\"max_rounds\": %u, \"rounds\": %u, ", migrate_config.max_rounds, m->rounds);
	fprintf(f, "\"total_ns\": %llu, \"downtime_ns\": %llu, ", m->total_ns, m->downtime_ns);
	fprintf(f, "\"stop_ns\": %llu, \"run_ns\": %llu, ", m->stop_ns, m->run_ns);
	fprintf(f, "\"bytes_sent\": %llu, \"pages_sent\": %llu, \"last_pages\": %llu, ",
		m->bytes_sent, m->pages_sent, m->last_pages);
	fprintf(f, "\"harvested\": %llu, \"drains\": %llu, \"overflows\": %llu, ",
		m->vm->harvest.pages, m->vm->harvest.drains, m->vm->harvest.overflows);
	fprintf(f, "\"device_writes\": %llu, \"device_again\": %llu, ",
		m->vm->device_writes, m->vm->harvest.again);
	if (vm_config.tracker == HARVEST_POOL) {
		fprintf(f, "\"claims\": %llu, \"reserve_claims\": %llu, \"parks\": %llu, ",
			g->pool.claims, g->pool.reserve_claims, g->pool.parks);
		fprintf(f, "\"exhaustions\": %llu, \"moves\": %llu, ", g->pool.exhaustions,
			g->pool.moves);
	}
	fprintf(f, "\"verified\": %s, \"unequal\": %llu, \"bad\": %llu, ",
		migrate_config.verify ? "true" : "false", m->unequal, m->result.bad);
	fprintf(f, "\"after_stamps\": %llu, \"after_ns\": %llu, \"before_ns\": %llu, ",
		m->result.stamps, m->result.ns, g->before_ns);
	fprintf(f, "\"per_vcpu\": [");
	for (i = 0; i < vm_config.nr_vcpus; i++) {
		fprintf(f, "%s{\"before_stamps\": %llu, \"stamps\": %llu, ", i ? ", " : "",
			g->before[i], m->stamps[i]);
		fprintf(f, "\"full_exits\": %llu, \"still_ns\": %llu}", g->full_exits[i],
			g->still_ns[i]);
	}
	fprintf(f, "]}\n");
}

static int write_output(const struct migration *m, const struct figures *g)
{
	FILE *f = fopen(output, "a");

	if (f) {
		write_line(f, m, g);
		if (!fclose(f))
			return 0;
	}
	return fail(NULL, "can't write %s: %s", output, strerror(errno));
}

static void print_figures(const struct migration *m, const struct figures *g)
{
	__u64 before = 0, during = 0, exits = 0;
	unsigned int i;

	for (i = 0; i < vm_config.nr_vcpus; i++) {
		before += g->before[i];
		during += m->stamps[i];
		exits += g->full_exits[i];
	}
	printf("%s, %u vCPUs, %s: %llu ms, down %.1f ms, sent %.1f of %lu MiB, ",
	       workload_names[vm_config.workload], vm_config.nr_vcpus, mode,
	       m->total_ns / 1000000, m->downtime_ns / 1e6, (double)m->bytes_sent / MIB,
	       vm_config.memory / MIB);
	printf("%.0f of %.0f stamps/s, %llu stops; memory is equal\n",
	       per_s(during, m->run_ns), per_s(before, g->before_ns), exits);
}

static void wait_ms(unsigned int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static int be_source(int fd)
{
	struct migration m = {
		.vm = &vm,
		.fd = fd,
		.config = migrate_config,
		.on_round = progress,
	};
	struct figures g = { };
	unsigned int i;

	start_watch("source");
	if (vm_create(&vm, &vm_config, true) || vm_start(&vm))
		return VM_FAILED;
	vm_resume(&vm);
	vm_wait_filled(&vm, timeout_s / 2);

	g.before_ns = now_ns();
	for (i = 0; i < vm_config.nr_vcpus; i++)
		g.before[i] = vm_stamps(&vm, i);
	wait_ms(before_ms);
	for (i = 0; i < vm_config.nr_vcpus; i++)
		g.before[i] = (__u32)(vm_stamps(&vm, i) - g.before[i]);
	g.before_ns = now_ns() - g.before_ns;

	if (migrate_out(&m)) {
		if (!vm.pause)
			fail(NULL, "the guest goes on here; it finds %lu of its pages wrong",
			     vm_check(&vm, migrate_config.patience_s));
		return VM_FAILED;
	}
	for (i = 0; i < vm_config.nr_vcpus; i++) {
		g.full_exits[i] = vm.vcpus[i].full_exits;
		g.still_ns[i] = vm.vcpus[i].still_ns;
	}
	if (vm_config.tracker == HARVEST_POOL &&
	    harvest_pool_state(&vm.harvest, &g.pool))
		return VM_FAILED;
	if (output && write_output(&m, &g))
		return VM_FAILED;
	if (m.result.bad) {
		fail(NULL, "the guest found %llu of its pages wrong at the destination",
		     m.result.bad);
		return VM_FAILED;
	}
	print_figures(&m, &g);
	vm_free(&vm);
	return VM_OK;
}

/* Both, each in a process of its own */
static int be_both(void)
{
	int fds[2], status, code;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) {
		fail(NULL, "no socket: %s", strerror(errno));
		return VM_FAILED;
	}
	child = fork();
	if (child < 0) {
		fail(NULL, "can't fork: %s", strerror(errno));
		return VM_FAILED;
	}
	if (!child) {
		close(fds[0]);
		_exit(be_destination(fds[1]));
	}
	close(fds[1]);
	code = be_source(fds[0]);
	/* A destination that still waits sees the end of the stream. */
	close(fds[0]);
	if (waitpid(child, &status, 0) != child)
		return VM_FAILED;
	/* Once its result is known, an emulator fault no longer matters. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == EMULATOR_FAULT)
		return code && !vm.lost ? EMULATOR_FAULT : code;
	return code ? code : WIFEXITED(status) ? WEXITSTATUS(status) : VM_FAILED;
}

int main(int argc, char **argv)
{
	int fd;

	parse_options(argc, argv);
	if (listen_at) {
		fd = wire_listen(listen_at);
		if (fd >= 0)
			fd = wire_accept(fd);
		return fd < 0 ? VM_FAILED : be_destination(fd);
	}
	if (connect_to) {
		fd = wire_connect(connect_to);
		return fd < 0 ? VM_FAILED : be_source(fd);
	}
	return be_both();
}
