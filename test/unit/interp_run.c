/*
 * interp_run.c - tests of the run loop: exact counts, self-modifying code, fetch faults, shadows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/interp_guest.h"

#define AT(offset) (GUEST_CODE + (uint64_t)(offset))

/* A loop of three blocks, some hundred instructions in all, that ends in HLT. */
static const uint8_t loop[] = {
	0x48, 0xc7, 0xc1, 0x0a, 0x00, 0x00, 0x00, /* 00 mov rcx, 10 */
	0x48, 0x01, 0xc8,                         /* 07 add rax, rcx */
	0x48, 0xff, 0xc3,                         /* 0a inc rbx */
	0xeb, 0x01,                               /* 0d jmp 10 */
	0x90,                                     /* 0f nop */
	0x48, 0x01, 0xc3,                         /* 10 add rbx, rax */
	0x48, 0xff, 0xc9,                         /* 13 dec rcx */
	0x75, 0xef,                               /* 16 jnz 07 */
	0xf4,                                     /* 18 hlt */
};
#define LOOP_COUNT (1 + 6 * 10 + 1)

static void test_whole_program(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));

	(void)state;
	assert_int_equal(guest_run(&g, 1000), EXIT_HLT);
	assert_int_equal(*g.vcpu->retired, LOOP_COUNT);
	assert_int_equal(g.c->r[R_RIP], AT(sizeof(loop)));
	assert_int_equal(g.c->r[RAX], 55);
	assert_int_equal(g.c->r[RCX], 0);
	guest_close(&g);
}

/* N instructions at once and N times one instruction lead to the same state, for every N. */
static void test_budget_is_exact_everywhere(void **state)
{
	struct guest steps = guest_with(loop, sizeof(loop));

	(void)state;
	for (uint64_t n = 1; n < LOOP_COUNT; n++) {
		struct guest once = guest_with(loop, sizeof(loop));
		struct x86_state a, b;

		assert_int_equal(guest_run(&steps, 1), EXIT_BUDGET);
		assert_int_equal(guest_run(&once, n), EXIT_BUDGET);
		a = guest_get(&steps);
		b = guest_get(&once);
		assert_int_equal(b.instructions, n);
		assert_memory_equal(&a, &b, sizeof(a));
		guest_close(&once);
	}
	assert_int_equal(guest_run(&steps, 1), EXIT_HLT);
	guest_close(&steps);
}

static void test_zero_budget(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));

	(void)state;
	assert_int_equal(guest_run(&g, 0), EXIT_BUDGET);
	assert_int_equal(g.c->r[R_RIP], AT(0));
	guest_close(&g);
}

static void test_kick_and_notice(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));

	(void)state;
	interp_ops.kick(g.vcpu);
	assert_int_equal(guest_run(&g, 1000), EXIT_KICK);
	assert_int_equal(*g.vcpu->retired, 0);
	atomic_store(&g.vcpu->notice, true);
	assert_int_equal(guest_run(&g, 1000), EXIT_KICK);
	atomic_store(&g.vcpu->notice, false);
	assert_int_equal(guest_run(&g, 1000), EXIT_HLT);
	guest_close(&g);
}

static void test_block_modifies_itself(void **state)
{
	static const uint8_t code[] = {
		0xc6, 0x05, 0x02, 0x00, 0x00, 0x00, 0x05, /* 00 mov byte [rel 9], 5 */
		0x90,                                     /* 07 nop */
		0xb0, 0x01,                               /* 08 mov al, 1 */
		0xb3, 0x07,                               /* 0a mov bl, 7 */
		0xf4,                                     /* 0c hlt */
	};
	struct guest g = guest_with(code, sizeof(code));

	(void)state;
	for (int again = 0; again < 3; again++) {
		struct x86_state s = guest_state64(0, GUEST_CODE);

		g.ram[AT(9)] = 1;
		guest_set(&g, &s);
		interp_ops.forget(g.vcpu);
		assert_int_equal(guest_run(&g, 100), EXIT_HLT);
		assert_int_equal(g.c->r[RAX], 5);
		assert_int_equal(g.c->r[RBX], 7);
		assert_int_equal(*g.vcpu->retired, 5);
	}
	guest_close(&g);
}

