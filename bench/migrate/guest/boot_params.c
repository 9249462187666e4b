// SPDX-License-Identifier: GPL-2.0-only
/*
 * Turn multiboot's command line into the parameters.  Words other than
 * NAME=VALUE with a known name are ignored: a boot loader adds the file's name.
 */
#include "params.h"

/* As the multiboot specification has it */
struct multiboot_info {
	unsigned int flags;
	unsigned int mem[2];
	unsigned int boot_device;
	unsigned int cmdline;
};

#define MULTIBOOT_INFO_CMDLINE	4u

/* Of processor 0; boot.S relies on the others' being a page apart */
const unsigned int boot_stack = GUEST_STACK_TOP(0);

/* The value of a word of the form name=value, or NULL */
static const char *value_of(const char *line, const char *name)
{
	while (*line) {
		const char *n = name;

		while (*n && *line == *n) {
			line++;
			n++;
		}
		if (!*n && *line == '=')
			return line + 1;
		while (*line && *line != ' ')
			line++;
		while (*line == ' ')
			line++;
	}
	return 0;
}

static unsigned int number_of(const char *line, const char *name)
{
	const char *s = value_of(line, name);
	unsigned int value = 0;

	while (s && *s >= '0' && *s <= '9')
		value = value * 10 + (unsigned int)(*s++ - '0');
	return value;
}

void boot_params(const struct multiboot_info *info)
{
	struct guest_params *p = (struct guest_params *)GUEST_PARAMS_GPA;
	const char *line = "";
	unsigned int rate, i;

	if (info->flags & MULTIBOOT_INFO_CMDLINE)
		line = (const char *)info->cmdline;

	guest_setup(p, number_of(line, "vcpus"), number_of(line, "memory") << 20,
		    number_of(line, "device"), number_of(line, "hot"),
		    (enum guest_workload)number_of(line, "workload"), 0,
		    number_of(line, "spin"), number_of(line, "seed"));

	/* This many times as fast as guest_setup() has it */
	rate = number_of(line, "rate");
	for (i = 0; rate && i < p->nr_vcpus; i++)
		p->vcpu[i].rest /= rate;
}

void boot_worker(unsigned int cpu)
{
	struct guest_params *p = (struct guest_params *)GUEST_PARAMS_GPA;

	if (cpu < p->nr_vcpus)
		worker(p, cpu);
}
