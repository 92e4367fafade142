/*
 * cpuid.c - the CPU models, and what CPUID says of them.
 *
 * A model is data: a list of what it lacks of cpu/features.h, a signature, cache sizes. All
 * leaves are computed from that, the topology and the few dynamic bits of the CPU state.
 *
 * trapeze-v1 is a server processor with what Haswell to Ice Lake have in common (and SHA)
 * but no AVX-512, no virtualization, no performance counters, no MONITOR, no transactional
 * memory. Its signature, family 6 model F0H, is no product: no operating system has
 * errata or tuning for it, and it is on no list of vulnerable models, so ARCH_CAPABILITIES
 * alone decides about mitigations.
 *
 * Not modelled: threads (each vCPU is a core of one package), CPUID serial number, leaf 2's
 * descriptors other than "see leaf 4", IA32_APIC_BASE's effect on the APIC bit.
 *
 * Spec: SDM vol. 2 CPUID, vol. 1 13.2; KVM's Documentation/virt/kvm/x86/cpuid.rst for 4000_0000H
 * and 4000_0001H. Tested by test/unit/cpuid.c.
 * SPDX-License-Identifier: MIT
 */
#include "cpu/cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cpu/paging.h"

#define LAST_BASIC       0x16u
#define FIRST_HYPERVISOR 0x40000000u
#define LAST_HYPERVISOR  0x40000010u
#define FIRST_EXTENDED   0x80000000u
#define LAST_EXTENDED    0x80000008u

/* KVM's paravirtual features, leaf 4000_0001H EAX */
#define KVM_NOP_IO_DELAY       (1u << 1) /* port 80h writes buy no time */
#define KVM_CLOCKSOURCE2       (1u << 3)
#define KVM_CLOCKSOURCE_STABLE (1u << 24)
/* Of use to several vCPUs only. A guest that may execute MWAIT does without the last two. */
#define KVM_STEAL_TIME     (1u << 5)
#define KVM_PV_UNHALT      (1u << 7)
#define KVM_PV_TLB_FLUSH   (1u << 9)
#define KVM_PV_SEND_IPI    (1u << 11)
#define KVM_PV_SCHED_YIELD (1u << 13)
#define KVM_SERVICES                                                                               \
	(KVM_STEAL_TIME | KVM_PV_UNHALT | KVM_PV_TLB_FLUSH | KVM_PV_SEND_IPI | KVM_PV_SCHED_YIELD)

#define HTT        (1u << 28) /* leaf 1 EDX: the package has more than one APIC ID */
#define ARAT       (1u << 2)  /* leaf 6 EAX: the APIC timer never stops */
#define BHI_CTRL   (1u << 4)  /* leaf 7.2 EDX */
#define LINE_BYTES 64u

/* XSAVE: standard offsets and sizes. SDM vol. 1 13.5 */
#define XSAVE_LEGACY 576u
static const struct xsave_part {
	unsigned component, offset, bytes;
	enum cpu_feature feature;
} xsave_parts[] = {
	{2,  576,  256, FEATURE_AVX},
	{ 9, 2688, 8,   FEATURE_PKU},
};
#define XSAVE_PARTS (sizeof xsave_parts / sizeof xsave_parts[0])

struct cache {
	unsigned type, level, kib, ways; /* type: 1 data, 2 instruction, 3 unified */
	bool shared;                     /* by all vCPUs */
};

struct cpu_model {
	const char *name, *brand;
	uint32_t id; /* in saved machines; never reused */
	uint32_t signature;
	unsigned phys_bits;
	uint64_t lacks[2]; /* bitmap over enum cpu_feature */
	struct cache caches[4];
};

_Static_assert(FEATURE_COUNT <= 128, "lacks[] holds 128");
#define LACKS(f) (UINT64_C(1) << (FEATURE_##f % 64))

/* VME is lacking because v86 mode then has only the rules of the 386; OSXSAVE and OSPKE
 * are not features but copies of CR4 bits. */
#define V1_LACKS (LACKS(VME) | LACKS(OSXSAVE) | LACKS(OSPKE))
#define V1_CACHES                                                                                  \
	{                                                                                          \
		{ 1, 1, 32, 8, false }, { 2, 1, 32, 8, false }, { 3, 2, 1024, 16, false },         \
			{ 3, 3, 16384, 16, true },                                                 \
	}