/* A loop that increments the immediate of its own next instruction. */
static void test_loop_modifies_itself(void **state)
{
	static const uint8_t code[] = {
		0xb1, 0x14,                         /* 00 mov cl, 20 */
		0x88, 0x0d, 0x01, 0x00, 0x00, 0x00, /* 02 mov [rel 9], cl */
		0xb0, 0x00,                         /* 08 mov al, 0 */
		0x48, 0x01, 0xc3,                   /* 0a add rbx, rax */
		0xfe, 0xc9,                         /* 0d dec cl */
		0x75, 0xf1,                         /* 0f jnz 02 */
		0xf4,                               /* 11 hlt */
	};
	struct guest g = guest_with(code, sizeof(code));

	(void)state;
	assert_int_equal(guest_run(&g, 1000), EXIT_HLT);
	assert_int_equal(g.c->r[RBX], 210);
	assert_int_equal(*g.vcpu->retired, 1 + 20 * 5 + 1);
	assert_in_range(g.c->cache->killed, 20, 40); /* the loop's own block, and what follows */
	guest_close(&g);
}

static void test_page_modifies_another(void **state)
{
	static const uint8_t code[] = {
		0xc6, 0x05, 0xfa, 0x0f, 0x00, 0x00, 0x09, /* 00 mov byte [rel 0x1001], 9 */
		0xe9, 0xf4, 0x0f, 0x00, 0x00,             /* 07 jmp 0x1000 */
	};
	static const uint8_t other[] = { 0xb0, 0x01, 0xf4 }; /* mov al, 1; hlt */
	struct guest g = guest_with(code, sizeof(code));
	struct x86_state s = guest_state64(0, AT(0x1000));

	(void)state;
	memcpy(g.ram + AT(0x1000), other, sizeof(other));
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(g.c->r[RAX], 1);
	s.rip = AT(0);
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(g.c->r[RAX], 9);
	guest_close(&g);
}

/* Writes to a page with code, many at once or one by one, up and down: each is known without a
 * walk, kills the blocks that it hits, and no others. */
static void test_many_writes_beside_code(void **state)
{
	static const char *const code[] = {
		"\xf3\xa4\xf4",             /* rep movsb; hlt */
		"\xf3\xaa\xf4",             /* rep stosb; hlt */
		"\xaa\xff\xc9\x75\xfb\xf4", /* again: stosb; dec ecx; jnz again; hlt */
		"\xa4\xfe\x07\xfe\x0f\xff\xc9\x75\xf7\xf4", /* movsb; inc, dec byte [rdi]; ... */
	};
	static const uint8_t other[] = { 0xb0, 0x01, 0xf4 }; /* mov al, 1; hlt */

	(void)state;
	for (unsigned n = 0; n < 16; n++) {
		const char *what = code[n / 4];
		bool down = n & 1, hits = n & 2;
		struct guest g = guest_with(what, strlen(what));
		struct x86_state s = guest_state64(0, AT(0x1800));
		uint64_t fills, killed, from = down ? 0x200 : 0;

		memset(g.ram + AT(0x2000), 0x90, 0x1000);
		memcpy(g.ram + AT(0x1800), other, sizeof(other));
		guest_set(&g, &s);
		assert_int_equal(guest_run(&g, 100), EXIT_HLT);
		assert_int_equal(g.c->r[RAX], 1);
		s = guest_state64(0, GUEST_CODE);
		s.rflags |= down ? FLAG_DF : 0;
		s.gpr[RAX] = 0x90;
		s.gpr[RCX] = 0x180;
		from += hits ? 0x16c0 : 0x1200;
		s.gpr[RSI] = AT(0x1000) + from;
		s.gpr[RDI] = AT(from);
		guest_set(&g, &s);
		fills = g.c->tlb.fills;
		killed = g.c->cache->killed;
		assert_int_equal(guest_run(&g, 10000), EXIT_HLT);
		assert_int_equal(g.c->r[RCX], 0);
		assert_int_equal(g.ram[AT(from)], 0x90);
		assert_in_range(g.c->tlb.fills - fills, 1, 8);
		assert_int_equal(g.c->cache->killed - killed, hits);
		s = guest_state64(0, AT(0x1800));
		s.gpr[RAX] = 5;
		guest_set(&g, &s);
		assert_int_equal(guest_run(&g, 1 + !hits), hits ? EXIT_BUDGET : EXIT_HLT);
		assert_int_equal(g.c->r[RAX], hits ? 5 : 1);
		guest_close(&g);
	}
}

