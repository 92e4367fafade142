/*
 * fpu.c - x87, SSE, AVX and PKRU between struct x86_state and KVM's XSAVE image.
 *
 * The image is the host's standard form: a legacy region as FXSAVE64 writes it, a header whose
 * first word says which components are not in their initial state, then the components
 * at the places that the host's CPUID gives. What the header leaves out is initial,
 * whatever the bytes say.
 *
 * Spec: SDM vol. 1 13.4, 13.5, 10.5.1 (FXSAVE). Tested by test/unit/kvm_state.c.
 * SPDX-License-Identifier: MIT
 */
#include <cpuid.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define XSAVE_XMM    160
#define XSAVE_HEADER 512

enum { PART_X87, PART_SSE, PART_AVX, PART_PKRU = 9 };

/* The first bytes of the legacy region. */
struct fxsave {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
};
_Static_assert(sizeof(struct fxsave) == XSAVE_XMM, "FXSAVE's layout");

/* Where the host keeps a component, or 0: it has none. */
static unsigned place(unsigned part)
{
	unsigned eax, ebx = 0, ecx, edx;

	if (!__get_cpuid_count(0xd, part, &eax, &ebx, &ecx, &edx) || eax == 0)
		return 0;
	return ebx + 8 <= sizeof(struct kvm_xsave) ? ebx : 0;
}

static void put_legacy(const struct x86_fpu *f, uint8_t *image)
{
	struct fxsave x = {
		.fcw = f->fcw,
		.fsw = f->fsw,
		.ftw = f->ftw,
		.fop = f->fop,
		.fip = f->fip,
		.fdp = f->fdp,
		.mxcsr = f->mxcsr,
	};

	for (unsigned i = 0; i < 8; i++) {
		memcpy(x.st[i], &f->st[i].mant, 8);
		memcpy(x.st[i] + 8, &f->st[i].exp, 2);
	}
	memcpy(image, &x, sizeof(x));
	for (unsigned i = 0; i < 16; i++)
		memcpy(image + XSAVE_XMM + 16 * i, f->ymm[i], 16);
}

int kvm_set_fpu(struct kvm_vcpu *k, struct fail *why)
{
	uint8_t image[sizeof(struct kvm_xsave)] __attribute__((aligned(64))) = { 0 };
	uint64_t parts = 1u << PART_X87 | 1u << PART_SSE;
	unsigned avx = place(PART_AVX), pkru = place(PART_PKRU);
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0].value = k->s.xcr0 };
	long err = KVM_DO(k->fd, KVM_SET_XCRS, &xcrs, why);

	put_legacy(&k->s.fpu, image);
	if (avx && cpu_model_has(k->vcpu->vm->cpu_model, FEATURE_AVX)) {
		parts |= 1u << PART_AVX;
		for (unsigned i = 0; i < 16; i++)
			memcpy(image + avx + 16 * i, &k->s.fpu.ymm[i][2], 16);
	}
	if (pkru && cpu_model_has(k->vcpu->vm->cpu_model, FEATURE_PKU)) {
		parts |= 1u << PART_PKRU;
		memcpy(image + pkru, &k->s.pkru, 4);
	}
	memcpy(image + XSAVE_HEADER, &parts, 8);
	return (int)(err < 0 ? err : KVM_DO(k->fd, KVM_SET_XSAVE, image, why));
}

static void take_x87(struct x86_fpu *f, const uint8_t *image, bool in_use)
{
	struct fxsave x = { .fcw = 0x37f };

	if (in_use)
		memcpy(&x, image, sizeof(x));
	f->fcw = x.fcw;
	f->fsw = x.fsw;
	f->ftw = x.ftw;
	f->fop = x.fop;
	f->fip = x.fip;
	f->fdp = x.fdp;
	for (unsigned i = 0; i < 8; i++) {
		uint16_t exp;

		memcpy(&f->st[i].mant, x.st[i], 8);
		memcpy(&exp, x.st[i] + 8, 2);
		f->st[i].exp = exp;
	}
}

/* MXCSR belongs to SSE and to AVX alike: SDM vol. 1 13.5.2. */
static void take_vectors(struct x86_fpu *f, const uint8_t *image, uint64_t parts, unsigned avx)
{
	memset(f->ymm, 0, sizeof(f->ymm));
	f->mxcsr = 0x1f80;
	if (parts & (1u << PART_SSE | 1u << PART_AVX))
		memcpy(&f->mxcsr, image + offsetof(struct fxsave, mxcsr), 4);
	for (unsigned i = 0; i < 16; i++) {
		if (parts >> PART_SSE & 1)
			memcpy(f->ymm[i], image + XSAVE_XMM + 16 * i, 16);
		if (avx && parts >> PART_AVX & 1)
			memcpy(&f->ymm[i][2], image + avx + 16 * i, 16);
	}
}

int kvm_get_fpu(struct kvm_vcpu *k, struct fail *why)
{
	uint8_t image[sizeof(struct kvm_xsave)] __attribute__((aligned(64))) = { 0 };
	unsigned pkru = place(PART_PKRU);
	struct kvm_xcrs xcrs = { 0 };
	long err = KVM_DO(k->fd, KVM_GET_XCRS, &xcrs, why);
	uint64_t parts;

	if (err >= 0)
		err = KVM_DO(k->fd, KVM_GET_XSAVE, image, why);
	if (err < 0)
		return (int)err;
	for (unsigned i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
		if (xcrs.xcrs[i].xcr == 0)
			k->s.xcr0 = xcrs.xcrs[i].value;
	memcpy(&parts, image + XSAVE_HEADER, 8);
	take_x87(&k->s.fpu, image, parts >> PART_X87 & 1);
	take_vectors(&k->s.fpu, image, parts, place(PART_AVX));
	k->s.pkru = 0;
	if (pkru && parts >> PART_PKRU & 1)
		memcpy(&k->s.pkru, image + pkru, 4);
	return 0;
}
