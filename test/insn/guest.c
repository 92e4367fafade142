/*
 * guest.c - the engine's side: a machine with the same sandbox and a kernel of HLTs.
 *
 * Each of the 256 exception handlers is one HLT in ring 0, so the run ends there, and what the
 * processor pushed is read from the kernel's stack. The kernel lies in the upper half
 * of the linear addresses, where user code finds Linux's.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/segment.h"
#include "engine/bt/engine_bt.h"
#include "engine/interp/engine_interp.h"
#include "engine/interp/place.h"
#include "test/insn/insn.h"

#define RAM_BYTES (1u << 20)
#define BUDGET    400 /* instructions; more is endless */

/* Guest-physical. */
#define PML4     0x1000u
#define PDPT_LOW 0x2000u
#define PD_LOW   0x3000u
#define PT_LOW   0x4000u
#define PDPT_TOP 0x5000u
#define PD_TOP   0x6000u
#define PT_TOP   0x7000u
#define IDT      0x8000u
#define GDT      0x9000u
#define TSS      0x9400u
#define LDT      0x9800u
#define STUBS    0xa000u
#define STACK    0xb000u /* one page */
#define SANDBOX  0x10000u
/* The last 2 GiB of linear addresses show guest-physical memory. */
#define KERNEL(at) (UINT64_C(0xffffffff80000000) + (at))

#define PTE_P  1u
#define PTE_W  2u
#define PTE_U  4u
#define PTE_NX (UINT64_C(1) << 63)

struct guest {
	struct vm *vm;
	uint8_t *ram;
	struct view view;
	struct x86_state state; /* what every case begins with */
	bool warm;              /* the TLB knows the sandbox before a case runs */
};

static void put64(struct guest *g, uint32_t at, uint64_t value)
{
	memcpy(g->ram + at, &value, 8);
}

static void build_tables(struct guest *g)
{
#define X(at, exec, write) (PTE_P | PTE_U | ((write) ? PTE_W : 0) | ((exec) ? 0 : PTE_NX)),
	static const uint64_t rights[PAGES] = { SANDBOX_PAGES(X) };
#undef X

	put64(g, PML4, PDPT_LOW | PTE_P | PTE_W | PTE_U);
	put64(g, PDPT_LOW, PD_LOW | PTE_P | PTE_W | PTE_U);
	put64(g, PD_LOW + SANDBOX_START / 0x200000 * 8, PT_LOW | PTE_P | PTE_W | PTE_U);
	for (unsigned p = 0; p < PAGES; p++)
		put64(g, PT_LOW + page_at[p] / PAGE_BYTES % 512 * 8,
		      (SANDBOX + p * PAGE_BYTES) | rights[p]);
	put64(g, PML4 + 511 * 8, PDPT_TOP | PTE_P | PTE_W);
	put64(g, PDPT_TOP + 510 * 8, PD_TOP | PTE_P | PTE_W);
	put64(g, PD_TOP, PT_TOP | PTE_P | PTE_W);
	for (unsigned p = 0; p < 16; p++)
		put64(g, PT_TOP + p * 8, p * PAGE_BYTES | PTE_P | PTE_W);
}

