/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_STRING_H
#define SHIM_STRING_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/types.h>

static inline void strscpy(char *to, const char *from, size_t size)
{
	snprintf(to, size, "%s", from);
}

static inline const char *shim_strchrnul(const char *s, int c)
{
	return strchr(s, c) ?: s + strlen(s);
}
#define strchrnul shim_strchrnul

/* As the kernel's: a whole number, maybe with a plus sign or a newline. */
static inline int kstrtou32(const char *s, unsigned int base, u32 *result)
{
	unsigned long long value;
	char *end;

	if (*s == '+')
		s++;
	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(s, &end, base);
	if (*end == '\n')
		end++;
	if (*end)
		return -EINVAL;
	if (errno || value > (u32)~0u)
		return -ERANGE;
	*result = value;
	return 0;
}

#endif
