/*
 * hostile.c - machines with damaged descriptor tables, task-state segments, page tables and
 * registers that execute random privileged instructions in every mode.
 *
 * Nothing is expected but that the interpreter goes on or shuts down, and that whatever state it
 * leaves is one that it accepts again: a machine can be saved between any two instructions.
 * HOSTILE_ROUNDS sets how many machines, HOSTILE_SEED where to begin.
 *
 * SPDX-License-Identifier: MIT
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include "test/unit/rings.h"

static uint64_t seed;
static struct vcpu *running;

static uint64_t random64(void)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t pick(uint64_t n)
{
	return random64() % n;
}

/* A repeated instruction over 4 GiB of nothing takes its time; nobody waits for it. */
static void on_alarm(int signo)
{
	(void)signo;
	if (running)
		atomic_store(&running->notice, true);
}

/* Opcodes of what the privileged files implement, and what leads there. */
static const char *const opcodes[] = {
	"\xcd\x42",     "\xcd\x43",     "\xcc",         "\xce",
	"\xf1",         "\xcf",         "\x48\xcf",     "\x66\xcf",
	"\xcb",         "\xca\x08",     "\xff\x2c\x24", "\xff\x1c\x24",
	"\x9d",         "\x9c",         "\xfa",         "\xfb",
	"\x0f\x01",     "\x0f\x06",     "\x0f\x20",     "\x0f\x22",
	"\x0f\x23",     "\x0f\x21",     "\x0f\x05",     "\x0f\x07",
	"\x0f\x34",     "\x0f\x35",     "\x0f\x02",     "\x0f\x03",
	"\x8e",         "\x8c",         "\x1f",         "\x17",
	"\x07",         "\x0f\xa1",     "\x0f\xa9",     "\x0f\xb2",
	"\xc5",         "\x63",         "\x6c",         "\xf3\x6d",
	"\x6e",         "\xf3\x6f",     "\xe4\x80",     "\xec",
	"\xee",         "\x0f\x30",     "\x0f\x32",     "\x0f\xa2",
	"\x0f\x31",     "\x0f\x0b",     "\x9a",         "\xea",
	"\xf3\xa4",     "\xf3\xab",     "\xc8",         "\x66\x0f\x38\x82",
	"\x48\x0f\x07", "\x48\x0f\x35", "\xf3\x0f\xae", "\x0f\xae",
	"\x0f\x09",     "\x62",         "\xf4",
};

static void put_code(struct rig *r, uint64_t at, unsigned bytes)
{
	for (uint64_t end = at + bytes; at < end;) {
		const char *op = opcodes[pick(sizeof(opcodes) / sizeof(opcodes[0]))];
		/* The opcodes hold no zero byte but at their end. */
		size_t n = strlen(op);

		if (pick(8) == 0)
			r->ram[at++] = (uint8_t[]){ 0x66, 0x67, 0x2e, 0x64, 0x48, 0xf0 }[pick(6)];
		memcpy(r->ram + at, op, n);
		at += n;
		for (uint64_t k = pick(4); k > 0; k--)
			r->ram[at++] = (uint8_t)random64();
	}
}

static uint64_t odd_address(void)
{
	switch (pick(6)) {
	case 0: return random64();
	case 1: return (uint32_t)random64();
	case 2: return UINT64_C(0xffffffff00000000) | random64();
	case 3: return RIG_BYTES - 8 + pick(16);
	default: return pick(RIG_BYTES);
	}
}

static void damage(struct rig *r, uint64_t at, uint64_t bytes, unsigned times)
{
	while (times--)
		r->ram[at + pick(bytes)] ^= (uint8_t)(1u << pick(8));
}

static void damage_tables(struct rig *r)
{
	damage(r, GDT_AT, SLOT_COUNT * 8, (unsigned)pick(12));
	damage(r, IDT_AT, 0x500, (unsigned)pick(12));
	damage(r, TSS_AT, 104, (unsigned)pick(8));
	damage(r, PT_AT, 0x800, (unsigned)pick(6));
	for (unsigned n = 0; n < 104; n += 4)
		if (pick(2))
			rig_put(r, TSS_B_AT + n,
				pick(3) ? pick(SLOT_COUNT) * 8 + pick(8) : odd_address(), 4);
	for (unsigned n = 0; n < 6; n++) /* gates of all kinds */
		rig_put(r, IDT_AT + pick(32) * (rig_long(r) ? 16 : 8),
			pick(0x10000) | (pick(SLOT_COUNT) * 8 + pick(8)) << 16 |
				(uint64_t)(0x80 | pick(0x80)) << 40 | pick(2) << 48,
			8);
	rig_put(r, GDT_AT + SEL(GATE), random64(), 8);
	if (pick(4) == 0)
		r->s.gdtr.base = odd_address() & 0x7fffffff;
	if (pick(4) == 0)
		r->s.tr.base = odd_address() & 0x7fffffff;
	if (pick(4) == 0)
		r->s.tr.limit = (uint32_t)pick(120);
}