/* An element over the end of a page is nobody's run: of a page where another vCPU has code, the
 * others are stopped once for each element that is written, not for none. */
static void test_straddling_elements(void **state)
{
	struct vm_config config = { .engine = &interp_ops, .vcpus = 2 };
	struct guest g = guest_open_config(&config), other = g;
	struct x86_state s = guest_state64(0, AT(0x3800));
	uint64_t closings;

	(void)state;
	guest_tables(&g);
	other.vcpu = g.vm->vcpu[1];
	other.c = other.vcpu->engine;
	g.ram[AT(0x3800)] = 0xf4; /* hlt */
	guest_set(&other, &s);
	gate_enter(other.vcpu);
	assert_int_equal(guest_run(&other, 10), EXIT_HLT);
	gate_leave(other.vcpu);

	memcpy(g.ram + AT(0), "\xf3\x66\xa5\xf4", 4); /* rep movsw; hlt */
	memcpy(g.ram + AT(0x1ffd), "\1\2\3\4", 4);
	s = guest_state64(0, AT(0));
	s.gpr[RCX] = 2;
	s.gpr[RSI] = AT(0x1ffd);
	s.gpr[RDI] = AT(0x3000);
	guest_set(&g, &s);
	closings = atomic_load(&g.vm->gate.closings);
	gate_enter(g.vcpu);
	/* Closing the gate has set its notice. */
	while (guest_run(&g, 10) == EXIT_KICK)
		atomic_store(&g.vcpu->notice, false);
	gate_leave(g.vcpu);
	assert_int_equal(g.c->r[RCX], 0);
	assert_memory_equal(g.ram + AT(0x3000), "\1\2\3\4", 4);
	assert_int_equal(atomic_load(&g.vm->gate.closings) - closings, 2);
	guest_close(&g);
}

/* mov eax, 0x11223344 at the last `n` bytes of a page. */
static void place_straddler(struct guest *g, unsigned n)
{
	static const uint8_t code[] = { 0xb8, 0x44, 0x33, 0x22, 0x11, 0xf4 };
	struct x86_state s = guest_state64(0, AT(0x1000) - n);

	memcpy(g->ram + AT(0x1000) - n, code, sizeof(code));
	guest_set(g, &s);
}

static void test_straddling_instruction(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));

	(void)state;
	for (unsigned n = 1; n < 5; n++) {
		place_straddler(&g, n);
		assert_int_equal(guest_run(&g, 100), EXIT_HLT);
		assert_int_equal(g.c->r[RAX], 0x11223344);
		/* Another byte in the second page: no invalidation is needed to see it. */
		place_straddler(&g, n);
		g.ram[AT(0x1000) + 4 - n] = 0x99;
		assert_int_equal(guest_run(&g, 100), EXIT_HLT);
		assert_int_equal(g.c->r[RAX], 0x99223344);
	}
	guest_close(&g);
}

static void unmap_page(struct guest *g, uint64_t at)
{
	guest_put64(g, GUEST_PT + (at >> PAGE_SHIFT) * 8, 0);
	interp_ops.forget(g->vcpu);
}

/* The error code and RIP that an exception with an error code has pushed. */
static uint64_t pushed(struct guest *g, unsigned n)
{
	return guest_get64(g, g->c->r[RSP] + 8 * n);
}

static void test_straddler_into_missing_page(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));

	(void)state;
	place_straddler(&g, 3);
	unmap_page(&g, AT(0x1000));
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(guest_vector(&g), VEC_PF);
	assert_int_equal(g.c->s.cr2, AT(0x1000));
	assert_int_equal(pushed(&g, 0), PF_I);
	assert_int_equal(pushed(&g, 1), AT(0x1000) - 3);
	assert_int_equal(*g.vcpu->retired, 1); /* the handler's HLT */
	assert_int_equal(g.vcpu->exits[EXIT_EXCEPTION], 1);
	guest_close(&g);
}

