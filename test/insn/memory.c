/*
 * memory.c - the sandbox's contents before and after a case.
 *
 * Every case starts from the same bytes, plus its patches; only what differs afterwards is noted
 * and put back, so a case costs a comparison of six pages and not their copying.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "test/insn/insn.h"

#define X(at, exec, write) at,
const uint32_t page_at[PAGES] = { SANDBOX_PAGES(X) };
#undef X

int view_page(uint32_t at)
{
	for (int i = 0; i < PAGES; i++)
		if ((at & ~(PAGE_BYTES - 1)) == page_at[i])
			return i;
	return -1;
}

/* Code pages are full of INT3. The rest has lines of random bytes, of zeros and of one repeated
 * byte, so that string instructions find runs. */
uint8_t view_initial(uint32_t at)
{
	uint64_t x = (at >> 3) * UINT64_C(0x9e3779b97f4a7c15);

	if (at < DATA_AT)
		return 0xcc;
	x ^= x >> 29;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 32;
	switch (at >> 6 & 7) {
	case 3: return 0;
	case 5: return 0x41;
	default: return (uint8_t)(x >> (8 * (at & 7)));
	}
}

void view_fill(struct view *v)
{
	for (unsigned p = 0; p < PAGES; p++) {
		for (unsigned i = 0; i < PAGE_BYTES; i++)
			v->base[p][i] = view_initial(page_at[p] + i);
		memcpy(v->live[p], v->base[p], PAGE_BYTES);
	}
}

static void set_bytes(struct view *v, unsigned page, unsigned offset, unsigned bytes)
{
	memcpy(v->live[page] + offset, v->base[page] + offset, bytes);
	if (v->written && page < CODE_PAGES)
		v->written(v->arg, page, offset, bytes);
}

void view_begin(struct view *v, const struct insn_case *c)
{
	for (unsigned n = 0; n < PATCHES; n++) {
		const struct patch *p = &c->patch[n];
		/* Page by page: code may lie across one. */
		for (unsigned done = 0, part; done < p->bytes; done += part) {
			uint32_t at = p->at + done, offset = at & (PAGE_BYTES - 1);

			part = p->bytes - done;
			if (part > PAGE_BYTES - offset)
				part = PAGE_BYTES - offset;
			memcpy(v->base[view_page(at)] + offset, p->byte + done, part);
			set_bytes(v, (unsigned)view_page(at), offset, part);
		}
	}
}

static void note(struct outcome *o, uint32_t at, const uint8_t *now)
{
	uint64_t value;

	memcpy(&value, now, 8);
	if (o->changed < DIFFS)
		o->diff[o->changed] = (struct diff){ at, value };
	o->changed++;
	o->memory = (o->memory ^ value ^ (uint64_t)at << 32) * UINT64_C(0x9e3779b97f4a7c15);
	o->memory ^= o->memory >> 31;
}

static void collect(struct view *v, unsigned page, struct outcome *o)
{
	uint8_t *live = v->live[page];
	const uint8_t *base = v->base[page];

	if (memcmp(live, base, PAGE_BYTES) == 0)
		return;
	for (unsigned line = 0; line < PAGE_BYTES; line += 64) {
		if (memcmp(live + line, base + line, 64) == 0)
			continue;
		for (unsigned i = line; i < line + 64; i += 8)
			if (memcmp(live + i, base + i, 8) != 0)
				note(o, page_at[page] + i, live + i);
		set_bytes(v, page, line, 64);
	}
}

void view_end(struct view *v, const struct insn_case *c, struct outcome *o)
{
	o->memory = 0;
	o->changed = 0;
	for (unsigned p = 0; p < PAGES; p++)
		collect(v, p, o);
	for (unsigned n = 0; n < PATCHES; n++)
		for (unsigned i = 0; i < c->patch[n].bytes; i++) {
			uint32_t at = c->patch[n].at + i, offset = at & (PAGE_BYTES - 1);

			v->base[view_page(at)][offset] = view_initial(at);
			set_bytes(v, (unsigned)view_page(at), offset, 1);
		}
}

/* As the kernel builds it from struct user_desc: `useable` is AVL. */
uint64_t ldt_descriptor(unsigned index)
{
#define X(n, base, limit, contents, ro, bits32, absent)                                            \
	{ base, limit, (contents) << 2 | !(ro) << 1 | 1, bits32, !(absent) },
	static const struct {
		uint32_t base, limit;
		uint8_t type, db, present;
	} entry[LDT_COUNT] = { LDT_ROWS(X) };
#undef X
	uint64_t base = entry[index].base, limit = entry[index].limit;

	return (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)entry[index].type << 40 |
	       UINT64_C(7) << 44 | UINT64_C(1) << 52 | (uint64_t)entry[index].present << 47 |
	       (limit >> 16 & 0xf) << 48 | (uint64_t)entry[index].db << 54 | (base >> 24) << 56;
}
