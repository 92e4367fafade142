/*
 * paging.c - the page walk.
 *
 * One walk is three steps: follow the entries down to the leaf and collect them, with the
 * faults of the structure (not present, reserved bits) raised on the way; judge the
 * access by the rights all of them grant together; then set A and D. Only the last
 * changes memory, by compare-and-swap: when another processor changed an entry
 * meanwhile, the walk starts again, so a permission is never taken from a stale one.
 *
 * Not modelled: paging-structure caches (every walk starts at CR3; PAE keeps its four
 * PDPTEs in the state, as hardware does), LA57, protection keys for supervisor pages.
 *
 * Spec: SDM vol. 3 4.3-4.8. Tested by test/unit/paging.c.
 * SPDX-License-Identifier: MIT
 */
#include "cpu/paging.h"

#include <stddef.h>

#define ENTRY_P  (UINT64_C(1) << 0)
#define ENTRY_W  (UINT64_C(1) << 1)
#define ENTRY_U  (UINT64_C(1) << 2)
#define ENTRY_A  (UINT64_C(1) << 5)
#define ENTRY_D  (UINT64_C(1) << 6)
#define ENTRY_PS (UINT64_C(1) << 7)
#define ENTRY_G  (UINT64_C(1) << 8)
#define ENTRY_XD (UINT64_C(1) << 63)

#define ENTRY_KEY(entry) ((entry) >> 59 & 15)
#define PKRU_AD(key)     (1u << ((key)*2))
#define PKRU_WD(key)     (2u << ((key)*2))

#define BITS(high, low) ((UINT64_MAX >> (63 - (high))) & ~((UINT64_C(1) << (low)) - 1))

#define LEVELS 4

/* The three forms of table, and what differs between them. */
struct form {
	unsigned levels, entry_bytes, index_bits;
	uint64_t reserved; /* in every entry */
	uint64_t address;  /* mask */
};

#define LONG_FORM(no_xd)                                                                           \
	((struct form){ 4, 8, 9, BITS(51, PAGING_PHYS_BITS) | (no_xd),                             \
			BITS(PAGING_PHYS_BITS - 1, PAGE_SHIFT) })
#define PAE_FORM(no_xd)                                                                            \
	((struct form){ 2, 8, 9, BITS(62, PAGING_PHYS_BITS) | (no_xd),                             \
			BITS(PAGING_PHYS_BITS - 1, PAGE_SHIFT) })
#define OLD_FORM ((struct form){ 2, 4, 10, 0, BITS(31, PAGE_SHIFT) })

/* Whoever takes a form is compiled once for each: walks are what a cold TLB costs. */
#define EACH_FORM static inline __attribute__((always_inline))

/* What one walk has found. */
struct path {
	unsigned count; /* entries used, from the root */
	struct {
		void *host; /* NULL: not RAM */
		gpa_t at;
		uint64_t value;
	} entry[LEVELS];
	uint64_t all, any; /* bits that each has, or one */
	uint64_t leaf;
	unsigned page_shift;
	uint64_t page;             /* guest-physical */
	bool write, user, execute; /* granted by every level */
};

EACH_FORM uint64_t entry_load(const void *host, unsigned bytes)
{
	if (!host)
		return bytes == 8 ? UINT64_MAX : UINT32_MAX;
	if (bytes == 8)
		return __atomic_load_n((const uint64_t *)host, __ATOMIC_RELAXED);
	return __atomic_load_n((const uint32_t *)host, __ATOMIC_RELAXED);
}