static const struct cpu_model trapeze_v1 = {
	.name = "trapeze-v1",
	.brand = "Trapeze Virtual CPU v1",
	.id = 1,
	.signature = 0x000f0601,
	.phys_bits = PAGING_PHYS_BITS,
	.lacks = {V1_LACKS, 0},
	.caches = V1_CACHES,
};

/* The same for hosts before Ice Lake and Zen, which many clouds still offer. */
static const struct cpu_model trapeze_v1_nosha = {
	.name = "trapeze-v1-nosha",
	.brand = "Trapeze Virtual CPU v1 without SHA",
	.id = 2,
	.signature = 0x000f0601,
	.phys_bits = PAGING_PHYS_BITS,
	.lacks = {V1_LACKS | LACKS(SHA), 0},
	.caches = V1_CACHES,
};
_Static_assert(FEATURE_SHA < 64, "in lacks[0]");
_Static_assert(FEATURE_VME < 64 && FEATURE_OSXSAVE < 64 && FEATURE_OSPKE < 64, "in lacks[0]");

/* Of a list X(feature), what is in each word of lacks[]. */
#define WORD_0(f) | (FEATURE_##f < 64 ? UINT64_C(1) << (FEATURE_##f % 64) : 0)
#define WORD_1(f) | (FEATURE_##f < 64 ? 0 : UINT64_C(1) << (FEATURE_##f % 64))

/* What processors of 2013 to 2018 and today's have in common: x86-64-v3. For hardware engines,
 * which can show only what the host has. */
#define COMMON_LACKS(X)                                                                            \
	X(VME)                                                                                     \
	X(OSXSAVE)                                                                                 \
	X(OSPKE)                                                                                   \
	X(SHA)                                                                                     \
	X(PKU)                                                                                     \
	X(PCID)                                                                                    \
	X(INVPCID)                                                                                 \
	X(UMIP)                                                                                    \
	X(RDPID)                                                                                   \
	X(CLWB)                                                                                    \
	X(CLFLUSHOPT)                                                                              \
	X(RDSEED)                                                                                  \
	X(ADX)                                                                                     \
	X(SMAP)                                                                                    \
	X(XSAVEC)                                                                                  \
	X(XGETBV1)

static const struct cpu_model trapeze_v1_common = {
	.name = "trapeze-v1-common",
	.brand = "Trapeze x86-64 v1 common",
	.id = 3,
	.signature = 0x000f0601,
	.phys_bits = PAGING_PHYS_BITS,
	.lacks = {0 COMMON_LACKS(WORD_0), 0 COMMON_LACKS(WORD_1)},
	.caches = V1_CACHES,
};

/* The first x86-64 processors' instructions, with today's interrupt controllers and timers: what
 * is left where hardware virtualization is itself emulated. */
#define BASE_LACKS(X)                                                                              \
	COMMON_LACKS(X)                                                                            \
	X(SSE3)                                                                                    \
	X(PCLMULQDQ)                                                                               \
	X(SSSE3)                                                                                   \
	X(FMA)                                                                                     \
	X(SSE4_1)                                                                                  \
	X(SSE4_2)                                                                                  \
	X(MOVBE)                                                                                   \
	X(POPCNT)                                                                                  \
	X(AES)                                                                                     \
	X(XSAVE)                                                                                   \
	X(AVX)                                                                                     \
	X(F16C)                                                                                    \
	X(RDRAND)                                                                                  \
	X(FSGSBASE)                                                                                \
	X(BMI1)                                                                                    \
	X(AVX2)                                                                                    \
	X(SMEP)                                                                                    \
	X(BMI2)                                                                                    \
	X(ERMS)                                                                                    \
	X(FSRM)                                                                                    \
	X(FDP_EXCPTN_ONLY)                                                                         \
	X(ZERO_FCS_FDS)                                                                            \
	X(XSAVEOPT)                                                                                \
	X(ABM)                                                                                     \
	X(PREFETCHW)                                                                               \
	X(PDPE1GB)                                                                                 \
	X(RDTSCP)

static const struct cpu_model trapeze_v1_base = {
	.name = "trapeze-v1-base",
	.brand = "Trapeze x86-64 v1 base",
	.id = 4,
	.signature = 0x000f0601,
	.phys_bits = PAGING_PHYS_BITS,
	.lacks = {0 BASE_LACKS(WORD_0), 0 BASE_LACKS(WORD_1)},
	.caches = V1_CACHES,
};

