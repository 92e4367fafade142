/*
 * kernel.c - every call to KVM, through one table; and what must be there before anything else.
 *
 * The idea: an ioctl that fails is one sentence, written where it fails and named by its own
 * constant; and because all of them pass here, a test can make each fail in turn.
 *
 * Spec: Linux Documentation/virt/kvm/api.rst. Tested by test/unit/kvm.c,
 * test/unit/kvm_failures.c, test/rig/api.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kvm/kvm.h"

static int linux_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static long linux_ioctl(int fd, unsigned long request, unsigned long arg)
{
	long result = ioctl(fd, request, arg);

	return result < 0 ? -errno : result;
}

static void *linux_map(int fd, size_t bytes, off_t from)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, from);

	return at == MAP_FAILED ? NULL : at;
}

static void linux_unmap(void *at, size_t bytes)
{
	munmap(at, bytes);
}

static void linux_close(int fd)
{
	close(fd);
}

static const struct kvm_kernel linux_kernel = {
	.open = linux_open,
	.ioctl = linux_ioctl,
	.map = linux_map,
	.unmap = linux_unmap,
	.close = linux_close,
};

const struct kvm_kernel *kvm_kernel = &linux_kernel;

long kvm_do(int fd, unsigned long request, const char *name, unsigned long arg, struct fail *why)
{
	long result;

	/* Creating things may be interrupted by a signal, before anything was done. */
	do
		result = kvm_kernel->ioctl(fd, request, arg);
	while (result == -EINTR);
	if (result < 0)
		fail(why, (int)result, "KVM: %s: %s", name, strerror((int)-result));
	return result;
}

static int cannot_open(int err, struct fail *why)
{
	switch (err) {
	case -ENOENT:
	case -ENXIO:
	case -ENODEV:
		return fail(why, err,
			    "there is no /dev/kvm: the host's kernel has no KVM, or its processor "
			    "no virtualization");
	case -EACCES:
	case -EPERM:
		return fail(why, err,
			    "/dev/kvm: permission denied (its group is usually called kvm)");
	default: return fail(why, err, "/dev/kvm: cannot open: %s", strerror(-err));
	}
}

/* Capabilities without which this engine does not work, and the Linux version that has them. */
static const struct {
	int cap;
	const char *name, *since;
} needed[] = {
	{KVM_CAP_USER_MEMORY,         "KVM_CAP_USER_MEMORY",        "2.6.25"},
	{ KVM_CAP_EXT_CPUID,          "KVM_CAP_EXT_CPUID",          "2.6.26"},
	{ KVM_CAP_USER_NMI,           "KVM_CAP_USER_NMI",           "2.6.28"},
	{ KVM_CAP_VCPU_EVENTS,        "KVM_CAP_VCPU_EVENTS",        "2.6.34"},
	{ KVM_CAP_DEBUGREGS,          "KVM_CAP_DEBUGREGS",          "2.6.34"},
	{ KVM_CAP_XSAVE,              "KVM_CAP_XSAVE",              "2.6.36"},
	{ KVM_CAP_XCRS,               "KVM_CAP_XCRS",               "2.6.36"},
	{ KVM_CAP_GET_TSC_KHZ,        "KVM_CAP_GET_TSC_KHZ",        "2.6.39"},
	{ KVM_CAP_READONLY_MEM,       "KVM_CAP_READONLY_MEM",       "3.7"   },
	{ KVM_CAP_IMMEDIATE_EXIT,     "KVM_CAP_IMMEDIATE_EXIT",     "4.13"  },
	{ KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR", "5.10"  },
	{ KVM_CAP_X86_MSR_FILTER,     "KVM_CAP_X86_MSR_FILTER",     "5.10"  },
};

static long has(const struct kvm_device *d, int cap)
{
	return kvm_kernel->ioctl(d->fd, KVM_CHECK_EXTENSION, (unsigned long)cap);
}

static int check(struct kvm_device *d, struct fail *why)
{
	long version = KVM_DO(d->fd, KVM_GET_API_VERSION, 0, why);

	if (version < 0)
		return (int)version;
	if (version != KVM_API_VERSION)
		return fail(why, -ENOTSUP, "/dev/kvm speaks version %ld; this program knows %d",
			    version, KVM_API_VERSION);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		long r = has(d, needed[i].cap);

		if (r < 0)
			return fail(why, (int)r, "KVM: KVM_CHECK_EXTENSION: %s", strerror((int)-r));
		if (r == 0)
			return fail(why, -ENOTSUP,
				    "KVM lacks %s: the host's kernel is older than %s, or this "
				    "build of KVM leaves it out",
				    needed[i].name, needed[i].since);
	}
	return 0;
}

int kvm_device_open(struct kvm_device *d, struct fail *why)
{
	long bytes;
	int err;

	*d = (struct kvm_device){ .fd = kvm_kernel->open("/dev/kvm") };
	if (d->fd < 0)
		return cannot_open(d->fd, why);
	err = check(d, why);
	bytes = err ? 0 : KVM_DO(d->fd, KVM_GET_VCPU_MMAP_SIZE, 0, why);
	if (bytes < 0)
		err = (int)bytes;
	else if (!err && (size_t)bytes < sizeof(struct kvm_run))
		err = fail(why, -ENOTSUP, "KVM's shared page has %ld bytes, too few", bytes);
	if (err) {
		kvm_device_close(d);
		return err;
	}
	d->run_bytes = (size_t)bytes;
	d->caps = (struct kvm_caps){
		.sregs2 = has(d, KVM_CAP_SREGS2) > 0,
		.tsc_control = has(d, KVM_CAP_TSC_CONTROL) > 0,
		.tsc_offset = has(d, KVM_CAP_VCPU_ATTRIBUTES) > 0,
		.ring_bytes = has(d, KVM_CAP_DIRTY_LOG_RING) > 0
				      ? (size_t)has(d, KVM_CAP_DIRTY_LOG_RING)
				      : 0,
		.bells = has(d, KVM_CAP_IOEVENTFD) > 0 && has(d, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0,
		.irqfd = has(d, KVM_CAP_IRQFD) > 0 && has(d, KVM_CAP_IRQ_ROUTING) > 0,
		.split = has(d, KVM_CAP_SPLIT_IRQCHIP) > 0 &&
			 has(d, KVM_CAP_TSC_DEADLINE_TIMER) > 0 &&
			 has(d, KVM_CAP_X2APIC_API) & KVM_X2APIC_API_USE_32BIT_IDS,
		.hypercalls = has(d, KVM_CAP_XEN_HVM) > 0 &&
			      has(d, KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
	};
	return 0;
}

void kvm_device_close(struct kvm_device *d)
{
	if (d->fd >= 0)
		kvm_kernel->close(d->fd);
	d->fd = -1;
}
