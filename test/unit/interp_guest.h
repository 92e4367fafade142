/*
 * interp_guest.h - a machine of 2 MiB with one vCPU on the interpreter (or bt), for tests that run
 * a few bytes of code without the machine's run loop.
 *
 * 64-bit: flat at CPL 0, memory mapped one to one by 4 KiB pages whose entries start at
 * GUEST_PT. Every exception vector leads to an HLT of its own: see guest_vector().
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_INTERP_GUEST_H
#define TEST_UNIT_INTERP_GUEST_H

#include <string.h>

#include "engine/interp/cache.h"
#include "engine/interp/engine_interp.h"
#include "test/cmocka.h"

#define GUEST_BYTES    UINT64_C(0x200000)
#define GUEST_GDT      0x1000
#define GUEST_IDT      0x2000
#define GUEST_HANDLERS 0x3000 /* 16 bytes a vector: HLT */
#define GUEST_STACK    0x5000 /* grows down from here */
#define GUEST_PML4     0x6000
#define GUEST_PDPT     0x7000
#define GUEST_PD       0x8000
#define GUEST_PT       0x9000
#define GUEST_CODE     0x10000 /* where tests put theirs, up to the end */

#define PTE_P  UINT64_C(1)
#define PTE_W  UINT64_C(2)
#define PTE_US UINT64_C(4)
#define PTE_NX (UINT64_C(1) << 63)

struct guest {
	struct vm *vm;
	struct vcpu *vcpu;
	struct interp *c;
	uint8_t *ram;
};

/* Its engine: interp, or one that keeps its state in a struct interp. */
static inline struct guest guest_open_config(const struct vm_config *config)
{
	struct guest g;
	struct fail why;

	g.vm = vm_open(config, &why);
	if (!g.vm)
		print_error("%s\n", why.text);
	assert_non_null(g.vm);
	assert_int_equal(mem_add(g.vm, gpa(0), GUEST_BYTES, NULL, false, &why), 0);
	g.vcpu = g.vm->vcpu[0];
	g.c = g.vcpu->engine;
	g.ram = mem_host(&g.vm->mem, gpa(0), GUEST_BYTES);
	atomic_store(&g.vcpu->notice, false);
	return g;
}

static inline struct guest guest_open_on(const struct engine_ops *engine, bool counted,
					 struct engine_options options)
{
	struct vm_config config = {
		.engine = engine, .vcpus = 1, .counted = counted, .engine_options = options
	};

	return guest_open_config(&config);
}

static inline struct guest guest_open(void)
{
	return guest_open_on(&interp_ops, true, (struct engine_options){ 0 });
}

static inline void guest_close(struct guest *g)
{
	vm_close(g->vm);
}

static inline void guest_put64(struct guest *g, uint64_t at, uint64_t value)
{
	memcpy(g->ram + at, &value, 8);
}

static inline uint64_t guest_get64(struct guest *g, uint64_t at)
{
	uint64_t value;

	memcpy(&value, g->ram + at, 8);
	return value;
}

static inline void guest_tables(struct guest *g)
{
	guest_put64(g, GUEST_GDT + 8, UINT64_C(0x00af9b000000ffff));
	guest_put64(g, GUEST_GDT + 16, UINT64_C(0x00cf93000000ffff));
	for (unsigned v = 0; v < 256; v++) {
		uint64_t handler = GUEST_HANDLERS + v * 16;

		g->ram[handler] = 0xf4;
		guest_put64(g, GUEST_IDT + v * 16,
			    (handler & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32 |
				    (handler >> 16) << 48);
		guest_put64(g, GUEST_IDT + v * 16 + 8, 0);
	}
	guest_put64(g, GUEST_PML4, GUEST_PDPT | PTE_P | PTE_W | PTE_US);
	guest_put64(g, GUEST_PDPT, GUEST_PD | PTE_P | PTE_W | PTE_US);
	guest_put64(g, GUEST_PD, GUEST_PT | PTE_P | PTE_W | PTE_US);
	for (uint64_t n = 0; n < 512; n++)
		guest_put64(g, GUEST_PT + n * 8, n << 12 | PTE_P | PTE_W | PTE_US);
}

/* 64-bit mode at CPL `cpl` (0 or 3), about to execute `rip`. */
static inline struct x86_state guest_state64(unsigned cpl, uint64_t rip)
{
	uint32_t dpl = cpl << 5;
	struct x86_state s;

	x86_state_reset(&s, true);
	s.rip = rip;
	s.rflags = FLAG_FIXED;
	s.gpr[RSP] = GUEST_STACK;
	s.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP;
	s.cr3 = GUEST_PML4;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA | EFER_NX | EFER_SCE;
	for (unsigned n = 0; n < SEG_COUNT; n++)
		s.seg[n] = (struct x86_seg){ .limit = 0xffffffff,
					     .attr = SEG_P | SEG_S | SEG_WRITE | SEG_ACCESSED |
						     SEG_DB | SEG_G | dpl,
					     .selector = (uint16_t)(16 | cpl) };
	s.seg[CS].attr = SEG_P | SEG_S | SEG_CODE | SEG_WRITE | SEG_ACCESSED | SEG_L | SEG_G | dpl;
	s.seg[CS].selector = (uint16_t)(8 | cpl);
	s.gdtr = (struct x86_table){ GUEST_GDT, 23 };
	s.idtr = (struct x86_table){ GUEST_IDT, 0xfff };
	return s;
}

static inline void guest_set(struct guest *g, const struct x86_state *s)
{
	struct fail why = { 0 };

	if (vcpu_set_state(g->vcpu, s, &why) != 0)
		print_error("%s\n", why.text);
	assert_string_equal(why.text, "");
	atomic_store(&g->vcpu->notice, false);
}

static inline struct x86_state guest_get(struct guest *g)
{
	struct x86_state s;

	interp_ops.get_state(g->vcpu, &s);
	return s;
}

/* Opens a guest in 64-bit mode, CPL 0, with `bytes` of code at GUEST_CODE. */
static inline struct guest guest_with(const void *code, size_t bytes)
{
	struct guest g = guest_open();
	struct x86_state s = guest_state64(0, GUEST_CODE);

	guest_tables(&g);
	memcpy(g.ram + GUEST_CODE, code, bytes);
	guest_set(&g, &s);
	return g;
}

static inline enum exit_reason guest_run(struct guest *g, uint64_t budget)
{
	struct exit exit = { .reason = EXIT_REASON_COUNT };

	g->vcpu->budget = budget;
	assert_int_equal(g->vm->engine->run(g->vcpu, &exit), 0);
	return exit.reason;
}

/* The exception whose handler's HLT was executed last, or -1. */
static inline int guest_vector(struct guest *g)
{
	uint64_t rip = g->c->r[R_RIP];

	if (rip <= GUEST_HANDLERS || rip > GUEST_HANDLERS + 256 * 16 || (rip - 1) % 16)
		return -1;
	return (int)((rip - 1 - GUEST_HANDLERS) / 16);
}

#endif
