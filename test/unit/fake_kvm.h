/*
 * fake_kvm.h - a kernel that plays KVM, for tests on machines that have none.
 *
 * It keeps what was set and gives it back, executes nothing, and ends each KVM_RUN as the test's
 * script says. Any one of its calls can be made to fail: the `fail_at`th.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_FAKE_KVM_H
#define TEST_UNIT_FAKE_KVM_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpu/msr.h"
#include "engine/kvm/engine_kvm.h"
#include "engine/kvm/trial.h"

#define FAKE_FD        1000 /* /dev/kvm; every other one counts up from there */
#define FAKE_RUN_BYTES 8192
#define FAKE_BLOB      4096
#define FAKE_MSRS      64

struct fake_kvm {
	int open_error; /* of open() */
	int version;
	int lacking;      /* a capability it does not have */
	uint32_t no_leaf; /* CPUID: a leaf with no features at all */
	unsigned khz;
	bool keeps_deadline;     /* IA32_TSC_DEADLINE does not come out, */
	bool mwait;              /* unless the machine made last may MWAIT */
	uint32_t trial_exit;     /* how a trial of that ends instead; 0: so */
	unsigned calls, fail_at; /* calls that can fail, counted from 1; 0: none fails */
	unsigned long failed;    /* the request that did */
	bool failed_removal;     /* and it would have removed a memory slot */
	unsigned fds, maps;      /* open now */
	int next_fd;
	/* Ends a KVM_RUN: fills *run; 0 or -E*. Called with immediate_exit clear. */
	int (*script)(struct kvm_run *run);
	unsigned runs, finishes; /* KVM_RUN with immediate_exit clear, and set: that one's script */
	int (*finish)(struct kvm_run *run);
	struct kvm_run *run;
	uint8_t blob[16][FAKE_BLOB]; /* by row of fake_pairs */
	struct kvm_msr_entry msr[FAKE_MSRS];
	unsigned msrs;
	uint64_t tsc_offset;
	uint64_t no_spec_ctrl; /* bits of SPEC_CTRL that its processor does not have */
	struct kvm_cpuid2 *cpuid;
	struct kvm_userspace_memory_region region[16];
	uint64_t dirty; /* what the log of any slot says, once */
	int interrupt;  /* vector given by KVM_INTERRUPT; -1: none */
	unsigned nmis;
	unsigned messages;   /* by KVM_SIGNAL_MSI */
	struct kvm_msi last; /* of them */
	unsigned routes;     /* in the routing table */
	unsigned irqfds;     /* there now */
	size_t ring_bytes;   /* of a dirty ring, at most; 0: it has none */
	struct kvm_dirty_gfn *ring;
	unsigned ring_next; /* entry that is written next */
};

static struct fake_kvm fake;
static unsigned long fake_failed[128]; /* each request that ever did; fake_reset() leaves them */

static const struct {
	unsigned long get, set;
} fake_pairs[] = {
	{KVM_GET_REGS,         KVM_SET_REGS       },
	{ KVM_GET_SREGS,       KVM_SET_SREGS      },
	{ KVM_GET_SREGS2,      KVM_SET_SREGS2     },
	{ KVM_GET_XCRS,        KVM_SET_XCRS       },
	{ KVM_GET_XSAVE,       KVM_SET_XSAVE      },
	{ KVM_GET_DEBUGREGS,   KVM_SET_DEBUGREGS  },
	{ KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS},
	{ KVM_GET_LAPIC,       KVM_SET_LAPIC      },
	{ KVM_GET_MP_STATE,    KVM_SET_MP_STATE   },
};
#define FAKE_PAIRS (sizeof(fake_pairs) / sizeof(fake_pairs[0]))

/* What KVM_SET_... of this row was last given. */
static inline void *fake_blob(unsigned long set)
{
	for (size_t i = 0; i < FAKE_PAIRS; i++)
		if (fake_pairs[i].set == set)
			return fake.blob[i];
	return NULL;
}

/* Where a request stands in fake_failed[], or could. */
static inline unsigned long *fake_place(unsigned long request)
{
	unsigned long *at = fake_failed;

	while (*at && *at != request)
		at++;
	return at;
}

static inline bool fake_fails(unsigned long request)
{
	if (++fake.calls != fake.fail_at)
		return false;
	fake.failed = request;
	*fake_place(request) = request;
	return true;
}

static inline int fake_open(const char *path)
{
	(void)path;
	if (fake.open_error || fake_fails(1))
		return fake.open_error ? fake.open_error : -EIO;
	fake.fds++;
	return FAKE_FD;
}

static inline void fake_close(int fd)
{
	(void)fd;
	fake.fds--;
}

static inline void *fake_map(int fd, size_t bytes, off_t from)
{
	void *at;

	(void)fd;
	if (fake_fails(2))
		return NULL;
	fake.maps++;
	at = calloc(1, bytes);
	if (from)
		fake.ring = at;
	else
		fake.run = at;
	return at;
}

static inline void fake_unmap(void *at, size_t bytes)
{
	(void)bytes;
	fake.maps--;
	free(at);
}

