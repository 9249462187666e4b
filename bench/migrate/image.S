/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's program, as a part of ours */
	.section .rodata
	.globl guest_image, guest_image_end
	.balign 4096
guest_image:
	.incbin "worker.bin"
guest_image_end:
	.section .note.GNU-stack, "", @progbits