const struct cpu_model *const cpu_models[] = { &trapeze_v1, &trapeze_v1_nosha, &trapeze_v1_common,
					       &trapeze_v1_base, NULL };

static const struct {
	uint32_t leaf;
	uint8_t sub, bit;
	uint16_t reg; /* offset in struct cpuid_answer */
	const char *name;
} features[] = {
#define X(name, leaf, sub, reg, bit) { leaf, sub, bit, offsetof(struct cpuid_answer, reg), #name },
#include "cpu/features.h"
#undef X
};

const struct cpu_model *cpu_model_find(const char *name)
{
	for (unsigned i = 0; cpu_models[i]; i++)
		if (strcmp(cpu_models[i]->name, name) == 0)
			return cpu_models[i];
	return NULL;
}

const char *cpu_model_name(const struct cpu_model *m)
{
	return m->name;
}

uint32_t cpu_model_signature(const struct cpu_model *m)
{
	return m->signature;
}

bool cpu_model_has(const struct cpu_model *m, enum cpu_feature f)
{
	return !(m->lacks[f / 64] >> (f % 64) & 1);
}

uint32_t cpu_model_id(const struct cpu_model *m)
{
	return m->id;
}

unsigned cpu_model_phys_bits(const struct cpu_model *m)
{
	return m->phys_bits;
}

static uint32_t *reg_of(struct cpuid_answer *a, uint16_t offset)
{
	return (uint32_t *)((uint8_t *)a + offset);
}

static void add_features(const struct cpu_model *m, uint32_t leaf, uint32_t sub,
			 struct cpuid_answer *a)
{
	for (unsigned f = 0; f < FEATURE_COUNT; f++)
		if (features[f].leaf == leaf && features[f].sub == sub && cpu_model_has(m, f))
			*reg_of(a, features[f].reg) |= 1u << features[f].bit;
}

uint64_t cpu_model_cr4_mask(const struct cpu_model *m)
{
	/* clang-format off */
	static const struct { enum cpu_feature feature; uint64_t bits; } rows[] = {
		{ FEATURE_VME, CR4_VME | CR4_PVI }, { FEATURE_TSC, CR4_TSD },
		{ FEATURE_DE, CR4_DE },             { FEATURE_PSE, CR4_PSE },
		{ FEATURE_PAE, CR4_PAE },           { FEATURE_MCE, CR4_MCE },
		{ FEATURE_PGE, CR4_PGE },           { FEATURE_FXSR, CR4_OSFXSR },
		{ FEATURE_SSE, CR4_OSXMMEXCPT },    { FEATURE_UMIP, CR4_UMIP },
		{ FEATURE_FSGSBASE, CR4_FSGSBASE }, { FEATURE_PCID, CR4_PCIDE },
		{ FEATURE_XSAVE, CR4_OSXSAVE },     { FEATURE_SMEP, CR4_SMEP },
		{ FEATURE_SMAP, CR4_SMAP },         { FEATURE_PKU, CR4_PKE },
	};
	/* clang-format on */
	uint64_t mask = CR4_PCE;

	for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (cpu_model_has(m, rows[i].feature))
			mask |= rows[i].bits;
	return mask;
}

uint64_t cpu_model_efer_mask(const struct cpu_model *m)
{
	return (cpu_model_has(m, FEATURE_SYSCALL) ? EFER_SCE : 0) |
	       (cpu_model_has(m, FEATURE_LM) ? EFER_LME | EFER_LMA : 0) |
	       (cpu_model_has(m, FEATURE_NX) ? EFER_NX : 0);
}

uint64_t cpu_model_xcr0_mask(const struct cpu_model *m)
{
	uint64_t mask = 3; /* x87 and SSE come with XSAVE */

	for (unsigned i = 0; i < XSAVE_PARTS; i++)
		if (cpu_model_has(m, xsave_parts[i].feature))
			mask |= UINT64_C(1) << xsave_parts[i].component;
	return mask;
}

/* Bytes of an XSAVE area with the components of `xcr0`. */
static uint32_t xsave_bytes(uint64_t xcr0, bool compact)
{
	uint32_t bytes = XSAVE_LEGACY;

	for (unsigned i = 0; i < XSAVE_PARTS; i++) {
		if (!(xcr0 >> xsave_parts[i].component & 1))
			continue;
		bytes = (compact ? bytes : xsave_parts[i].offset) + xsave_parts[i].bytes;
	}
	return bytes;
}