static void random_registers(struct rig *r)
{
	for (unsigned n = 0; n < GPR_COUNT; n++)
		if (n != RSP || pick(4) == 0)
			r->s.gpr[n] = pick(3) ? pick(SLOT_COUNT) * 8 + pick(8) : odd_address();
	r->s.rflags = FLAG_FIXED | (random64() & (FLAG_ARITH | FLAG_IF | FLAG_DF | FLAG_IOPL |
						  FLAG_NT | FLAG_RF | FLAG_AC | FLAG_TF));
	if (pick(3))
		r->s.rflags &= ~(uint64_t)FLAG_TF;
	for (unsigned n = 0; n < 4; n++)
		r->s.dr[n] = pick(2) ? CODE_AT + pick(256) : STACK0 - pick(64);
	if (pick(3) == 0)
		r->s.dr7 = 0x400 | (random64() & 0xffff03ff);
	r->s.cr0 |= random64() & (CR0_AM | CR0_TS | CR0_EM | CR0_WP);
	r->s.cr4 |= random64() & (CR4_TSD | CR4_DE | CR4_PSE | CR4_PGE | CR4_UMIP | CR4_FSGSBASE |
				  CR4_OSXSAVE | CR4_SMEP | CR4_OSFXSR);
	r->s.star = random64();
	r->s.lstar = r->s.cstar = pick(RIG_BYTES);
	r->s.sysenter_cs = pick(SLOT_COUNT) * 8;
	r->s.sysenter_eip = CODE_AT + pick(256);
	r->s.sysenter_esp = pick(RIG_BYTES);
}

static void round_of(uint64_t start)
{
	static const struct {
		enum rig_mode mode;
		unsigned cpl;
	} modes[] = {
		{MODE_REAL,    0},
                { MODE_16,     0},
                { MODE_32,     0},
		{ MODE_32,     1},
                { MODE_32,     3},
                { MODE_COMPAT, 0},
		{ MODE_COMPAT, 3},
                { MODE_64,     0},
                { MODE_64,     3}
	};
	unsigned m = (unsigned)(start % (sizeof(modes) / sizeof(modes[0])));
	struct exit exit;
	struct fail why = { 0 };
	struct rig r;

	seed = start;
	r = rig_open(modes[m].mode, modes[m].cpl);
	damage_tables(&r);
	random_registers(&r);
	put_code(&r, CODE_AT, 400);
	put_code(&r, HANDLERS_AT, 512);
	if (vcpu_set_state(r.vcpu, &r.s, &why) != 0) {
		rig_close(&r);
		return; /* refused: as good */
	}
	running = r.vcpu;
	for (unsigned turn = 0; turn < 12; turn++) {
		uint64_t before = *r.vcpu->retired;

		exit.reason = EXIT_REASON_COUNT;
		atomic_store(&r.vcpu->notice, false);
		r.vcpu->budget = 1 + pick(40);
		assert_int_equal(interp_ops.run(r.vcpu, &exit), 0);
		interp_ops.get_state(r.vcpu, &r.s);
		if (exit.reason == EXIT_SHUTDOWN)
			break;
		if (vcpu_set_state(r.vcpu, &r.s, &why) != 0) {
			print_error("HOSTILE_SEED=%llu, turn %u: %s\n", (unsigned long long)start,
				    turn, why.text);
			assert_true(false);
		}
		if (*r.vcpu->retired == before)
			break; /* a handler that faults for ever, or a long repeat */
	}
	running = NULL;
	rig_close(&r);
}

static void test_hostile(void **state)
{
	static const struct itimerval every = {
		{0,  20000},
                { 0, 20000}
	};
	const char *rounds = getenv("HOSTILE_ROUNDS"), *first = getenv("HOSTILE_SEED");
	uint64_t start = first ? strtoull(first, NULL, 0) : 1;
	uint64_t count = rounds ? strtoull(rounds, NULL, 0) : 300;

	(void)state;
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &every, NULL);
	for (uint64_t n = 0; n < count; n++)
		round_of(start + n);
}

static const struct CMUnitTest tests[] = { cmocka_unit_test(test_hostile) };

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