/* As Linux has it, as far as user code can tell. */
static void build_descriptors(struct guest *g)
{
	static const uint64_t gdt[] = { 0,
					UINT64_C(0x00cf9b000000ffff),
					UINT64_C(0x00af9b000000ffff),
					UINT64_C(0x00cf93000000ffff),
					UINT64_C(0x00cffb000000ffff),
					UINT64_C(0x00cff3000000ffff),
					UINT64_C(0x00affb000000ffff) };
	uint64_t tss = KERNEL(TSS), ldt = KERNEL(LDT);

	for (unsigned n = 0; n < sizeof(gdt) / 8; n++)
		put64(g, GDT + n * 8, gdt[n]);
	put64(g, GDT + 0x40,
	      0x67 | (tss & 0xffffff) << 16 | UINT64_C(0x8b) << 40 | (tss >> 24 & 0xff) << 56);
	put64(g, GDT + 0x48, tss >> 32);
	put64(g, GDT + 0x50,
	      (LDT_COUNT * 8 - 1) | (ldt & 0xffffff) << 16 | UINT64_C(0x82) << 40 |
		      (ldt >> 24 & 0xff) << 56);
	put64(g, GDT + 0x58, ldt >> 32);
	for (unsigned n = 0; n < LDT_COUNT; n++)
		put64(g, LDT + n * 8, ldt_descriptor(n));
	put64(g, TSS + 4, KERNEL(STACK + PAGE_BYTES)); /* RSP0 */
	g->ram[TSS + 0x66] = 0x68;                     /* no I/O bitmap: beyond the limit */
	for (unsigned v = 0; v < 256; v++) {
		uint64_t to = KERNEL(STUBS + v), dpl = v == VEC_BP || v == VEC_OF ? 3 : 0;

		g->ram[STUBS + v] = 0xf4;
		put64(g, IDT + v * 16,
		      (to & 0xffff) | 0x10 << 16 | (UINT64_C(0x8e00) | dpl << 13) << 32 |
			      (to >> 16 & 0xffff) << 48);
		put64(g, IDT + v * 16 + 8, to >> 32);
	}
}

static struct x86_seg segment(struct guest *g, uint16_t selector)
{
	uint32_t table = selector & 4 ? LDT : GDT;
	struct x86_seg s = { 0 };
	uint64_t d;

	if (!(selector & 0xfffc)) {
		segment_load_null(&s, selector);
		return s;
	}
	memcpy(&d, g->ram + table + (selector & 0xfff8), 8);
	return segment_unpack(selector, d);
}

static void build_state(struct guest *g)
{
	struct x86_state *s = &g->state;

	x86_state_reset(s, true);
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	s->cr3 = PML4;
	s->cr4 = CR4_PAE | CR4_PGE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP |
		 CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_DE | CR4_PSE | CR4_TSD;
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
	s->xcr0 = 7;
	s->gdtr = (struct x86_table){ KERNEL(GDT), 0x7f };
	s->idtr = (struct x86_table){ KERNEL(IDT), 0xfff };
	s->tr = segment(g, 0x40);
	s->tr.base = KERNEL(TSS);
	s->ldtr = segment(g, 0x50);
	s->ldtr.base = KERNEL(LDT);
}

static void code_changed(void *arg, unsigned page, unsigned offset, unsigned bytes)
{
	struct guest *g = arg;

	mem_written(&g->vm->mem, gpa(SANDBOX + page * PAGE_BYTES + offset), bytes);
}

struct guest *guest_open(bool translator)
{
	struct vm_config config = {
		.engine = translator ? &bt_ops : &interp_ops,
		.vcpus = 1,
		.counted = true,
		.engine_options = {.code_cache = 4 * CODE_CACHE_LEAST, .torture = TORTURE(HOT)}
	};
	struct guest *g = host_alloc(sizeof(*g));
	struct fail why;

	if (!g)
		return NULL;
	g->warm = translator;
	g->ram = host_map(RAM_BYTES);
	g->view.base = host_map(PAGES * PAGE_BYTES);
	g->vm = vm_open(&config, &why);
	if (!g->ram || !g->vm || mem_add(g->vm, gpa(0), RAM_BYTES, g->ram, false, &why)) {
		fprintf(stderr, "insn: %s\n", g->vm ? why.text : "no machine");
		exit(3);
	}
	for (unsigned p = 0; p < PAGES; p++)
		g->view.live[p] = g->ram + SANDBOX + p * PAGE_BYTES;
	view_fill(&g->view);
	g->view.written = code_changed;
	g->view.arg = g;
	build_tables(g);
	build_descriptors(g);
	build_state(g);
	return g;
}

void guest_close(struct guest *g)
{
	vm_close(g->vm);
	host_unmap(g->ram, RAM_BYTES);
	host_unmap(g->view.base, PAGES * PAGE_BYTES);
	host_free(g);
}

/* Else each access would be the first to its page, which translated code leaves to the handler. */
static void warm_up(struct interp *c)
{
	struct place p;

	for (unsigned n = CODE_PAGES; n < PAGES; n++) {
		place_find(c, page_at[n], 1, ACCESS_READ, &p);
		place_find(c, page_at[n], 1, ACCESS_WRITE, &p);
	}
	memset(&c->fault, 0, sizeof(c->fault)); /* of the read-only page */
}