static struct cpuid_answer leaf_vendor(const struct x86_state *s)
{
	struct cpuid_answer a = { .eax = s->misc_enable & MISC_ENABLE_LIMIT_CPUID ? 2
										  : LAST_BASIC };

	memcpy(&a.ebx, "Genu", 4);
	memcpy(&a.edx, "ineI", 4);
	memcpy(&a.ecx, "ntel", 4);
	return a;
}

static struct cpuid_answer leaf_features(const struct cpu_model *m, const struct x86_state *s,
					 const struct cpuid_topology *t)
{
	uint32_t count = t->vcpus < 255 ? t->vcpus : 255;
	struct cpuid_answer a = {
		.eax = m->signature,
		.ebx = (t->apic_id & 0xff) << 24 | count << 16 | LINE_BYTES / 8 << 8,
		.edx = t->vcpus > 1 ? HTT : 0,
	};

	add_features(m, 1, 0, &a);
	if (s->cr4 & CR4_OSXSAVE)
		a.ecx |= bit_OSXSAVE;
	return a;
}

/* The power of two that holds `n` values. */
static unsigned width_of(uint32_t n)
{
	return n > 1 ? 32 - (unsigned)__builtin_clz(n - 1) : 0;
}

static struct cpuid_answer leaf_cache(const struct cpu_model *m, const struct cpuid_topology *t,
				      uint32_t sub)
{
	uint32_t ids = 1u << width_of(t->vcpus);
	const struct cache *c = &m->caches[sub < 4 ? sub : 0];

	if (sub >= 4)
		return (struct cpuid_answer){ 0 };
	return (struct cpuid_answer){
		.eax = (ids - 1) << 26 | ((c->shared ? ids : 1) - 1) << 14 | 1u << 8 |
		       c->level << 5 | c->type,
		.ebx = (c->ways - 1) << 22 | (LINE_BYTES - 1),
		.ecx = c->kib * 1024 / LINE_BYTES / c->ways - 1,
	};
}

static struct cpuid_answer leaf_more_features(const struct cpu_model *m, const struct x86_state *s,
					      const struct cpuid_topology *t, uint32_t sub)
{
	struct cpuid_answer a = { 0 };

	if (sub == 2 && t->bhi_control)
		a.edx = BHI_CTRL;
	if (sub != 0)
		return a;
	a.eax = t->bhi_control ? 2 : 0; /* the last sub-leaf */
	add_features(m, 7, 0, &a);
	if (s->cr4 & CR4_PKE)
		a.ecx |= 1u << 4; /* OSPKE */
	return a;
}

/* One thread a core, all cores in one package. */
static struct cpuid_answer leaf_topology(const struct cpuid_topology *t, uint32_t sub)
{
	struct cpuid_answer a = { .ecx = sub & 0xff, .edx = t->apic_id };

	if (sub == 0) {
		a.ebx = 1;
		a.ecx |= 1u << 8; /* thread level */
	} else if (sub == 1) {
		a.eax = width_of(t->vcpus);
		a.ebx = t->vcpus & 0xffff;
		a.ecx |= 2u << 8; /* core level */
	}
	return a;
}

static struct cpuid_answer leaf_xsave(const struct cpu_model *m, const struct x86_state *s,
				      uint32_t sub)
{
	uint64_t all = cpu_model_xcr0_mask(m);
	struct cpuid_answer a = { 0 };

	if (!cpu_model_has(m, FEATURE_XSAVE))
		return a;
	if (sub == 0) {
		a.eax = (uint32_t)all;
		a.ebx = xsave_bytes(s->xcr0, false);
		a.ecx = xsave_bytes(all, false);
		a.edx = (uint32_t)(all >> 32);
	} else if (sub == 1) {
		add_features(m, 0xd, 1, &a);
		a.ebx = xsave_bytes(s->xcr0, true);
	} else {
		for (unsigned i = 0; i < XSAVE_PARTS; i++) {
			const struct xsave_part *p = &xsave_parts[i];

			if (p->component == sub && (all >> sub & 1))
				a = (struct cpuid_answer){ .eax = p->bytes, .ebx = p->offset };
		}
	}
	return a;
}

