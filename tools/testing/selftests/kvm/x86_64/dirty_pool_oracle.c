// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest of dirty_pool_oracle writes, and how.
 */
#include "dirty_pool_oracle.h"

struct guest guest;

void guest_code(uint64_t index, uint64_t r)
{
	struct guest_slot *s;
	uint8_t *p;

	for (;; WRITE_ONCE(guest.ops[index], guest.ops[index] + 1)) {
		xorshift(&r);
		/* Each slot gets as many writes: small ones are hot, large ones cold. */
		s = &guest.slots[(r >> 8) % guest.nr_slots];
		p = (uint8_t *)s->gva + (r >> 16) % (s->bytes - INS_BYTES);
		switch (r & 15) {
		case 0:
			asm volatile("lock addq %1, (%0)" :: "r" (p), "r" (r) : "memory");
			break;
		case 1: {
			uint64_t n = (r >> 4) & 255;

			asm volatile("rep stosb" : "+D" (p), "+c" (n) : "a" (r) : "memory");
			break;
		}
		case 2:
			*(uint64_t *)p = r;	/* at times across two pages */
			break;
		case 3:
			if (guest.ins && !(r >> 54)) {
				/* A long stay: a mark for each byte, and no way to stop */
				uint64_t n = INS_BYTES;
				uint8_t *end = p + n - 1;

				asm volatile("std; rep insb; cld" : "+D" (end), "+c" (n)
					     : "d" (INS_PORT) : "memory");
			} else if (!(r >> 60)) {
				asm volatile("inb %%dx, %%al" :: "d" (EXIT_PORT) : "rax");
			}
			break;
		default:
			*p = r >> 56;
		}
	}
}