static void begin(struct guest *g, const struct insn_case *c)
{
	struct x86_state *s = &g->state;
	struct vcpu *vcpu = g->vm->vcpu[0];
	struct fail why;

	memcpy(s->gpr, c->in.gpr, sizeof(s->gpr));
	s->rip = c->in.rip;
	s->rflags = c->in.rflags;
	for (unsigned n = 0; n < SEG_COUNT; n++)
		s->seg[n] = segment(g, c->in.selector[n]);
	if (c->bits == 64) {
		s->seg[FS].base = c->in.fs_base;
		s->seg[GS].base = c->in.gs_base;
	}
	s->fpu = c->in.fpu;
	s->cr2 = 0;
	if (g->vm->engine->set_state(vcpu, s, &why)) {
		fprintf(stderr, "insn: case %llu: %s\n", (unsigned long long)c->number, why.text);
		exit(3);
	}
	atomic_store(&vcpu->notice, false);
	if (g->warm && g->state.seg[CS].attr & SEG_L)
		warm_up(vcpu->engine);
}

static bool has_error(unsigned vector)
{
	return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}

/* The machine stands in a handler: what did it push? */
static void finish(struct guest *g, struct outcome *o)
{
	struct x86_state s;
	uint64_t frame[6];
	const uint64_t *f = frame;
	uint64_t linear;

	g->vm->engine->get_state(g->vm->vcpu[0], &s);
	o->how = HOW_EXCEPTION;
	o->vector = (uint8_t)(s.rip - KERNEL(STUBS) - 1);
	o->cr2 = s.cr2;
	memcpy(frame, g->ram + STACK + PAGE_BYTES - 48, 48);
	if (has_error(o->vector))
		o->error = (uint32_t)frame[0];
	f++;
	memcpy(o->out.gpr, s.gpr, sizeof(s.gpr));
	o->out.rip = f[0];
	o->out.rflags = f[2];
	o->out.gpr[RSP] = f[3];
	for (unsigned n = 0; n < SEG_COUNT; n++)
		o->out.selector[n] = s.seg[n].selector;
	o->out.selector[CS] = (uint16_t)f[1];
	o->out.selector[SS] = (uint16_t)f[4];
	o->out.fs_base = s.seg[FS].base;
	o->out.gs_base = s.seg[GS].base;
	o->out.fpu = s.fpu;
	for (unsigned n = 0; n < 8; n++)
		o->out.fpu.st[n].exp &= 0xffff;
	linear = segment(g, o->out.selector[CS]).base + o->out.rip;
	for (unsigned n = 0; n < INSN_BYTES; n++, linear++)
		if (linear >= CODE_AT && linear < CODE_AT + CODE_BYTES)
			o->code[n] = g->ram[SANDBOX + linear - CODE_AT];
}

void guest_run(struct guest *g, const struct insn_case *c, struct outcome *o)
{
	struct vcpu *vcpu = g->vm->vcpu[0];
	struct exit exit = { .reason = EXIT_KICK };
	struct x86_state after;
	uint64_t end, cpuid;

	memset(o, 0, sizeof(*o));
	cpuid = vcpu->exits[EXIT_CPUID];
	view_begin(&g->view, c);
	begin(g, c);
	end = *vcpu->retired + BUDGET;
	do {
		vcpu->budget = end - *vcpu->retired;
		g->vm->engine->run(vcpu, &exit);
	} while (exit.reason == EXIT_KICK);
	if (exit.reason == EXIT_HLT)
		finish(g, o);
	else
		o->how = exit.reason == EXIT_BUDGET ? HOW_ENDLESS : HOW_LOST;
	if (exit.reason == EXIT_HLT)
		g->vm->engine->get_state(vcpu, &after);
	else
		after.random_state = g->state.random_state;
	o->asked = vcpu->exits[EXIT_CPUID] != cpuid || after.random_state != g->state.random_state;
	view_end(&g->view, c, o);
}
