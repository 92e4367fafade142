/*
 * string.c - MOVS, STOS, LODS, CMPS, SCAS with their repeat prefixes.
 *
 * The idea: a repeat is a loop of single elements, each of which may fault or be the last
 * before an interrupt; the registers always say what is left. Whole runs within a page are
 * done at once on host memory, upwards, and MOVS and STOS downwards, too (boot loaders move kernels
 * so) - with the result that element by element would have, so MOVS onto its own source a few bytes
 * on repeats a pattern. Waiting work is looked at after each run; at least one element is done
 * before the instruction gives way.
 *
 * CMPS and SCAS assign the flags when they are complete, not when they fault or pause. With 32-bit
 * addresses in 64-bit code a repeat clears the upper halves of RCX, and for MOVS and STOS of
 * the pointers, even if it does nothing.
 *
 * INS and OUTS are in the system files.
 *
 * Spec: SDM vol. 1 7.3.9, vol. 2 "REP". Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/form.h"
#include "engine/interp/integer.h"

/* One element. false: fault recorded, no register changed. */
typedef bool (*one_fn)(struct interp *c, const struct insn *i);
/* Up to `most` elements on host memory; how many were done (0: do one the long way). */
typedef uint64_t (*run_fn)(struct interp *c, const struct insn *i, uint64_t most);

static inline uint64_t index_of(const struct interp *c, enum gpr reg, uint8_t asz)
{
	return c->r[reg] & asz_mask(asz);
}

static inline void advance(struct interp *c, enum gpr reg, uint8_t asz, uint64_t bytes)
{
	reg_set(c, (uint8_t)(reg * 8), asz, c->r[reg] + bytes);
}

static inline uint64_t one_element(const struct interp *c, uint64_t size)
{
	return c->s.rflags & FLAG_DF ? -size : size;
}

/* Shortens *n to what lies at `reg` before the page or the address space ends, that way. The host
 * address of the element at `reg`, or NULL. told: see mem_run(). */
static inline __attribute__((always_inline)) uint8_t *run_at(struct interp *c, enum seg seg,
							     enum gpr reg, uint8_t asz,
							     unsigned size, uint64_t *n, bool down,
							     bool *told)
{
	uint64_t off = index_of(c, reg, asz), bytes, end = down ? off : asz_mask(asz) - off;
	uint8_t *host =
		down ? mem_run_down(c, seg, off, &bytes, told) : mem_run(c, seg, off, &bytes, told);

	if (!host || (down && bytes + size > PAGE_SIZE))
		return NULL;
	if (bytes > end)
		bytes = end;
	if (*n > bytes / size + down)
		*n = bytes / size + down;
	return host;
}

/* Registers after `n` elements of a run. */
static inline void advance_run(struct interp *c, enum gpr reg, uint8_t asz, uint64_t bytes,
			       bool down)
{
	advance(c, reg, asz, down ? -bytes : bytes);
}

/* Elements one after the other where the destination lies on the source's later part. */
static inline void copy_pattern(uint8_t *to, const uint8_t *from, uint64_t n, unsigned size)
{
	uint64_t v;

	for (; n; n--, to += size, from += size) {
		guest_read(&v, from, size);
		guest_write(to, &v, size);
	}
}

static inline void copy_run(uint8_t *to, const uint8_t *from, uint64_t n, unsigned size)
{
	uintptr_t ahead = (uintptr_t)to - (uintptr_t)from;

	if (ahead && ahead < n * size)
		copy_pattern(to, from, n, size);
	else
		guest_copy(to, from, n * size);
}

/* Is the element one byte again and again? */
static inline bool is_one_byte(uint64_t v, unsigned size)
{
	uint64_t all = UINT64_MAX >> (64 - size * 8);

	return (v & all) == ((v & 0xff) * UINT64_C(0x0101010101010101) & all);
}

/* Downwards from `to` and `from`. */
static inline void copy_run_down(uint8_t *to, const uint8_t *from, uint64_t n, unsigned size)
{
	uintptr_t behind = (uintptr_t)from - (uintptr_t)to;
	uint64_t v, rest = (n - 1) * size;

	if (behind == 0 || behind >= n * size) {
		guest_copy(to - rest, from - rest, n * size);
		return;
	}
	for (; n; n--, to -= size, from -= size) {
		guest_read(&v, from, size);
		guest_write(to, &v, size);
	}
}

