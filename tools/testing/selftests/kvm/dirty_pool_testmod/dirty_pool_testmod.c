// SPDX-License-Identifier: GPL-2.0-only
/*
 * Marks pages dirty from hard interrupts, for dirty_pool_test: nothing in KVM
 * does so, and the pool says that something could.
 *
 * Write "VM-FD GFN PAGES MARKS" to kvm_dirty_pool_testmod in debugfs: so many
 * marks of that VM's pages from GFN on, one after the other and over again,
 * are made by timers on all CPUs.  A write returns when they are made, and
 * fails with EINTR at a fatal signal.
 *
 * With " OTHER-VM-FD" behind it, the writer makes the marks itself, while the first
 * vCPU of that other VM is the running one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#define PERIOD_NS	(50 * NSEC_PER_USEC)

static DEFINE_PER_CPU(struct hrtimer, timers);
static DEFINE_MUTEX(lock);	/* one writer: what follows is that one's */
static struct kvm *kvm;
static u64 first;
static u32 nr_pages, nr_marks;
static atomic_t next, made;
static DECLARE_COMPLETION(done);
static struct dentry *dentry;

static enum hrtimer_restart mark(struct hrtimer *timer)
{
	u32 i = atomic_fetch_inc(&next);
	int srcu;

	if (i >= nr_marks)
		return HRTIMER_NORESTART;

	WARN_ON_ONCE(!in_hardirq());
	srcu = srcu_read_lock(&kvm->srcu);
	mark_page_dirty(kvm, first + i % nr_pages);
	srcu_read_unlock(&kvm->srcu, srcu);

	if (atomic_inc_return(&made) == nr_marks)
		complete(&done);
	hrtimer_forward_now(timer, PERIOD_NS);
	return HRTIMER_RESTART;
}

static void start(void *unused)
{
	struct hrtimer *timer = this_cpu_ptr(&timers);

	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	timer->function = mark;
	hrtimer_start(timer, PERIOD_NS, HRTIMER_MODE_REL_PINNED_HARD);
}

static int make_marks(struct file *vm)
{
	int cpu, ret;

	kvm = vm->private_data;
	atomic_set(&next, 0);
	atomic_set(&made, 0);
	reinit_completion(&done);

	cpus_read_lock();
	on_each_cpu(start, NULL, true);
	ret = wait_for_completion_killable(&done);
	for_each_online_cpu(cpu)
		hrtimer_cancel(per_cpu_ptr(&timers, cpu));
	cpus_read_unlock();

	return ret ? -EINTR : 0;
}

static int make_marks_as(struct file *vm, struct file *other)
{
	struct kvm_vcpu *vcpu = kvm_get_vcpu(other->private_data, 0);
	int srcu;
	u32 i;

	kvm = vm->private_data;
	if (!vcpu)
		return -EINVAL;
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	vcpu_load(vcpu);
	srcu = srcu_read_lock(&kvm->srcu);
	for (i = 0; i < nr_marks; i++)
		mark_page_dirty(kvm, first + i % nr_pages);
	srcu_read_unlock(&kvm->srcu, srcu);
	vcpu_put(vcpu);
	mutex_unlock(&vcpu->mutex);
	return 0;
}

static ssize_t testmod_write(struct file *file, const char __user *from,
			     size_t len, loff_t *pos)
{
	struct file *vm, *other = NULL;
	char buf[80];
	int fd, other_fd, n, ret;

	if (len >= sizeof(buf))
		return -EINVAL;
	if (copy_from_user(buf, from, len))
		return -EFAULT;
	buf[len] = '\0';

	mutex_lock(&lock);
	ret = -EINVAL;
	n = sscanf(buf, "%d %llx %u %u %d", &fd, &first, &nr_pages, &nr_marks,
		   &other_fd);
	if (n < 4 || !nr_pages || !nr_marks || nr_marks > INT_MAX / 2)
		goto unlock;

	ret = -EBADF;
	vm = fget(fd);
	if (!vm)
		goto unlock;
	if (n == 5)
		other = fget(other_fd);
	/* The file of a vCPU is none of KVM's VMs, neither is anything else. */
	if (file_is_kvm(vm) && n == 4)
		ret = make_marks(vm);
	else if (file_is_kvm(vm) && other && file_is_kvm(other))
		ret = make_marks_as(vm, other);
	if (other)
		fput(other);
	fput(vm);
unlock:
	mutex_unlock(&lock);
	return ret ?: len;
}

static const struct file_operations testmod_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.write	= testmod_write,
};

static int __init testmod_init(void)
{
	dentry = debugfs_create_file("kvm_dirty_pool_testmod", 0200, NULL, NULL,
				     &testmod_fops);
	return PTR_ERR_OR_ZERO(dentry);
}
module_init(testmod_init);

static void __exit testmod_exit(void)
{
	debugfs_remove(dentry);
}
module_exit(testmod_exit);

MODULE_DESCRIPTION("Dirty marks from hard interrupts, for KVM's dirty_pool_test");
MODULE_LICENSE("GPL");
