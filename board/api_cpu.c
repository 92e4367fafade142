/*
 * api_cpu.c - include/trapeze.h: the CPU's registers, its modes, and the first translation step.
 *
 * The public registers are a part of struct x86_state; the segments come from the mode, made of
 * the same descriptors that a guest would put into its own GDT.
 *
 * Spec: include/trapeze.h; SDM vol. 3 9.8 (what a mode needs). Tested by test/unit/api.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "board/api.h"
#include "cpu/paging.h"
#include "cpu/segment.h"

#define SELECTOR_CODE     0x08
#define SELECTOR_DATA     0x10
#define DESCRIPTOR_CODE64 UINT64_C(0x00af9b000000ffff)
#define DESCRIPTOR_CODE32 UINT64_C(0x00cf9b000000ffff)
#define DESCRIPTOR_DATA   UINT64_C(0x00cf93000000ffff)

_Static_assert(offsetof(struct trapeze_regs, rip) == GPR_COUNT * sizeof(uint64_t) &&
		       offsetof(struct trapeze_regs, rsp) == RSP * sizeof(uint64_t) &&
		       offsetof(struct trapeze_regs, r8) == R8 * sizeof(uint64_t),
	       "the general registers are in encoding order in both");

/* A page walk for someone who only looks: it sets A and D bits in copies. */
struct look {
	struct mem *mem;
	uint64_t copy[4]; /* a walk holds at most four entries */
	unsigned next;
};

static void *look_entry(void *arg, gpa_t at, unsigned size)
{
	struct look *look = arg;
	void *copy = &look->copy[look->next++ % 4];

	return mem_read(look->mem, at, copy, size) ? NULL : copy;
}

static struct walk_memory look_at(struct look *look, struct trapeze *t)
{
	*look = (struct look){ .mem = &t->vm->mem };
	return (struct walk_memory){ .entry = look_entry, .arg = look };
}

int trapeze_gva_to_gpa(struct trapeze *t, uint64_t at, enum trapeze_access access, uint64_t *out,
		       struct trapeze_error *error)
{
	static const enum access kind[] = {
		[TRAPEZE_READ] = ACCESS_READ,
		[TRAPEZE_WRITE] = ACCESS_WRITE,
		[TRAPEZE_EXECUTE] = ACCESS_EXEC,
	};
	struct look look;
	struct walk_memory mem = look_at(&look, t);
	struct x86_state s;
	struct fail why;
	struct walk walk;

	vcpu_get_state(t->vm->vcpu[0], &s);
	if (x86_long_mode(&s) ? !gva_canonical(at) : at >> 32 != 0) {
		fail(&why, -EFAULT, "there is no linear address 0x%llx in this mode",
		     (unsigned long long)at);
		return api_error(error, &why);
	}
	if (page_walk(&s, &mem, gva(at), kind[access], x86_cpl(&s) == 3, s.rflags & FLAG_AC,
		      &walk)) {
		*out = walk.gpa.v;
		return 0;
	}
	fail(&why, -EFAULT, "linear address 0x%llx: page fault, error code 0x%x (%s)",
	     (unsigned long long)at, walk.error,
	     walk.error & PF_P ? "the access is not allowed" : "no page is there");
	return api_error(error, &why);
}

static void take_regs(struct x86_state *s, const struct trapeze_regs *r)
{
	memcpy(s->gpr, r, sizeof(s->gpr));
	s->rip = r->rip;
	s->rflags = r->rflags | FLAG_FIXED;
	s->cr0 = r->cr0 | CR0_ET;
	s->cr2 = r->cr2;
	s->cr3 = r->cr3;
	s->cr4 = r->cr4;
	s->efer = r->efer;
	s->gdtr = (struct x86_table){ r->gdt.base, r->gdt.limit };
	s->idtr = (struct x86_table){ r->idt.base, r->idt.limit };
}

static void enter_mode(struct x86_state *s, enum trapeze_mode mode)
{
	uint64_t code = mode == TRAPEZE_LONG64 ? DESCRIPTOR_CODE64 : DESCRIPTOR_CODE32;

	for (unsigned i = 0; i < SEG_COUNT; i++) {
		if (mode == TRAPEZE_REAL16)
			segment_load_real(&s->seg[i], 0);
		else if (i == CS)
			s->seg[i] = segment_unpack(SELECTOR_CODE, code);
		else
			s->seg[i] = segment_unpack(SELECTOR_DATA, DESCRIPTOR_DATA);
	}
	s->cr0 &= ~(uint64_t)(mode == TRAPEZE_REAL16 ? CR0_PE | CR0_PG : 0);
	s->efer &= ~(uint64_t)(EFER_LME | EFER_LMA);
	if (mode != TRAPEZE_REAL16)
		s->cr0 |= CR0_PE;
	if (mode == TRAPEZE_LONG64) {
		s->cr0 |= CR0_PG;
		s->cr4 |= CR4_PAE;
		s->efer |= EFER_LME | EFER_LMA;
	}
}

static int set_state(struct trapeze *t, struct x86_state *s, struct trapeze_error *error)
{
	struct look look;
	struct walk_memory mem = look_at(&look, t);
	struct fail why;
	int err = 0;

	if (s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !x86_long_mode(s) &&
	    !page_load_pdpte(s, &mem, s->cr3, PAGING_PHYS_BITS))
		err = fail(&why, -EINVAL, "CPU state: a PAE directory pointer has reserved bits");
	if (!err)
		err = vcpu_set_state(t->vm->vcpu[0], s, &why);
	return err ? api_error(error, &why) : 0;
}

int trapeze_enter(struct trapeze *t, enum trapeze_mode mode, const struct trapeze_regs *regs,
		  struct trapeze_error *error)
{
	struct x86_state s, now;

	vcpu_get_state(t->vm->vcpu[0], &now);
	x86_state_reset(&s, true);
	s.instructions = now.instructions; /* time does not jump */
	s.random_state = now.random_state;
	take_regs(&s, regs);
	enter_mode(&s, mode);
	return set_state(t, &s, error);
}

void trapeze_get_regs(struct trapeze *t, struct trapeze_regs *r)
{
	struct x86_state s;

	vcpu_get_state(t->vm->vcpu[0], &s);
	memset(r, 0, sizeof(*r));
	memcpy(r, s.gpr, sizeof(s.gpr));
	r->rip = s.rip;
	r->rflags = s.rflags;
	r->cr0 = s.cr0;
	r->cr2 = s.cr2;
	r->cr3 = s.cr3;
	r->cr4 = s.cr4;
	r->efer = s.efer;
	r->gdt.base = s.gdtr.base;
	r->gdt.limit = s.gdtr.limit;
	r->idt.base = s.idtr.base;
	r->idt.limit = s.idtr.limit;
}

int trapeze_set_regs(struct trapeze *t, const struct trapeze_regs *regs,
		     struct trapeze_error *error)
{
	struct x86_state s;

	vcpu_get_state(t->vm->vcpu[0], &s);
	take_regs(&s, regs);
	return set_state(t, &s, error);
}