static void test_fetch_fault(void **state)
{
	static const uint8_t code[] = { 0x90, 0xe9, 0xfa, 0x0f, 0x00, 0x00 }; /* jmp 0x1000 */
	struct guest g = guest_with(code, sizeof(code));

	(void)state;
	unmap_page(&g, AT(0x1000));
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(guest_vector(&g), VEC_PF);
	assert_int_equal(g.c->s.cr2, AT(0x1000));
	assert_int_equal(pushed(&g, 0), PF_I);
	assert_int_equal(pushed(&g, 1), AT(0x1000));
	assert_int_equal(*g.vcpu->retired, 3);
	guest_close(&g);
}

static void test_no_execute(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));
	uint64_t entry = GUEST_PT + (GUEST_CODE >> PAGE_SHIFT) * 8;

	(void)state;
	guest_put64(&g, entry, guest_get64(&g, entry) | PTE_NX);
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(guest_vector(&g), VEC_PF);
	assert_int_equal(pushed(&g, 0), PF_I | PF_P);
	guest_close(&g);
}

/* Running off the end of a page into the next one, and off the end of memory. */
static void test_runs_across_pages(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));
	struct x86_state s = guest_state64(0, AT(0x1000) - 50);

	(void)state;
	memset(g.ram + AT(0x1000) - 50, 0x90, 100);
	g.ram[AT(0x1000) + 50] = 0xf4;
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 1000), EXIT_HLT);
	assert_int_equal(*g.vcpu->retired, 101);
	guest_close(&g);
}

/* Nothing answers beyond RAM: all-ones, an invalid opcode. */
static void test_code_outside_memory(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));
	struct x86_state s = guest_state64(0, AT(0x1000));

	(void)state;
	guest_put64(&g, GUEST_PT + (AT(0x1000) >> PAGE_SHIFT) * 8, UINT64_C(0xfe000000) | PTE_P);
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 1000), EXIT_HLT);
	assert_int_equal(guest_vector(&g), VEC_UD);
	guest_close(&g);
}

static struct x86_state real_mode(uint16_t cs, uint16_t ip)
{
	struct x86_state s;

	x86_state_reset(&s, true);
	segment_load_real(&s.seg[CS], cs);
	s.rip = ip;
	s.gpr[RSP] = 0x4000;
	return s;
}

/* Real-mode vectors all lead to 0000:0600 + vector: HLT. */
static void real_vectors(struct guest *g)
{
	for (unsigned v = 0; v < 256; v++) {
		uint16_t entry[2] = { (uint16_t)(0x600 + v), 0 };

		memcpy(g->ram + v * 4, entry, 4);
	}
	memset(g->ram + 0x600, 0xf4, 256);
}

static void test_code_segment_limit(void **state)
{
	struct guest g = guest_open();
	struct x86_state s = real_mode(0x1000, 0xfffe);
	uint16_t ip;

	(void)state;
	real_vectors(&g);
	g.ram[0x1fffe] = g.ram[0x1ffff] = 0x90;
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(*g.vcpu->retired, 3);
	assert_int_equal(g.c->r[R_RIP], 0x600 + VEC_GP + 1);
	/* An instruction of which only the first byte is within the limit. */
	assert_int_equal(mem_write(&g.vm->mem, gpa(0x1ffff), "\xb0", 1), 0);
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(g.c->r[R_RIP], 0x600 + VEC_GP + 1);
	memcpy(&ip, g.ram + (g.c->r[RSP] & 0xffff), 2);
	assert_int_equal(ip, 0xffff);
	guest_close(&g);
}

static const struct event irq = { .kind = EVENT_IRQ, .vector = 0x40 };

static void test_sti_shadow(void **state)
{
	static const uint8_t code[] = { 0xfb, 0x90, 0x90, 0xf4 }; /* sti; nop; nop; hlt */
	struct guest g = guest_with(code, sizeof(code));

	(void)state;
	assert_false(interp_ops.can_inject(g.vcpu, &irq));
	assert_int_equal(guest_run(&g, 1), EXIT_BUDGET);
	assert_false(interp_ops.can_inject(g.vcpu, &irq));
	assert_int_equal(guest_run(&g, 1), EXIT_BUDGET);
	assert_true(interp_ops.can_inject(g.vcpu, &irq));
	guest_close(&g);
}