static inline long fake_supported(struct kvm_cpuid2 *t)
{
	static const uint32_t leaves[][2] = {
		{1,           0},
                { 7,          0},
                { 0xd,        1},
                { 0x80000001, 0},
                { 0x80000007, 0}
	};
	uint32_t n = 0;

	for (; n < sizeof(leaves) / sizeof(leaves[0]); n++) {
		uint32_t bits = leaves[n][0] == fake.no_leaf ? 0 : UINT32_MAX;

		t->entries[n] = (struct kvm_cpuid_entry2){ .function = leaves[n][0],
							   .index = leaves[n][1],
							   .eax = bits,
							   .ebx = bits,
							   .ecx = bits,
							   .edx = bits };
	}
	t->nent = n;
	return 0;
}

static inline long fake_msr_list(struct kvm_msr_list *list)
{
	static const uint32_t known[] = { 0x174,      0x175,      0x176,      0x277,
					  0x48,       0xc0000081, 0xc0000082, 0xc0000083,
					  0xc0000084, 0xc0000102, 0xc0000103, 0x10 };

	list->nmsrs = sizeof(known) / sizeof(known[0]);
	memcpy(list->indices, known, sizeof(known));
	return 0;
}

static inline __u64 *fake_msr(uint32_t index)
{
	for (unsigned i = 0; i < fake.msrs; i++)
		if (fake.msr[i].index == index)
			return &fake.msr[i].data;
	fake.msr[fake.msrs].index = index;
	return &fake.msr[fake.msrs++].data;
}

/* The counter is the host's clock in ns, plus its offset. */
static inline long fake_msrs(struct kvm_msrs *m, bool set)
{
	for (uint32_t i = 0; i < m->nmsrs; i++) {
		struct kvm_msr_entry *e = &m->entries[i];

		if (e->index == 0x10 && !set)
			e->data = host_monotonic_ns() + fake.tsc_offset;
		else if (set && e->index == MSR_SPEC_CTRL && e->data & fake.no_spec_ctrl)
			return i;
		else if (set)
			*fake_msr(e->index) = e->data;
		else
			e->data = *fake_msr(e->index);
	}
	return (long)m->nmsrs;
}

static inline long fake_attr(const struct kvm_device_attr *a, bool set)
{
	uint64_t *value = (uint64_t *)(uintptr_t)a->addr;

	if (set)
		fake.tsc_offset = *value;
	else
		*value = fake.tsc_offset;
	return 0;
}

static inline long fake_dirty(const struct kvm_dirty_log *log)
{
	*(uint64_t *)log->dirty_bitmap = fake.dirty;
	fake.dirty = 0;
	return 0;
}

/* The guest writes to a page: into the vCPU's ring if it has one, else into the slots' log. */
static inline void fake_write_page(uint32_t slot, uint64_t page)
{
	struct kvm_dirty_gfn *e = fake.ring ? &fake.ring[fake.ring_next++] : NULL;

	if (!e)
		fake.dirty |= UINT64_C(1) << page;
	else
		*e = (struct kvm_dirty_gfn){ KVM_DIRTY_GFN_F_DIRTY, slot, page };
}

/* How many entries were given back. */
static inline long fake_reset_rings(void)
{
	long n = 0;

	for (unsigned i = 0; i < fake.ring_next; i++) {
		n += fake.ring[i].flags == KVM_DIRTY_GFN_F_RESET;
		fake.ring[i].flags &= ~(uint32_t)KVM_DIRTY_GFN_F_RESET;
	}
	return n;
}

/* Linear addresses are physical ones, and those from 4 GiB on are not there. */
static inline long fake_translate(struct kvm_translation *t)
{
	t->physical_address = t->linear_address;
	t->valid = t->linear_address < UINT64_C(1) << 32;
	return 0;
}

static inline long fake_has(int cap)
{
	if (cap == fake.lacking)
		return 0;
	switch (cap) {
	case KVM_CAP_X2APIC_API: return 3;
	case KVM_CAP_X86_DISABLE_EXITS: return KVM_X86_DISABLE_EXITS_MWAIT;
	case KVM_CAP_DIRTY_LOG_RING: return (long)fake.ring_bytes;
	default: return 2;
	}
}

/* A write of IA32_TSC_DEADLINE, of a trial: see engine/kvm/deadline.c. */
static inline bool fake_trial(const struct kvm_regs *r)
{
	if (r->rip != TRIAL_CODE || r->rcx != MSR_TSC_DEADLINE)
		return false;
	fake.run->exit_reason =
		fake.keeps_deadline && !fake.mwait ? KVM_EXIT_HLT : KVM_EXIT_X86_WRMSR;
	if (fake.trial_exit)
		fake.run->exit_reason = fake.trial_exit;
	return true;
}

static inline long fake_run(void)
{
	const struct kvm_regs *r = (const struct kvm_regs *)fake.blob[0];
	int err = -EINTR;

	if (fake_trial(r))
		return 0;
	if (fake.run->immediate_exit)
		fake.finishes++;
	else
		fake.runs++;
	if (!fake.run->immediate_exit)
		err = fake.script(fake.run);
	else if (fake.finish)
		err = fake.finish(fake.run);
	fake.run->if_flag = !!(r->rflags & FLAG_IF);
	fake.run->ready_for_interrupt_injection = fake.run->if_flag && fake.interrupt < 0;
	return err;
}