/* NAME_run and NAME_down. */
#define BOTH_WAYS(name)                                                                            \
	static inline uint64_t name##_run(struct interp *c, const struct insn *i, uint64_t n)      \
	{                                                                                          \
		return name##_along(c, i, n, false);                                               \
	}                                                                                          \
	static inline uint64_t name##_down(struct interp *c, const struct insn *i, uint64_t n)     \
	{                                                                                          \
		return name##_along(c, i, n, true);                                                \
	}

#define STRINGS(bits, s)                                                                           \
	static inline bool movs##bits##_one(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		uint64_t by = one_element(c, sizeof(v));                                           \
		if (UNLIKELY(!mem_load##bits(c, i->seg, index_of(c, RSI, i->asz), &v)) ||          \
		    UNLIKELY(!mem_store##bits(c, ES, index_of(c, RDI, i->asz), v)))                \
			return false;                                                              \
		advance(c, RSI, i->asz, by);                                                       \
		advance(c, RDI, i->asz, by);                                                       \
		return true;                                                                       \
	}                                                                                          \
	static inline __attribute__((always_inline))                                               \
	uint64_t movs##bits##_along(struct interp *c, const struct insn *i, uint64_t n, bool down) \
	{                                                                                          \
		uint8_t *to, *from;                                                                \
		bool told = false;                                                                 \
		from = run_at(c, i->seg, RSI, i->asz, bits / 8, &n, down, NULL);                   \
		to = from ? run_at(c, ES, RDI, i->asz, bits / 8, &n, down, &told) : NULL;          \
		if (!to || !n)                                                                     \
			return 0;                                                                  \
		if (down)                                                                          \
			copy_run_down(to, from, n, bits / 8);                                      \
		else                                                                               \
			copy_run(to, from, n, bits / 8);                                           \
		if (UNLIKELY(told))                                                                \
			mem_run_written(c, down ? to - (n - 1) * (bits / 8) : to, n *(bits / 8));  \
		advance_run(c, RSI, i->asz, n *(bits / 8), down);                                  \
		advance_run(c, RDI, i->asz, n *(bits / 8), down);                                  \
		return n;                                                                          \
	}                                                                                          \
	BOTH_WAYS(movs##bits)                                                                      \
	static inline bool stos##bits##_one(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		if (UNLIKELY(!mem_store##bits(c, ES, index_of(c, RDI, i->asz),                     \
					      (uint##bits##_t)c->r[RAX])))                         \
			return false;                                                              \
		advance(c, RDI, i->asz, one_element(c, bits / 8));                                 \
		return true;                                                                       \
	}                                                                                          \
	static inline __attribute__((always_inline))                                               \
	uint64_t stos##bits##_along(struct interp *c, const struct insn *i, uint64_t n, bool down) \
	{                                                                                          \
		uint##bits##_t v = (uint##bits##_t)c->r[RAX];                                      \
		bool told = false;                                                                 \
		uint8_t *to = run_at(c, ES, RDI, i->asz, sizeof(v), &n, down, &told);              \
		if (!to || !n)                                                                     \
			return 0;                                                                  \
		to -= down ? (n - 1) * sizeof(v) : 0;                                              \
		if (is_one_byte(v, sizeof(v)))                                                     \
			guest_fill(to, (uint8_t)v, n * sizeof(v));                                 \
		else                                                                               \
			for (uint64_t k = 0; k < n; k++)                                           \
				guest_store##bits(to + k * sizeof(v), v);                          \
		if (UNLIKELY(told))                                                                \
			mem_run_written(c, to, n * sizeof(v));                                     \
		advance_run(c, RDI, i->asz, n * sizeof(v), down);                                  \
		return n;                                                                          \
	}                                                                                          \
	BOTH_WAYS(stos##bits)                                                                      \
	static inline bool lods##bits##_one(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		if (UNLIKELY(!mem_load##bits(c, i->seg, index_of(c, RSI, i->asz), &v)))            \
			return false;                                                              \
		advance(c, RSI, i->asz, one_element(c, sizeof(v)));                                \
		reg_set##bits(c, RAX * 8, v);                                                      \
		return true;                                                                       \
	}                                                                                          \
	static inline uint64_t lods##bits##_run(struct interp *c, const struct insn *i,            \
						uint64_t n)                                        \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		uint8_t *from = run_at(c, i->seg, RSI, i->asz, sizeof(v), &n, false, NULL);        \
		if (!from || !n)                                                                   \
			return 0;                                                                  \
		v = guest_load##bits(from + (n - 1) * sizeof(v));                                  \
		advance(c, RSI, i->asz, n * sizeof(v));                                            \
		reg_set##bits(c, RAX * 8, v);                                                      \
		return n;                                                                          \
	}                                                                                          \
	/* The element at rDI is read first. */                                                    \
	static inline bool cmps##bits##_one(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		uint##bits##_t v, w;                                                               \
		uint64_t by = one_element(c, sizeof(v));                                           \
		if (UNLIKELY(!mem_load##bits(c, ES, index_of(c, RDI, i->asz), &w)) ||              \
		    UNLIKELY(!mem_load##bits(c, i->seg, index_of(c, RSI, i->asz), &v)))            \
			return false;                                                              \
		advance(c, RSI, i->asz, by);                                                       \
		advance(c, RDI, i->asz, by);                                                       \
		alu_cmp##bits(&c->arith, v, w);                                                    \
		return true;                                                                       \
	}                                                                                          \
	static inline uint64_t cmps##bits##_run(struct interp *c, const struct insn *i,            \
						uint64_t n)                                        \
	{                                                                                          \
		bool while_equal = i->flags & INSN_REP;                                            \
		uint##bits##_t v = 0, w = 0;                                                       \
		uint64_t k = 0;                                                                    \
		uint8_t *x = run_at(c, i->seg, RSI, i->asz, sizeof(v), &n, false, NULL);           \
		uint8_t *y = x ? run_at(c, ES, RDI, i->asz, sizeof(v), &n, false, NULL) : NULL;    \
		if (!y || !n)                                                                      \
			return 0;                                                                  \
		do {                                                                               \
			v = guest_load##bits(x + k * sizeof(v));                                   \
			w = guest_load##bits(y + k * sizeof(v));                                   \
		} while (++k < n && (v == w) == while_equal);                                      \
		advance(c, RSI, i->asz, k * sizeof(v));                                            \
		advance(c, RDI, i->asz, k * sizeof(v));                                            \
		alu_cmp##bits(&c->arith, v, w);                                                    \
		return k;                                                                          \
	}                                                                                          \
	static inline bool scas##bits##_one(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		uint##bits##_t w;                                                                  \
		if (UNLIKELY(!mem_load##bits(c, ES, index_of(c, RDI, i->asz), &w)))                \
			return false;                                                              \
		advance(c, RDI, i->asz, one_element(c, sizeof(w)));                                \
		alu_cmp##bits(&c->arith, (uint##bits##_t)c->r[RAX], w);                            \
		return true;                                                                       \
	}                                                                                          \
	static inline uint64_t scas##bits##_run(struct interp *c, const struct insn *i,            \
						uint64_t n)                                        \
	{                                                                                          \
		bool while_equal = i->flags & INSN_REP;                                            \
		uint##bits##_t v = (uint##bits##_t)c->r[RAX], w = 0;                               \
		uint64_t k = 0;                                                                    \
		uint8_t *y = run_at(c, ES, RDI, i->asz, sizeof(v), &n, false, NULL);               \
		if (!y || !n)                                                                      \
			return 0;                                                                  \
		do                                                                                 \
			w = guest_load##bits(y + k * sizeof(v));                                   \
		while (++k < n && (v == w) == while_equal);                                        \
		advance(c, RDI, i->asz, k * sizeof(v));                                            \
		alu_cmp##bits(&c->arith, v, w);                                                    \
		return k;                                                                          \
	}
ALU_SIZES(STRINGS)

/* Give way between two elements? To an interrupt, a debug trap, or a stop request. */
static inline bool must_pause(const struct interp *c)
{
	return c->stepping || c->db_hit ||
	       atomic_load_explicit(&c->vcpu->notice, memory_order_relaxed) ||
	       atomic_load_explicit(&c->kicked, memory_order_relaxed);
}

/* `compares`: CMPS or SCAS, which also end by ZF. */
static inline __attribute__((always_inline)) enum step
repeat(struct interp *c, const struct insn *i, one_fn one, run_fn up, run_fn down, bool compares)
{
	uint64_t before = c->arith, left = index_of(c, RCX, i->asz), n;
	run_fn run = c->stepping ? NULL : c->s.rflags & FLAG_DF ? down : up;

	while (left) {
		n = run ? run(c, i, left) : 0;
		if (!n) {
			if (UNLIKELY(!one(c, i))) {
				c->arith = before;
				return STEP_FAULT;
			}
			n = 1;
		}
		left -= n;
		reg_set(c, RCX * 8, i->asz, left);
		if (compares && !(c->arith & FLAG_ZF) == !!(i->flags & INSN_REP))
			break;
		if (left && UNLIKELY(must_pause(c))) {
			c->arith = before;
			return STEP_AGAIN;
		}
	}
	return STEP_NEXT;
}

/* See above: which upper halves a repeat with 32-bit addresses clears. */
static inline void clear_upper(struct interp *c, const struct insn *i, bool rsi, bool rdi)
{
	if (i->asz != 4)
		return;
	c->r[RCX] = (uint32_t)c->r[RCX];
	if (rsi)
		c->r[RSI] = (uint32_t)c->r[RSI];
	if (rdi)
		c->r[RDI] = (uint32_t)c->r[RDI];
}

#define HANDLER(op, bits, rsi, rdi, down, compares)                                                \
	static enum step op##bits(struct interp *c, const struct insn *i)                          \
	{                                                                                          \
		return op##bits##_one(c, i) ? STEP_NEXT : STEP_FAULT;                              \
	}                                                                                          \
	static enum step op##_rep##bits(struct interp *c, const struct insn *i)                    \
	{                                                                                          \
		clear_upper(c, i, rsi, rdi);                                                       \
		return repeat(c, i, op##bits##_one, op##bits##_run, down, compares);               \
	}
/* clang-format off */
#define HANDLERS(bits, s)                                                                          \
	HANDLER(movs, bits, true, true, movs##bits##_down, false)                                                     \
	HANDLER(stos, bits, false, true, stos##bits##_down, false)                                                    \
	HANDLER(lods, bits, false, false, NULL, false)                                                   \
	HANDLER(cmps, bits, false, false, NULL, true)                                                    \
	HANDLER(scas, bits, false, false, NULL, true)
ALU_SIZES(HANDLERS)

#define STRING_BINDS(X)                                                                            \
	X(movs, MOVSB) X(movs, MOVSW) X(movs, MOVSD) X(movs, MOVSQ)                                \
	X(stos, STOSB) X(stos, STOSW) X(stos, STOSD) X(stos, STOSQ)                                \
	X(lods, LODSB) X(lods, LODSW) X(lods, LODSD) X(lods, LODSQ)                                \
	X(cmps, CMPSB) X(cmps, CMPSW) X(cmps, CMPSD) X(cmps, CMPSQ)                                \
	X(scas, SCASB) X(scas, SCASW) X(scas, SCASD) X(scas, SCASQ)
/* clang-format on */

/* MOVSD and CMPSD of the 0F opcode map are SSE2's. */
static bool bind_string(const struct decoding *d, struct insn *i)
{
	bool rep = i->flags & (INSN_REP | INSN_REPNE);
	unsigned size = (unsigned)__builtin_ctz(i->osz);

	if (d->zi.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return false;
	switch (d->zi.mnemonic) {
#define X(op, name)                                                                                \
	case ZYDIS_MNEMONIC_##name: {                                                              \
		static const insn_fn rows[2][4] = { FORM_ROW(op), FORM_ROW(op##_rep) };            \
		i->fn = rows[rep][size];                                                           \
		return true;                                                                       \
	}
		STRING_BINDS(X)
#undef X
	default: return false;
	}
}

/* clang-format off */
const struct bind_row interp_binds_string[] = {
#define X(op, name) { ZYDIS_MNEMONIC_##name, bind_string, ALWAYS },
	STRING_BINDS(X)
#undef X
	{ ZYDIS_MNEMONIC_INVALID, NULL, 0 },
};
/* clang-format on */