static void test_interrupt_window(void **state)
{
	static const uint8_t code[] = { 0x90, 0xfb, 0x90, 0x90, 0xf4 };
	struct guest g = guest_with(code, sizeof(code));

	(void)state;
	g.vcpu->want_window = true;
	assert_int_equal(guest_run(&g, 100), EXIT_IRQ_WINDOW);
	assert_int_equal(*g.vcpu->retired, 3);
	assert_true(interp_ops.can_inject(g.vcpu, &irq));
	g.vcpu->want_window = false;
	assert_int_equal(interp_ops.inject(g.vcpu, &irq), 0);
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(guest_vector(&g), 0x40);
	assert_int_equal(pushed(&g, 0), AT(3));
	assert_int_equal(g.vcpu->exits[EXIT_INTERRUPT], 1);
	guest_close(&g);
}

/* A device that is written wants attention: the block ends right after the instruction. */
struct alerting {
	struct device dev;
	struct vcpu *vcpu;
};

static void alerting_reset(struct device *dev)
{
	(void)dev;
}

static uint64_t alerting_read(struct device *dev, unsigned region, uint64_t at, unsigned size)
{
	(void)dev;
	(void)region;
	(void)at;
	(void)size;
	return 0;
}

static void alerting_write(struct device *dev, unsigned region, uint64_t at, unsigned size,
			   uint64_t value)
{
	struct alerting *a = (struct alerting *)dev;

	(void)region;
	(void)at;
	(void)size;
	(void)value;
	assert_int_equal(*a->vcpu->retired, 1); /* exact in mid-block */
	atomic_store(&a->vcpu->notice, true);
}

static const struct device_ops alerting_ops = {
	.type = "alerting",
	.read = alerting_read,
	.write = alerting_write,
	.reset = alerting_reset,
};

static void test_notice_ends_the_block_at_once(void **state)
{
	static const uint8_t code[] = {
		0x90,                   /* 00 nop */
		0x48, 0x89, 0x06,       /* 01 mov [rsi], rax */
		0x90, 0x90, 0x90, 0xf4, /* 04 nop; nop; nop; hlt */
	};
	struct guest g = guest_with(code, sizeof(code));
	struct x86_state s = guest_state64(0, AT(0));
	struct alerting *a = host_alloc(sizeof(*a));
	struct fail why;

	(void)state;
	a->vcpu = g.vcpu;
	device_add(g.vm, &a->dev, &alerting_ops, "alerting0");
	assert_int_equal(device_claim_mmio(&a->dev, 0, gpa(0xfe000000), 0x1000, &why), 0);
	guest_put64(&g, GUEST_PT + (AT(0x1000) >> PAGE_SHIFT) * 8,
		    UINT64_C(0xfe000000) | PTE_P | PTE_W);
	s.gpr[RSI] = AT(0x1000);
	for (int again = 0; again < 3; again++) {
		guest_set(&g, &s);
		assert_int_equal(guest_run(&g, 100), EXIT_KICK);
		assert_int_equal(*g.vcpu->retired, 2);
		assert_int_equal(g.c->r[R_RIP], AT(4));
		atomic_store(&g.vcpu->notice, false);
		assert_int_equal(guest_run(&g, 100), EXIT_HLT);
		assert_int_equal(*g.vcpu->retired, 6);
	}
	assert_int_equal(g.vcpu->exits[EXIT_MMIO], 3);
	guest_close(&g);
}

static void test_pending_exception_comes_first(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));
	struct x86_state s = guest_state64(0, AT(0));

	(void)state;
	s.event_pending = 1;
	s.event_vector = VEC_GP;
	s.event_has_error = 1;
	s.event_error = 0x18;
	guest_set(&g, &s);
	assert_false(interp_ops.can_inject(g.vcpu, &irq));
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(guest_vector(&g), VEC_GP);
	assert_int_equal(pushed(&g, 0), 0x18);
	assert_int_equal(pushed(&g, 1), AT(0));
	guest_close(&g);
}

static void test_single_step(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));
	struct x86_state s = guest_state64(0, AT(0));

	(void)state;
	s.rflags |= FLAG_TF;
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_int_equal(guest_vector(&g), VEC_DB);
	assert_int_equal(*g.vcpu->retired, 2);
	assert_int_equal(guest_get64(&g, g.c->r[RSP]), AT(7));
	guest_close(&g);
}

static void test_triple_fault(void **state)
{
	struct guest g = guest_with("\x0f\x0b", 2);
	struct x86_state s = guest_state64(0, AT(0));

	(void)state;
	s.idtr.limit = 0;
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 100), EXIT_SHUTDOWN);
	assert_int_equal(guest_run(&g, 100), EXIT_SHUTDOWN);
	guest_close(&g);
}