static inline long fake_pair(unsigned long request, void *arg, bool *found)
{
	for (size_t i = 0; i < FAKE_PAIRS; i++) {
		*found = true;
		if (request == fake_pairs[i].get)
			memcpy(arg, fake.blob[i], _IOC_SIZE(request));
		else if (request == fake_pairs[i].set)
			memcpy(fake.blob[i], arg, _IOC_SIZE(request));
		else
			*found = false;
		if (*found)
			return 0;
	}
	return -ENOTTY;
}

static inline long fake_set_cpuid(const struct kvm_cpuid2 *t)
{
	size_t bytes = sizeof(*t) + t->nent * sizeof(t->entries[0]);

	free(fake.cpuid);
	fake.cpuid = malloc(bytes);
	memcpy(fake.cpuid, t, bytes);
	return 0;
}

static inline long fake_enable(const struct kvm_enable_cap *c)
{
	if (c->cap == KVM_CAP_X86_DISABLE_EXITS)
		fake.mwait = c->args[0] == KVM_X86_DISABLE_EXITS_MWAIT;
	return 0;
}

static inline long fake_new_fd(void)
{
	fake.fds++;
	return ++fake.next_fd;
}

static inline long fake_ioctl(int fd, unsigned long request, unsigned long arg)
{
	void *p = (void *)arg;
	bool found;
	long r;

	(void)fd;
	if (fake_fails(request)) {
		fake.failed_removal = request == KVM_SET_USER_MEMORY_REGION &&
				      ((struct kvm_userspace_memory_region *)p)->memory_size == 0;
		return -EIO;
	}
	r = fake_pair(request, p, &found);
	if (found)
		return r;
	switch (request) {
	case KVM_GET_API_VERSION: return fake.version;
	case KVM_CHECK_EXTENSION: return fake_has((int)arg);
	case KVM_GET_VCPU_MMAP_SIZE: return FAKE_RUN_BYTES;
	case KVM_GET_SUPPORTED_CPUID: return fake_supported(p);
	case KVM_GET_MSR_INDEX_LIST: return fake_msr_list(p);
	case KVM_CREATE_VM: fake.mwait = false; return fake_new_fd();
	case KVM_ENABLE_CAP: return fake_enable(p);
	case KVM_CREATE_VCPU: return fake_new_fd();
	case KVM_GET_TSC_KHZ: return fake.khz;
	case KVM_GET_MSRS: return fake_msrs(p, false);
	case KVM_SET_MSRS: return fake_msrs(p, true);
	case KVM_GET_DEVICE_ATTR: return fake_attr(p, false);
	case KVM_SET_DEVICE_ATTR: return fake_attr(p, true);
	case KVM_SET_CPUID2: return fake_set_cpuid(p);
	case KVM_SET_USER_MEMORY_REGION:
		memcpy(&fake.region[((struct kvm_userspace_memory_region *)p)->slot % 16], p,
		       sizeof(fake.region[0]));
		return 0;
	case KVM_GET_DIRTY_LOG: return fake_dirty(p);
	case KVM_RUN: return fake_run();
	case KVM_INTERRUPT: fake.interrupt = (int)((struct kvm_interrupt *)p)->irq; return 0;
	case KVM_NMI: fake.nmis++; return 0;
	case KVM_SIGNAL_MSI:
		fake.messages++;
		fake.last = *(struct kvm_msi *)p;
		return fake.last.address_lo >> 12 & 0xff ? -EPERM : 1; /* only CPU 0 is there */
	case KVM_SET_GSI_ROUTING: fake.routes = ((struct kvm_irq_routing *)p)->nr; return 0;
	case KVM_IRQFD: fake.irqfds += ((struct kvm_irqfd *)p)->flags ? -1u : 1; return 0;
	case KVM_TRANSLATE: return fake_translate(p);
	case KVM_RESET_DIRTY_RINGS: return fake_reset_rings();
	case KVM_SET_TSC_KHZ: fake.khz = (unsigned)arg; return 0;
	case KVM_IOEVENTFD:
	case KVM_SET_SIGNAL_MASK:
	case KVM_SET_IDENTITY_MAP_ADDR:
	case KVM_SET_TSS_ADDR:
	case KVM_XEN_HVM_CONFIG:
	case KVM_X86_SET_MSR_FILTER: return 0;
	default: return -ENOTTY;
	}
}

static const struct kvm_kernel fake_kernel = {
	.open = fake_open,
	.ioctl = fake_ioctl,
	.map = fake_map,
	.unmap = fake_unmap,
	.close = fake_close,
};

static inline void fake_reset(void)
{
	free(fake.cpuid);
	fake = (struct fake_kvm){
		.version = KVM_API_VERSION,
		.lacking = -1,
		.khz = 1000000,
		.next_fd = FAKE_FD,
		.interrupt = -1,
	};
	kvm_kernel = &fake_kernel;
}

#endif
