/*
 * segment.c - descriptors to segment registers, and the checks on both.
 *
 * A segment register is its hidden part: base, limit in bytes, attributes. The
 * descriptor in memory is looked at once, when it is loaded. Real mode and v86 fill
 * the same hidden part without a descriptor, so that one limit check serves all modes;
 * real mode keeps the limit, which is what "unreal mode" lives on.
 *
 * Where the SDM leaves it open (5.3: a segment with a limit of 4 GiB - 1), an access
 * beyond the last byte wraps around and is allowed, as it is on flat segments that
 * nobody checks.
 *
 * Spec: SDM vol. 3 3.4.5, 5.3-5.7, 21.1. Tested by test/unit/segment.c.
 * SPDX-License-Identifier: MIT
 */
#include "cpu/segment.h"

#define DATA_RW (SEG_P | SEG_S | SEG_WRITE | SEG_ACCESSED)

struct x86_seg segment_unpack(uint16_t selector, uint64_t descriptor)
{
	struct x86_seg seg = {
		.base = (descriptor >> 16 & 0xffffff) | (descriptor >> 56 & 0xff) << 24,
		.limit = (uint32_t)((descriptor & 0xffff) | (descriptor >> 48 & 0xf) << 16),
		.attr = (uint32_t)(descriptor >> 40 & 0xf0ff),
		.selector = selector,
	};

	if (seg.attr & SEG_G)
		seg.limit = seg.limit << 12 | 0xfff;
	return seg;
}

uint64_t segment_pack(const struct x86_seg *seg)
{
	uint64_t limit = seg->attr & SEG_G ? seg->limit >> 12 : seg->limit;

	return (limit & 0xffff) | (limit >> 16 & 0xf) << 48 | (seg->base & 0xffffff) << 16 |
	       (seg->base >> 24 & 0xff) << 56 | (uint64_t)(seg->attr & 0xf0ff) << 40;
}

void segment_load_real(struct x86_seg *seg, uint16_t selector)
{
	uint32_t kept = seg->attr & (SEG_G | SEG_DB | SEG_AVL);

	if (seg->attr & SEG_UNUSABLE) /* null when protected mode was left: nothing to keep */
		*seg = (struct x86_seg){ .limit = 0xffff };
	else if (!(seg->attr & SEG_CODE))
		kept |= seg->attr & SEG_DOWN;
	seg->selector = selector;
	seg->base = (uint32_t)selector << 4;
	seg->attr = DATA_RW | kept;
}

void segment_load_v86(struct x86_seg *seg, uint16_t selector)
{
	*seg = (struct x86_seg){
		.selector = selector,
		.base = (uint32_t)selector << 4,
		.limit = 0xffff,
		.attr = DATA_RW | 3u << 5,
	};
}

void segment_load_null(struct x86_seg *seg, uint16_t selector)
{
	*seg = (struct x86_seg){
		.selector = selector,
		.attr = SEG_UNUSABLE | (selector & 3u) << 5,
	};
}

static bool rights_allow(uint32_t attr, bool write)
{
	if (attr & SEG_UNUSABLE)
		return false;
	if (!(attr & SEG_S)) /* LDT, TSS: limit only */
		return true;
	if (attr & SEG_CODE)
		return !write && (attr & SEG_WRITE);
	return !write || (attr & SEG_WRITE);
}

static bool expands_down(uint32_t attr)
{
	return (attr & (SEG_S | SEG_CODE | SEG_DOWN)) == (SEG_S | SEG_DOWN);
}

bool segment_allows(const struct x86_seg *seg, uint64_t offset, unsigned size, bool write)
{
	uint64_t last = offset + size - 1;

	if (!rights_allow(seg->attr, write))
		return false;
	if (expands_down(seg->attr))
		return offset > seg->limit && last <= (seg->attr & SEG_DB ? UINT32_MAX : 0xffff);
	return last <= seg->limit || seg->limit == UINT32_MAX;
}

bool segment_unlimited(const struct x86_seg *seg, bool write)
{
	return seg->limit == UINT32_MAX && !expands_down(seg->attr) &&
	       rights_allow(seg->attr, write);
}

bool segment_flat(const struct x86_seg *seg, bool write)
{
	return seg->base == 0 && segment_unlimited(seg, write);
}

int segment_check_data(const struct x86_seg *seg, uint16_t selector, unsigned cpl)
{
	bool code = seg->attr & SEG_CODE;
	unsigned dpl = SEG_DPL(seg->attr);

	if (!(seg->attr & SEG_S) || (code && !(seg->attr & SEG_WRITE)))
		return VEC_GP;
	/* Conforming code (SEG_DOWN) may be read from any level. */
	if (!(code && (seg->attr & SEG_DOWN)) && (dpl < cpl || dpl < (selector & 3u)))
		return VEC_GP;
	return seg->attr & SEG_P ? 0 : VEC_NP;
}

int segment_check_stack(const struct x86_seg *seg, uint16_t selector, unsigned cpl)
{
	uint32_t kind = seg->attr & (SEG_S | SEG_CODE | SEG_WRITE);

	if (kind != (SEG_S | SEG_WRITE))
		return VEC_GP;
	if ((selector & 3u) != cpl || SEG_DPL(seg->attr) != cpl)
		return VEC_GP;
	return seg->attr & SEG_P ? 0 : VEC_SS;
}