/* A handler that faults at once, for ever: nothing retires, but run() comes back. */
static void test_fault_storm(void **state)
{
	struct guest g = guest_with("\x0f\x0b", 2);
	struct x86_state s = guest_state64(0, GUEST_CODE);

	(void)state;
	s.gpr[RSP] = GUEST_BYTES;
	guest_set(&g, &s);
	memcpy(g.ram + GUEST_HANDLERS + VEC_UD * 16, "\x0f\x0b", 2);
	assert_int_equal(guest_run(&g, 100), EXIT_KICK);
	assert_int_equal(*g.vcpu->retired, 0);
	guest_close(&g);
}

/* Each change makes a good state impossible; it must be refused and leave the vCPU alone. */
static void test_impossible_states(void **state)
{
	struct guest g = guest_with(loop, sizeof(loop));
	const struct x86_state good = guest_state64(0, AT(0));
	struct x86_state s, before = guest_get(&g);
	struct fail why;

	(void)state;
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		s = good;                                                                          \
		change;                                                                            \
		assert_int_not_equal(interp_ops.set_state(g.vcpu, &s, &why), 0);                   \
		assert_true(why.text[0] != 0);                                                     \
	} while (0)
	REFUSED(s.cr0 &= ~(uint64_t)CR0_PE);
	REFUSED(s.cr0 |= UINT64_C(1) << 40);
	REFUSED(s.cr0 |= CR0_NW);
	REFUSED(s.cr4 &= ~(uint64_t)CR4_PAE);
	REFUSED(s.cr4 |= UINT64_C(1) << 31);
	REFUSED(s.efer &= ~(uint64_t)EFER_LMA);
	REFUSED(s.cr3 = UINT64_C(1) << 60);
	REFUSED(s.rflags = 0);
	REFUSED(s.rflags |= FLAG_VM);
	REFUSED(s.rip = UINT64_C(1) << 47);
	REFUSED(s.seg[CS].attr |= SEG_DB);
	REFUSED(s.seg[CS].attr |= SEG_UNUSABLE);
	REFUSED(s.seg[CS].attr |= 3 << 5);
	REFUSED(s.seg[DS].base = UINT64_C(1) << 40);
	REFUSED(s.seg[FS].base = UINT64_C(1) << 47);
	REFUSED(s.seg[ES].attr |= 1u << 31);
	REFUSED(s.gdtr.base = UINT64_C(1) << 63);
	REFUSED(s.lstar = UINT64_C(1) << 63);
	REFUSED(s.pat = 2);
	REFUSED(s.xcr0 = 0);
	REFUSED(s.activity = 9);
	REFUSED(s.shadow = 0x8);
	REFUSED(s.event_pending = 2);
	REFUSED((s.event_pending = 1, s.event_vector = VEC_NMI));
	REFUSED((s.event_pending = 1, s.event_vector = VEC_GP));
#undef REFUSED
	s = guest_get(&g);
	assert_memory_equal(&s, &before, sizeof(s));
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_program),
		cmocka_unit_test(test_budget_is_exact_everywhere),
		cmocka_unit_test(test_zero_budget),
		cmocka_unit_test(test_kick_and_notice),
		cmocka_unit_test(test_block_modifies_itself),
		cmocka_unit_test(test_loop_modifies_itself),
		cmocka_unit_test(test_page_modifies_another),
		cmocka_unit_test(test_many_writes_beside_code),
		cmocka_unit_test(test_straddling_elements),
		cmocka_unit_test(test_straddling_instruction),
		cmocka_unit_test(test_straddler_into_missing_page),
		cmocka_unit_test(test_fetch_fault),
		cmocka_unit_test(test_no_execute),
		cmocka_unit_test(test_runs_across_pages),
		cmocka_unit_test(test_code_outside_memory),
		cmocka_unit_test(test_code_segment_limit),
		cmocka_unit_test(test_sti_shadow),
		cmocka_unit_test(test_interrupt_window),
		cmocka_unit_test(test_notice_ends_the_block_at_once),
		cmocka_unit_test(test_pending_exception_comes_first),
		cmocka_unit_test(test_single_step),
		cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_fault_storm),
		cmocka_unit_test(test_impossible_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
