/*
 * debug.c - debug registers, single stepping, breakpoints and interrupt shadows.
 *
 * All of it happens around one instruction: what was true when it began (TF, RF, a shadow) is
 * noted by interp_debug_before() and paid for by interp_debug_after(). The run loop calls
 * them only while interp_debug_single() says so: guests not being debugged pay nothing.
 *
 * Not modelled: single-stepping on branches (DEBUGCTL.BTF is stored), RTM debugging.
 *
 * Spec: SDM vol. 3 ch. 18.2, 18.3; 6.8.3. Tested by test/unit/system.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

#define DR6_BD    UINT64_C(0x2000)
#define DR6_BS    UINT64_C(0x4000)
#define DR6_FIXED UINT64_C(0xffff0ff0)
#define DR6_BITS  UINT64_C(0xe00f) /* B0-B3, BD, BS, BT */
#define DR7_GD    UINT64_C(0x2000)
#define DR7_FIXED UINT64_C(0x400)
#define DR7_BITS  UINT64_C(0xffff23ff)

#define BREAK_EXECUTE 0

static bool enabled(const struct interp *c, unsigned n, unsigned type)
{
	return (c->s.dr7 >> (2 * n) & 3) && (c->s.dr7 >> (16 + 4 * n) & 3) == type;
}

static bool has_instruction_breakpoint(const struct interp *c)
{
	for (unsigned n = 0; n < 4; n++) {
		if (enabled(c, n, BREAK_EXECUTE))
			return true;
	}
	return false;
}

bool interp_debug_single(const struct interp *c)
{
	return c->s.rflags & (FLAG_TF | FLAG_RF) || c->s.shadow ||
	       (UNLIKELY(c->s.dr7 & 0xff) && has_instruction_breakpoint(c));
}

static uint64_t linear_rip(const struct interp *c)
{
	if (c->code_bits == 64)
		return c->r[R_RIP];
	return (uint32_t)(c->r[R_RIP] + c->s.seg[CS].base);
}

bool interp_debug_before(struct interp *c)
{
	uint64_t hit = 0, at = linear_rip(c);

	c->stepping = c->s.rflags & FLAG_TF;
	c->resuming = c->s.rflags & FLAG_RF;
	c->shadow_before = c->s.shadow;
	if (c->resuming || c->s.shadow & SHADOW_MOVSS)
		return false;
	for (unsigned n = 0; n < 4; n++) {
		if (enabled(c, n, BREAK_EXECUTE) && c->s.dr[n] == at)
			hit |= UINT64_C(1) << n;
	}
	if (!hit)
		return false;
	c->fault = (struct fault){ .vector = VEC_DB, .dr6 = hit };
	return true;
}

bool interp_debug_after(struct interp *c, bool again)
{
	uint64_t bits = (c->db_hit ? c->db_bits : 0) | c->shadow_before >> SHADOW_DB_SHIFT;
	bool stepping = c->stepping;

	if (again) {
		/* An interrupt now returns into the middle: its breakpoint was taken already. */
		if (has_instruction_breakpoint(c))
			c->s.rflags |= FLAG_RF;
	} else {
		if (c->resuming)
			c->s.rflags &= ~(uint64_t)FLAG_RF;
		c->s.shadow &= (uint8_t)~c->shadow_before;
	}
	c->shadow_before = 0;
	c->stepping = c->resuming = c->db_hit = false;
	c->db_bits = 0;
	/* After MOV SS the trap of a step is lost; that of a data breakpoint waits. */
	if (c->s.shadow & SHADOW_MOVSS) {
		c->s.shadow |= (uint8_t)(bits << SHADOW_DB_SHIFT);
		return false;
	}
	if (stepping)
		bits |= DR6_BS;
	if (!bits)
		return false;
	c->fault = (struct fault){ .vector = VEC_DB, .dr6 = bits, .resume = again };
	return true;
}

void debug_pend(struct interp *c, uint64_t bits)
{
	c->s.dr6 = (c->s.dr6 & ~UINT64_C(15)) | bits;
	c->s.event_pending = 1;
	c->s.event_external = 0;
	c->s.event_vector = VEC_DB;
	c->s.event_has_error = 0;
	c->s.event_error = 0;
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE makes them invalid. false: faulted. */
static bool debug_register(struct interp *c, unsigned *n)
{
	if (c->cpl != 0) {
		raise_gp(c, 0);
		return false;
	}
	if (*n == 4 || *n == 5) {
		if (c->s.cr4 & CR4_DE) {
			raise_ud(c);
			return false;
		}
		*n += 2;
	}
	if (c->s.dr7 & DR7_GD) {
		c->fault = (struct fault){ .vector = VEC_DB, .dr6 = DR6_BD };
		return false;
	}
	return true;
}

enum step mov_to_dr(struct interp *c, const struct insn *i)
{
	uint64_t value = get_reg(c, i->a, i->osz);
	unsigned n = i->op;

	if (!debug_register(c, &n))
		return STEP_FAULT;
	if (n >= 6 && value >> 32)
		return raise_gp(c, 0);
	exit_count(c->vcpu, EXIT_DEBUG_REG);
	if (n < 4)
		c->s.dr[n] = value;
	else if (n == 6)
		c->s.dr6 = (value & DR6_BITS) | DR6_FIXED;
	else
		c->s.dr7 = (value & DR7_BITS) | DR7_FIXED;
	interp_mode_changed(c);
	return STEP_LEAVE;
}

enum step mov_from_dr(struct interp *c, const struct insn *i)
{
	unsigned n = i->op;

	if (!debug_register(c, &n))
		return STEP_FAULT;
	exit_count(c->vcpu, EXIT_DEBUG_REG);
	set_reg(c, i->a, i->osz, n < 4 ? c->s.dr[n] : n == 6 ? c->s.dr6 : c->s.dr7);
	return STEP_NEXT;
}
