/*
 * entry.c - the CPU states in which kernels expect to be entered.
 *
 * The descriptors are written to a GDT in guest memory and the segment registers
 * are unpacked from the same numbers, so the hidden parts always agree with what
 * a reload would give, and a processor's own checks of the state pass (an
 * accessed code segment, a busy TSS, an unusable LDT).
 *
 * Spec: SDM vol. 3 3.4.5, 4.5, 9.8, 12.11, 26.3.1. Tested by test/unit/linux.c.
 * SPDX-License-Identifier: MIT
 */
#include "boot/loader.h"

#include "boot/bytes.h"
#include "cpu/paging.h"
#include "cpu/segment.h"

/* The layout the Linux protocol fixes: code at 0x10, data at 0x18; the rest is ours. */
enum { GDT_CODE = 2, GDT_DATA = 3, GDT_TSS = 4, GDT_COUNT = 6 };

#define DESCRIPTOR_CODE64 UINT64_C(0x00af9b000000ffff)
#define DESCRIPTOR_CODE32 UINT64_C(0x00cf9b000000ffff)
#define DESCRIPTOR_DATA   UINT64_C(0x00cf93000000ffff)
#define DESCRIPTOR_TSS    UINT64_C(0x00008b0000000067) /* busy; long mode reads 16 bytes */

#define MTRR_ENABLE       (UINT64_C(1) << 11)
#define MTRR_FIXED_ENABLE (UINT64_C(1) << 10)
#define MTRR_VALID        (UINT64_C(1) << 11)
#define TYPE_UNCACHEABLE  UINT64_C(0)
#define TYPE_WRITE_BACK   UINT64_C(6)

/* mtrr_fixed[]: one of 64 KiB units, two of 16 KiB, eight of 4 KiB from 0xc0000. */
enum { MTRR_FIXED_VIDEO = 2, MTRR_FIXED_TABLES = 7, MTRR_FIXED_COUNT = 11 };

#define PTE_PRESENT UINT64_C(0x01)
#define PTE_WRITE   UINT64_C(0x02)
#define PTE_LARGE   UINT64_C(0x80)

void entry_real(struct x86_state *s, uint64_t at)
{
	uint16_t cs = at < 0x10000 ? 0 : (uint16_t)(at >> 4);

	x86_state_reset(s, true);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		segment_load_real(&s->seg[i], i == CS ? cs : 0);
	s->rip = at - (uint64_t)cs * 16;
	s->gpr[RSP] = at < 0x10000 ? at : 0;
	s->gpr[RDX] = 0;
}

/*
 * Memory types, as firmware leaves them: everything is write-back but the video and
 * option ROM hole and the device hole from 2 to 4 GiB. Linux does without the
 * page-attribute table when the MTRRs are off.
 */
static void memory_types(struct x86_state *s)
{
	uint64_t all = (UINT64_C(1) << PAGING_PHYS_BITS) - 1;

	s->mtrr_def_type = MTRR_ENABLE | MTRR_FIXED_ENABLE | TYPE_WRITE_BACK;
	for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++)
		s->mtrr_fixed[i] = i < MTRR_FIXED_VIDEO || i >= MTRR_FIXED_TABLES
					   ? TYPE_WRITE_BACK * UINT64_C(0x0101010101010101)
					   : 0;
	s->mtrr_base[0] = MAP_LOW_END | TYPE_UNCACHEABLE;
	s->mtrr_mask[0] = (all & ~(MAP_HIGH - MAP_LOW_END - 1)) | MTRR_VALID;
}

static int segments(struct boot_job *job, uint64_t code, struct fail *why)
{
	struct x86_state *s = job->state;
	uint64_t entry[GDT_COUNT] = {
		[GDT_CODE] = code, [GDT_DATA] = DESCRIPTOR_DATA, [GDT_TSS] = DESCRIPTOR_TSS
	};
	uint8_t raw[8 * GDT_COUNT];
	uint64_t at;

	for (unsigned i = 0; i < GDT_COUNT; i++)
		put_le(raw + 8 * i, entry[i], 8);
	int r = boot_room(job, sizeof(raw), &at, why);
	if (!r)
		r = boot_store(job, at, raw, sizeof(raw), why);
	if (r)
		return r;
	x86_state_reset(s, true);
	s->gdtr = (struct x86_table){ at, sizeof(raw) - 1 };
	s->idtr = (struct x86_table){ 0, 0 };
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = segment_unpack(8 * GDT_DATA, DESCRIPTOR_DATA);
	s->seg[CS] = segment_unpack(8 * GDT_CODE, code);
	s->tr = segment_unpack(8 * GDT_TSS, DESCRIPTOR_TSS);
	s->ldtr = (struct x86_seg){ .attr = SEG_UNUSABLE };
	s->rflags = FLAG_FIXED;
	s->gpr[RDX] = 0; /* reset leaves the processor signature there */
	memory_types(s);
	return 0;
}

int entry_protected(struct boot_job *job, uint64_t eip, struct fail *why)
{
	int r = segments(job, DESCRIPTOR_CODE32, why);
	if (r)
		return r;
	job->state->cr0 = CR0_PE | CR0_ET;
	job->state->rip = eip;
	return 0;
}

/* PML4, PDPT and four page directories. */
static int identity_map(struct boot_job *job, uint64_t *cr3, struct fail *why)
{
	uint8_t page[PAGE_SIZE] = { 0 };
	uint64_t at;

	int r = boot_room(job, 6 * PAGE_SIZE, &at, why);
	if (r)
		return r;
	*cr3 = at;
	put_le(page, (at + PAGE_SIZE) | PTE_PRESENT | PTE_WRITE, 8);
	r = boot_store(job, at, page, PAGE_SIZE, why);
	for (unsigned i = 0; i < 4; i++)
		put_le(page + 8 * i, (at + (2 + i) * PAGE_SIZE) | PTE_PRESENT | PTE_WRITE, 8);
	if (!r)
		r = boot_store(job, at + PAGE_SIZE, page, PAGE_SIZE, why);
	for (unsigned d = 0; d < 4 && !r; d++) {
		for (unsigned i = 0; i < 512; i++)
			put_le(page + 8 * i,
			       ((uint64_t)(d * 512 + i) << 21) | PTE_PRESENT | PTE_WRITE |
				       PTE_LARGE,
			       8);
		r = boot_store(job, at + (2 + d) * PAGE_SIZE, page, PAGE_SIZE, why);
	}
	return r;
}

int entry_long(struct boot_job *job, uint64_t rip, struct fail *why)
{
	uint64_t cr3;
	int r = segments(job, DESCRIPTOR_CODE64, why);
	if (!r)
		r = identity_map(job, &cr3, why);
	if (r)
		return r;
	job->state->cr0 = CR0_PG | CR0_PE | CR0_ET;
	job->state->cr3 = cr3;
	job->state->cr4 = CR4_PAE;
	job->state->efer = EFER_LME | EFER_LMA;
	job->state->rip = rip;
	return 0;
}