static uint32_t greatest_divisor(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/*
 * TSC = crystal * EBX / EAX, the crystal being the APIC timer's clock. Systems multiply
 * crystal kHz by EBX in 32 bits; where that would overflow the leaf reads as zero and
 * they learn the frequency from leaf 16H, the paravirtual clock or a timer.
 */
static struct cpuid_answer leaf_tsc(const struct cpuid_topology *t)
{
	const uint32_t crystal_khz = APIC_TIMER_HZ / 1000;
	struct cpuid_answer a = { .ecx = APIC_TIMER_HZ };
	uint32_t divisor;

	if (t->tsc_khz == 0 || t->tsc_khz > UINT32_MAX)
		return (struct cpuid_answer){ 0 };
	divisor = greatest_divisor((uint32_t)t->tsc_khz, crystal_khz);
	a.eax = crystal_khz / divisor;
	a.ebx = (uint32_t)t->tsc_khz / divisor;
	if ((uint64_t)crystal_khz * a.ebx > UINT32_MAX)
		return (struct cpuid_answer){ 0 };
	return a;
}

static struct cpuid_answer leaf_frequency(const struct cpuid_topology *t)
{
	uint32_t mhz = (uint32_t)(t->tsc_khz / 1000) & 0xffff;

	return (struct cpuid_answer){ .eax = mhz, .ebx = mhz, .ecx = APIC_TIMER_HZ / 1000000 };
}

static struct cpuid_answer basic(const struct cpu_model *m, const struct x86_state *s,
				 const struct cpuid_topology *t, uint32_t leaf, uint32_t sub)
{
	switch (leaf) {
	case 0: return leaf_vendor(s);
	case 1: return leaf_features(m, s, t);
	case 2: /* AL 1; FFH: see leaf 4; F0H: 64-byte prefetch */
		return (struct cpuid_answer){ .eax = 0x0000ff01, .ebx = 0xf0 };
	case 4: return leaf_cache(m, t, sub);
	case 6: return (struct cpuid_answer){ .eax = ARAT };
	case 7: return leaf_more_features(m, s, t, sub);
	case 0xb: return leaf_topology(t, sub);
	case 0xd: return leaf_xsave(m, s, sub);
	case 0x15: return leaf_tsc(t);
	case 0x16: return leaf_frequency(t);
	default: return (struct cpuid_answer){ 0 };
	}
}

static struct cpuid_answer hypervisor(const struct cpuid_topology *t, uint32_t leaf)
{
	struct cpuid_answer a = { 0 };

	switch (leaf) {
	case FIRST_HYPERVISOR:
		a.eax = LAST_HYPERVISOR;
		memcpy(&a.ebx, "KVMK", 4);
		memcpy(&a.ecx, "VMKV", 4);
		memcpy(&a.edx, "M\0\0\0", 4);
		break;
	case FIRST_HYPERVISOR + 1:
		a.eax = KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_CLOCKSOURCE_STABLE |
			(t->kvm_services ? KVM_SERVICES : 0);
		break;
	case LAST_HYPERVISOR: /* kHz, as VMware defined it */
		a.eax = (uint32_t)t->tsc_khz;
		a.ebx = APIC_TIMER_HZ / 1000;
		break;
	}
	return a;
}

static struct cpuid_answer leaf_brand(const struct cpu_model *m, uint32_t part)
{
	char text[48] = { 0 };
	struct cpuid_answer a;

	snprintf(text, sizeof text, "%s", m->brand);
	memcpy(&a.eax, text + part * 16, 4);
	memcpy(&a.ebx, text + part * 16 + 4, 4);
	memcpy(&a.ecx, text + part * 16 + 8, 4);
	memcpy(&a.edx, text + part * 16 + 12, 4);
	return a;
}

static struct cpuid_answer extended(const struct cpu_model *m, uint32_t leaf)
{
	struct cpuid_answer a = { 0 };

	switch (leaf) {
	case FIRST_EXTENDED: a.eax = LAST_EXTENDED; break;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004: return leaf_brand(m, leaf - 0x80000002);
	case 0x80000006: /* level 2: KiB, 16-way, line size */
		a.ecx = m->caches[2].kib << 16 | 8u << 12 | LINE_BYTES;
		break;
	case 0x80000008: a.eax = 48u << 8 | m->phys_bits; break;
	default: add_features(m, leaf, 0, &a); break;
	}
	return a;
}

struct cpuid_answer cpuid_query(const struct cpu_model *m, const struct x86_state *s,
				const struct cpuid_topology *t, uint32_t leaf, uint32_t sub)
{
	if (leaf >= FIRST_HYPERVISOR && leaf <= LAST_HYPERVISOR)
		return hypervisor(t, leaf);
	if (leaf >= FIRST_EXTENDED && leaf <= LAST_EXTENDED)
		return extended(m, leaf);
	return basic(m, s, t, leaf <= LAST_BASIC ? leaf : LAST_BASIC, sub);
}

/* What the software engines may execute on the host as it is; those of a leaf together. */
static const enum cpu_feature native[] = {
	FEATURE_FPU,  FEATURE_CMOV,      FEATURE_MMX,   FEATURE_FXSR,   FEATURE_SSE,
	FEATURE_SSE2, FEATURE_SSE3,      FEATURE_SSSE3, FEATURE_SSE4_1, FEATURE_SSE4_2,
	FEATURE_CX16, FEATURE_PCLMULQDQ, FEATURE_FMA,   FEATURE_MOVBE,  FEATURE_POPCNT,
	FEATURE_AES,  FEATURE_XSAVE,     FEATURE_AVX,   FEATURE_F16C,   FEATURE_BMI1,
	FEATURE_AVX2, FEATURE_BMI2,      FEATURE_ADX,   FEATURE_SHA,    FEATURE_LAHF_LM,
	FEATURE_ABM,
};

#define XCR0_AVX 7u /* x87, SSE, AVX */

/* A host may be a guest itself, and each CPUID a way to its monitor and back. */
struct asked {
	host_cpuid_fn host;
	uint32_t leaf, sub;
	struct cpuid_answer answer;
};

static bool host_has(struct asked *k, enum cpu_feature f)
{
	uint32_t leaf = features[f].leaf, sub = features[f].sub;

	if (k->leaf != leaf || k->sub != sub)
		*k = (struct asked){ k->host, leaf, sub, k->host(leaf, sub) };
	return *reg_of(&k->answer, features[f].reg) >> features[f].bit & 1;
}

int cpu_model_usable_on(const struct cpu_model *m, host_cpuid_fn host, struct fail *why)
{
	struct asked asked = { .host = host }; /* no feature is in leaf 0 */
	char missing[200] = "";
	size_t used = 0;

	for (unsigned i = 0; i < sizeof native / sizeof native[0]; i++)
		if (cpu_model_has(m, native[i]) && !host_has(&asked, native[i]) &&
		    used < sizeof missing)
			used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s",
						 used ? ", " : "", features[native[i]].name);
	if (used)
		return fail(why, -ENOTSUP, "this processor lacks what CPU model %s needs: %s",
			    m->name, missing);
	if (cpu_model_has(m, FEATURE_AVX) && (host(XCR0_LEAF, 0).eax & XCR0_AVX) != XCR0_AVX)
		return fail(why, -ENOTSUP,
			    "the host's operating system has not enabled AVX, which CPU model %s "
			    "needs",
			    m->name);
	return 0;
}

static struct cpuid_answer this_host(uint32_t leaf, uint32_t sub)
{
	struct cpuid_answer a = { 0 };

	if (leaf == XCR0_LEAF) {
		if (this_host(1, 0).ecx & bit_OSXSAVE)
			__asm__("xgetbv" : "=a"(a.eax), "=d"(a.edx) : "c"(0));
		return a;
	}
	__get_cpuid_count(leaf, sub, &a.eax, &a.ebx, &a.ecx, &a.edx);
	return a;
}

int cpu_model_usable(const struct cpu_model *m, struct fail *why)
{
	return cpu_model_usable_on(m, this_host, why);
}

const struct cpu_model *cpu_model_best_on(host_cpuid_fn host, struct fail *why)
{
	struct fail first;

	/* The software engines themselves use AVX. */
	for (unsigned i = 0; cpu_models[i] && cpu_model_has(cpu_models[i], FEATURE_AVX); i++) {
		if (cpu_model_usable_on(cpu_models[i], host, i == 0 ? &first : NULL) == 0)
			return cpu_models[i];
	}
	fail(why, first.code, "%s", first.text);
	return NULL;
}

const struct cpu_model *cpu_model_best(struct fail *why)
{
	return cpu_model_best_on(this_host, why);
}
