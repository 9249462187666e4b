/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest as a multiboot kernel, for VMMs with firmware and a LAPIC:
 * 'qemu-system-x86_64 -kernel guest.elf'.  The boot processor fills in the
 * parameters from the command line and starts the others; each then runs
 * worker(), numbered by its LAPIC's ID.
 */
#define MULTIBOOT_MAGIC	0x1badb002
#define TRAMPOLINE	0x8000		/* below 1 MiB, on a page: the SIPI's vector */

#define LAPIC_ID	0xfee00020
#define LAPIC_SVR	0xfee000f0
#define LAPIC_ICR	0xfee00300
#define ICR_OTHERS	0x000c4000	/* to all but oneself, assert */
#define ICR_INIT	0x500
#define ICR_STARTUP	0x600

	.section .multiboot, "a"
	.balign	4
	.long	MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC

/* %eax: the number of this processor, %esp: its stack */
.macro load_segments_and_stack
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movl	LAPIC_ID, %eax
	shrl	$24, %eax
	movl	%eax, %esp
	shll	$12, %esp
	addl	boot_stack, %esp
.endm

	.text
	.code32
	.globl	_start
_start:
	cli
	cld
	lgdt	gdt_pointer
	ljmp	$8, $1f
1:	load_segments_and_stack

	/* The firmware left a timer running: mask its interrupt */
	movb	$0xff, %al
	outb	%al, $0x21
	outb	%al, $0xa1

	pushl	%ebx			/* the multiboot information */
	call	boot_params
	addl	$4, %esp

	movl	$trampoline, %esi
	movl	$TRAMPOLINE, %edi
	movl	$trampoline_end - trampoline, %ecx
	rep movsb
	movl	$0x1ff, LAPIC_SVR
	movl	$ICR_OTHERS | ICR_INIT, LAPIC_ICR
	call	delay
	movl	$ICR_OTHERS | ICR_STARTUP | (TRAMPOLINE >> 12), LAPIC_ICR
	call	delay
	movl	$ICR_OTHERS | ICR_STARTUP | (TRAMPOLINE >> 12), LAPIC_ICR

secondary:
	load_segments_and_stack
	pushl	%eax
	call	boot_worker
halt:	cli
	hlt
	jmp	halt

/* There is no timer; KVM needs no delay, real processors do */
delay:	movl	$100000, %ecx
1:	pause
	loop	1b
	ret

	.code16
	.balign	4
trampoline:
	cli
	lgdtl	%cs:trampoline_gdt - trampoline
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $secondary
	.balign	4
trampoline_gdt:
	.word	gdt_end - gdt - 1
	.long	gdt
trampoline_end:

	.section .rodata
	.balign	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff	/* flat code */
	.quad	0x00cf93000000ffff	/* flat data */
gdt_end:
	.balign	4
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt

	.section .note.GNU-stack, "", @progbits
