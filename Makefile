# SPDX-License-Identifier: GPL-2.0
# Thin on purpose: what is done stands in scripts/.

O        ?= build
LINUX    ?=
export O LINUX POLICIES VCPUS WORKLOADS RUNS CASES JOBS OUT HOURS

# In the order in which they find most in least time
PARTS := static harness bench-user vm pml bench migrate qemu
# What takes long: other kernels, and what looks at the tests rather than at the code
ALL_PARTS := $(PARTS) torture mutants-vm

.PHONY: help setup kernel run bench policy bench-compare migrate migrate-qemu vm series
.PHONY: torture check
.PHONY: check-all $(ALL_PARTS:%=check-%) clean distclean
# The parts share build/ and the processors
.NOTPARALLEL:

help: ## list these commands
	@echo "make COMMAND [VARIABLE=...]"
	@echo
	@sed -n 's/^\([a-z][a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 19
	@echo
	@echo "  LINUX=PATH      a kernel tree or .tar.xz (Debian's linux-source-6.12)"
	@echo "  O=DIR           where everything is built (build)"
	@echo "  JOBS=N          jobs of a build (the number of processors)"
	@echo "  POLICIES=\"...\"  VCPUS=\"...\"  WORKLOADS=\"...\"  RUNS=N   narrow or repeat 'run', 'migrate',"
	@echo "                  'migrate-qemu'; POLICIES also 'bench', 'check-vm', 'check-pml' and"
	@echo "                  'check-harness'.  A policy that is not built in is taken from"
	@echo "                  samples/kvm/dirty_ring_policy_NAME.c"
	@echo "  OUT=NAME        keep the figures of 'bench' under this name"
	@echo "  CASES=REGEX     some cases of 'check-vm', 'check-pml', 'torture' or 'check-mutants-vm'"
	@echo "  HOURS=N         how long 'torture' runs in each kernel (a minute)"

setup: ## install what is missing from Debian 12
	@scripts/setup

kernel: setup ## build the patched kernel, the tests and the initramfs
	@scripts/kernel fast
	@scripts/selftests
	@scripts/initramfs fast

run: setup ## compare bitmap, per-vCPU rings and the pool; table and build/report/
	@scripts/run

bench: setup ## compare them in userspace, with more rivals; no kernel build, 2 minutes
	@scripts/bench

policy: setup ## POLICY=FILE: check a policy, measure it, compare it with the others
	@scripts/policy "$(POLICY)"

bench-compare: ## A=NAME B=NAME: figures of two machines, or of two commits
	@scripts/bench --compare "$(A)" "$(B)"

migrate: setup ## migrate guests under each way of tracking; table and build/report/
	@scripts/migrate

migrate-qemu: setup ## Debian's QEMU, unmodified, does so; table and build/report/
	@scripts/migrate-qemu

vm: kernel ## an interactive shell in the VM, with the tests
	@scripts/vm --shell

series: setup ## the kernel part as patches for 'git am', in build/series
	@scripts/series

torture: setup ## torture the pool in kernels with sanitizers; HOURS=N for longer
	@scripts/torture

check: setup ## all the tests of the code
	@scripts/check $(PARTS)

check-all: setup ## these, kernels with sanitizers, and the kernel broken on purpose
	@scripts/check $(ALL_PARTS)

check-static: setup ## checkpatch, sparse, kernel-doc, W=1, shellcheck, other configurations
	@scripts/check-static

check-vm: setup ## the selftests, in a VM
	@scripts/check-vm

check-pml: setup ## the same on an emulated CPU with a page modification log
	@scripts/check-pml

check-harness: setup ## the pool's own code compiled in userspace
	@scripts/check-harness

check-bench-user: setup ## a short 'bench': does it measure, are its counts sane?
	@scripts/check-bench-user

check-bench: setup ## a short 'run', looked at for lost pages
	@scripts/check-bench

check-migrate: setup ## migrate small guests, also when one side breaks
	@scripts/check-migrate

check-qemu: setup ## what QEMU does with dirty pages, on each way to track them
	@scripts/check-qemu

check-torture: setup ## a short 'torture'
	@scripts/check-torture

check-mutants-vm: setup ## the kernel part broken on purpose: do the selftests find it?
	@scripts/check-mutants-vm

clean: ## remove what was built, keep the kernels' objects
	rm -rf $(O)/selftests $(O)/bench-vm $(O)/headers $(O)/initramfs-* \
		$(O)/initrd-* $(O)/out $(O)/log $(O)/report

distclean: ## remove all that was built
	rm -rf $(O)