EACH_FORM bool entry_swap(void *host, unsigned bytes, uint64_t old, uint64_t value)
{
	uint32_t old32 = (uint32_t)old;

	if (bytes == 8)
		return __atomic_compare_exchange_n((uint64_t *)host, &old, value, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return __atomic_compare_exchange_n((uint32_t *)host, &old32, (uint32_t)value, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Does this entry map a page itself? `shift` is that of what one entry of its table spans. */
EACH_FORM bool maps_page(const struct x86_state *s, const struct form *f, uint64_t entry,
			 unsigned shift)
{
	if (shift == PAGE_SHIFT)
		return true;
	if (f->entry_bytes == 4)
		return (entry & ENTRY_PS) && (s->cr4 & CR4_PSE);
	return (entry & ENTRY_PS) && shift <= 30;
}

/* Bits that must be 0 in an entry that maps a page of 1 << shift bytes, or in a table entry. */
EACH_FORM uint64_t reserved_bits(const struct form *f, unsigned shift, bool leaf)
{
	if (!leaf)
		return f->reserved | (shift == 39 ? ENTRY_PS : 0);
	if (shift == PAGE_SHIFT)
		return f->reserved;
	if (f->entry_bytes == 4)
		return BITS(21, 21);
	return f->reserved | BITS(shift - 1, 13);
}

EACH_FORM uint64_t page_address(const struct form *f, uint64_t leaf, unsigned shift)
{
	if (f->entry_bytes == 4 && shift == 22) /* PSE-36: bits 20:13 are address bits 39:32 */
		return (leaf & BITS(31, 22)) | (leaf & BITS(20, 13)) << 19;
	return leaf & f->address & ~(BITS(shift - 1, 0));
}

/* What the tables themselves say of an address, before any rights. */
enum descent { DESCENT_TABLE, DESCENT_PAGE, DESCENT_NOT_PRESENT, DESCENT_RESERVED };

/* The entry for `at` in *table, where each spans 1 << shift bytes. Then *table is the next. */
EACH_FORM enum descent step_down(const struct x86_state *s, const struct walk_memory *mem,
				 const struct form *f, unsigned shift, uint64_t at, uint64_t *table,
				 struct path *path)
{
	uint64_t index = at >> shift & ((1u << f->index_bits) - 1);
	gpa_t where = gpa(*table + index * f->entry_bytes);
	void *host = mem->entry(mem->arg, where, f->entry_bytes);
	uint64_t value = entry_load(host, f->entry_bytes);
	bool leaf = maps_page(s, f, value, shift);

	if (!(value & ENTRY_P))
		return DESCENT_NOT_PRESENT;
	if (value & (leaf ? reserved_bits(f, shift, true) : reserved_bits(f, shift, false)))
		return DESCENT_RESERVED;
	path->entry[path->count].host = host;
	path->entry[path->count].at = where;
	path->entry[path->count++].value = value;
	path->all &= value;
	path->any |= value;
	if (leaf) {
		path->leaf = value;
		path->page_shift = shift;
		path->page = page_address(f, value, shift);
		return DESCENT_PAGE;
	}
	*table = value & f->address;
	return DESCENT_TABLE;
}

/* Follows the entries from `table`, the root, down to the one that maps a page. */
EACH_FORM enum descent descend(const struct x86_state *s, const struct walk_memory *mem,
			       const struct form *f, uint64_t table, uint64_t at, struct path *path)
{
	enum descent d = DESCENT_TABLE;

	path->count = 0;
	path->all = UINT64_MAX;
	path->any = 0;
	if (f->levels == 4)
		d = step_down(s, mem, f, 39, at, &table, path);
	if (f->levels == 4 && d == DESCENT_TABLE)
		d = step_down(s, mem, f, 30, at, &table, path);
	if (d == DESCENT_TABLE)
		d = step_down(s, mem, f, PAGE_SHIFT + f->index_bits, at, &table, path);
	if (d == DESCENT_TABLE)
		d = step_down(s, mem, f, PAGE_SHIFT, at, &table, path);
	path->write = path->all & ENTRY_W;
	path->user = path->all & ENTRY_U;
	path->execute = f->entry_bytes == 4 || !(path->any & ENTRY_XD);
	return d;
}

static bool has_key(const struct x86_state *s, const struct path *path)
{
	return path->user && x86_long_mode(s) && s->cr4 & CR4_PKE;
}

/* Does the protection key of the leaf forbid this data access? SDM vol. 3 4.6.2 */
static bool key_denies(const struct x86_state *s, const struct path *path, bool write, bool user)
{
	unsigned key = ENTRY_KEY(path->leaf);

	if (!has_key(s, path))
		return false;
	if (s->pkru & PKRU_AD(key))
		return true;
	return write && (s->pkru & PKRU_WD(key)) && (user || (s->cr0 & CR0_WP));
}

/* SDM vol. 3 4.6.1, without protection keys. */
static bool rights_grant(const struct x86_state *s, const struct path *path, enum access access,
			 bool user, bool ac)
{
	if (user && !path->user)
		return false;
	if (access == ACCESS_EXEC)
		return path->execute && (user || !path->user || !(s->cr4 & CR4_SMEP));
	if (!user && path->user && (s->cr4 & CR4_SMAP) && !ac)
		return false;
	return access == ACCESS_READ || path->write || (!user && !(s->cr0 & CR0_WP));
}

static bool grants(const struct x86_state *s, const struct path *path, enum access access,
		   bool user, bool ac)
{
	return rights_grant(s, path, access, user, ac) &&
	       (access == ACCESS_EXEC || !key_denies(s, path, access == ACCESS_WRITE, user));
}

/* The bits of the error code that describe the access. SDM vol. 3 4.7 */
static uint32_t error_of_access(const struct x86_state *s, enum access access, bool user)
{
	bool fetch_told = ((s->cr4 & CR4_PAE) && (s->efer & EFER_NX)) || (s->cr4 & CR4_SMEP);

	return (access == ACCESS_WRITE ? PF_W : 0) | (user ? PF_U : 0) |
	       (access == ACCESS_EXEC && fetch_told ? PF_I : 0);
}

static bool refuse(struct walk *out, uint32_t error)
{
	*out = (struct walk){ .error = error };
	return false;
}

/* Sets A in every entry and D in the leaf. false: one has changed since it was read. */
EACH_FORM bool mark_used(const struct walk_memory *mem, const struct form *f, struct path *path,
			 bool dirty)
{
	for (unsigned i = 0; i < path->count; i++) {
		uint64_t old = path->entry[i].value;
		uint64_t value = old | ENTRY_A;

		if (dirty && i == path->count - 1)
			value |= ENTRY_D;
		if (value == old || !path->entry[i].host)
			continue;
		if (!entry_swap(path->entry[i].host, f->entry_bytes, old, value))
			return false;
		if (mem->changed)
			mem->changed(mem->arg, path->entry[i].at, f->entry_bytes);
	}
	if (dirty)
		path->leaf |= ENTRY_D;
	return true;
}

static void describe(const struct x86_state *s, const struct path *path, uint64_t at, bool user,
		     bool ac, struct walk *out)
{
	uint64_t bytes = UINT64_C(1) << path->page_shift;
	unsigned key = ENTRY_KEY(path->leaf);

	*out = (struct walk){
		.gpa = gpa(path->page | (at & (bytes - 1))),
		.page_bytes = bytes,
		.writable = (path->leaf & ENTRY_D) && grants(s, path, ACCESS_WRITE, user, ac),
		.readable = grants(s, path, ACCESS_READ, user, ac),
		.executable = grants(s, path, ACCESS_EXEC, user, ac),
		.global = (path->leaf & ENTRY_G) && (s->cr4 & CR4_PGE),
		.user = path->user,
		.pkru_bits = has_key(s, path) ? PKRU_AD(key) | PKRU_WD(key) : 0,
	};
}

static bool no_paging(uint64_t at, struct walk *out)
{
	*out = (struct walk){
		.gpa = gpa((uint32_t)at),
		.page_bytes = UINT64_C(1) << 30,
		.writable = true,
		.readable = true,
		.executable = true,
	};
	return true;
}

/* By the tables below `root`. */
EACH_FORM bool walk_tables(const struct x86_state *s, const struct walk_memory *mem, uint64_t at,
			   enum access access, bool user, bool ac, const struct form *f,
			   uint64_t root, struct walk *out)
{
	uint32_t error = error_of_access(s, access, user);
	struct path path;

	do {
		switch (descend(s, mem, f, root & f->address, at, &path)) {
		case DESCENT_NOT_PRESENT: return refuse(out, error);
		case DESCENT_RESERVED: return refuse(out, error | PF_P | PF_R);
		default: break;
		}
		if (!grants(s, &path, access, user, ac)) {
			bool key = access != ACCESS_EXEC &&
				   key_denies(s, &path, access == ACCESS_WRITE, user);

			return refuse(out, error | PF_P | (key ? PF_PK : 0));
		}
	} while (!mark_used(mem, f, &path, access == ACCESS_WRITE));
	describe(s, &path, at, user, ac, out);
	return true;
}

bool page_walk(const struct x86_state *s, const struct walk_memory *mem, gva_t at,
	       enum access access, bool user, bool ac, struct walk *out)
{
	uint64_t no_xd = s->efer & EFER_NX ? 0 : ENTRY_XD, root = s->cr3;

	if (!(s->cr0 & CR0_PG))
		return no_paging(at.v, out);
	if (x86_long_mode(s))
		return walk_tables(s, mem, at.v, access, user, ac, &LONG_FORM(no_xd), root, out);
	if (!(s->cr4 & CR4_PAE))
		return walk_tables(s, mem, at.v, access, user, ac, &OLD_FORM, root, out);
	root = s->pdpte[at.v >> 30 & 3];
	if (!(root & ENTRY_P))
		return refuse(out, error_of_access(s, access, user));
	return walk_tables(s, mem, at.v, access, user, ac, &PAE_FORM(no_xd), root, out);
}

bool page_load_pdpte(struct x86_state *s, const struct walk_memory *mem, uint64_t cr3,
		     unsigned phys_bits)
{
	uint64_t reserved = BITS(63, phys_bits) | BITS(8, 5) | BITS(2, 1);
	uint64_t pdpte[4];

	for (unsigned i = 0; i < 4; i++) {
		gpa_t at = gpa((cr3 & BITS(31, 5)) + i * 8);

		pdpte[i] = entry_load(mem->entry(mem->arg, at, 8), 8);
		if ((pdpte[i] & ENTRY_P) && (pdpte[i] & reserved))
			return false;
	}
	for (unsigned i = 0; i < 4; i++)
		s->pdpte[i] = pdpte[i];
	return true;
}
