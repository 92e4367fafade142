/*
 * storm.c - tests of machine/storm.c by include/trapeze.h: guests whose exceptions raise one
 * another, so that no instruction retires. A run that hangs ends by SIGALRM.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "board/api.h"
#include "machine/storm.h"
#include "test/cmocka.h"

#define CODE    0x1000
#define HANDLER 0x1800
#define SECOND  0x2000 /* where another CPU starts, in real mode */
#define TABLES  0x3000
#define STACK   0x10000000
#define ROOM    0x1000000

/* Of each vector that is used: what its handler begins with. */
#define UD     "\x0f\x0b" /* ud2 */
#define DE     "\xf7\xf1" /* div ecx: it is 0 */
#define EXIT77 "\xb8\x02\x00\x50\x54\xbb\x4d\x00\x00\x00\x0f\x01\xc1"
static const struct {
	unsigned vector;
	const char *code;
	unsigned bytes;
} handlers[] = {
	{0,     UD,     2 },
        { 1,    UD,     2 },
        { 6,    DE,     2 },
        { 0x20, EXIT77, 13},
        { 2,    UD,     2 },
};

static const char *const engines[] = { "interp", "bt" };
#define EACH_ENGINE(e) for (unsigned e = 0; e < 2; e++)

static uint64_t handler_at(unsigned n)
{
	return HANDLER + n * 16;
}

static void write_to(struct trapeze *t, uint64_t at, const void *from, size_t bytes)
{
	assert_int_equal(trapeze_write(t, at, from, bytes, NULL), 0);
}

/* Flat segments, and trap gates, which leave IF as it is. */
static void write_tables(struct trapeze *t)
{
	static const uint64_t gdt[3] = { 0, UINT64_C(0xcf9b000000ffff),
					 UINT64_C(0xcf93000000ffff) };
	uint64_t idt[256] = { 0 };

	for (unsigned n = 0; n < sizeof(handlers) / sizeof(handlers[0]); n++) {
		idt[handlers[n].vector] = handler_at(n) | UINT64_C(0x8f0000080000);
		write_to(t, handler_at(n), handlers[n].code, handlers[n].bytes);
	}
	write_to(t, TABLES, gdt, sizeof(gdt));
	write_to(t, TABLES + sizeof(gdt), idt, sizeof(idt));
}

static struct trapeze *open_with(const struct trapeze_config *config, const void *code,
				 size_t bytes, uint64_t rflags)
{
	struct trapeze_regs regs = { .rip = CODE, .rsp = STACK + ROOM, .rflags = rflags };
	struct trapeze *t = trapeze_open(config, NULL);

	assert_non_null(t);
	assert_int_equal(trapeze_add_memory(t, 0, 4 * PAGE_SIZE, NULL, 0, NULL), 0);
	assert_int_equal(trapeze_add_memory(t, STACK, ROOM, NULL, 0, NULL), 0);
	regs.gdt.base = TABLES;
	regs.gdt.limit = 23;
	regs.idt.base = TABLES + 24;
	regs.idt.limit = 0x7ff;
	write_tables(t);
	write_to(t, CODE, code, bytes);
	assert_int_equal(trapeze_enter(t, TRAPEZE_PROTECTED32, &regs, NULL), 0);
	return t;
}

static struct trapeze_end run(struct trapeze *t, uint64_t instructions)
{
	struct trapeze_end end;

	assert_int_equal(trapeze_run(t, instructions, &end, NULL), 0);
	return end;
}

struct hash {
	uint64_t part[2];
};

static struct hash hash_of(struct trapeze *t)
{
	struct hash h;

	assert_int_equal(trapeze_hash(t, h.part, NULL), 0);
	return h;
}

static uint64_t exceptions(const struct trapeze *t)
{
	return trapeze_exit_count(t, EXIT_EXCEPTION);
}

/* A run of any length comes back, and the next one, at the same place on each engine; and a guest
 * that gets out of it goes on. */
static void test_ends_a_run(void **state)
{
	struct hash hash[2][2];

	(void)state;
	for (int counted = 0; counted < 2; counted++) {
		EACH_ENGINE(e)
		{
			struct trapeze_config config = { .engine = engines[e], .counted = counted };
			struct trapeze *t = open_with(&config, "\x90\x90\x0f\x0b", 4, 2);
			struct trapeze_end end = run(t, 1);

			assert_int_equal(end.reason, TRAPEZE_BUDGET);
			end = run(t, UINT64_MAX);
			assert_int_equal(end.reason, TRAPEZE_STORM);
			assert_int_equal(end.instructions, 1);
			assert_int_equal(exceptions(t), STORM_EVENTS);
			hash[0][e] = hash_of(t);
			end = run(t, 5);
			assert_int_equal(end.reason, TRAPEZE_STORM);
			assert_int_equal(end.instructions, 0);
			assert_int_equal(exceptions(t), 2 * STORM_EVENTS);
			hash[1][e] = hash_of(t);
			if (counted)
				assert_int_equal(clock_now(&t->vm->clock), 2 + 2 * STORM_EVENTS);
			for (unsigned n = 0; n < 3; n++)
				write_to(t, handler_at(n), "\xf4", 1); /* hlt */
			assert_int_equal(run(t, 5).reason, TRAPEZE_HALTED);
			trapeze_close(t);
		}
		for (unsigned n = 0; counted && n < 2; n++)
			assert_memory_equal(&hash[n][0], &hash[n][1], sizeof(struct hash));
	}
	assert_string_equal(trapeze_reason_name(TRAPEZE_STORM), "storm");
}

struct buffer {
	uint8_t *data;
	size_t bytes;
};

static int append(void *arg, const void *data, size_t bytes)
{
	struct buffer *b = arg;

	b->data = realloc(b->data, b->bytes + bytes);
	memcpy(b->data + b->bytes, data, bytes);
	b->bytes += bytes;
	return 0;
}

/* A machine saved when the first event has been delivered ends its storm where the other does. */
static void test_count_is_state(void **state)
{
	(void)state;
	EACH_ENGINE(e)
	{
		struct trapeze_config config = { .engine = engines[e], .counted = 1 };
		/* nop, single-stepped */
		struct trapeze *t = open_with(&config, "\x90", 1, 0x102), *copy;
		struct hash hash[2];
		struct buffer saved = { NULL, 0 };

		assert_int_equal(run(t, 1).reason, TRAPEZE_BUDGET);
		assert_int_equal(exceptions(t), 1);
		assert_int_equal(trapeze_save(t, append, &saved, NULL), 0);
		copy = open_with(&config, "", 0, 2);
		assert_int_equal(trapeze_load(copy, saved.data, saved.bytes, NULL), 0);
		assert_int_equal(run(t, 9).reason, TRAPEZE_STORM);
		assert_int_equal(run(copy, 9).reason, TRAPEZE_STORM);
		assert_int_equal(exceptions(t), STORM_EVENTS);
		assert_int_equal(exceptions(copy), STORM_EVENTS - 1);
		hash[0] = hash_of(t);
		hash[1] = hash_of(copy);
		assert_memory_equal(&hash[0], &hash[1], sizeof(hash[0]));
		free(saved.data);
		trapeze_close(t);
		trapeze_close(copy);
	}
}

/* An NMI is the last of a thousand events, and the run ends before it is taken: what these take of
 * time is not left for later, which a saved machine would not know. */
static void test_nothing_is_left_due(void **state)
{
	(void)state;
	EACH_ENGINE(e)
	{
		struct trapeze_config config = { .engine = engines[e], .counted = 1 };
		struct trapeze *t = open_with(&config, "\x0f\x0b", 2, 2);
		struct vcpu *vcpu = t->vm->vcpu[0];

		assert_int_equal(run(t, 1).reason, TRAPEZE_STORM);
		storm_set(vcpu, 2 * STORM_EVENTS - 1);
		vcpu->nmi_waiting = true;
		vm_request(t->vm, VM_QUIT, 0);
		assert_int_equal(vcpu_round(vcpu, 1), 0);
		assert_false(vcpu->nmi_waiting);
		assert_int_equal(storm_events(vcpu), 2 * STORM_EVENTS);
		assert_int_equal(clock_now(&t->vm->clock), 2 * STORM_EVENTS);
		assert_int_equal(run(t, 1).reason, TRAPEZE_STOPPED);
		assert_int_equal(run(t, 1).reason, TRAPEZE_STORM);
		assert_int_equal(storm_events(vcpu), 3 * STORM_EVENTS);
		trapeze_close(t);
	}
}

/* Time goes on, so an interrupt can put an end to it. */
static void test_interrupted(void **state)
{
	static const char code[] =
		"\xb0\x11\xe6\x20\xb0\x20\xe6\x21\xb0\x04\xe6\x21\xb0\x01\xe6\x21" /* 8259 */
		"\xb0\xfe\xe6\x21"                                                 /* IRQ 0 */
		"\xb0\x30\xe6\x43\xb0\x64\xe6\x40\xb0\x00\xe6\x40" /* 100 ticks: 84 us */
		"\xc7\x05\xf0\x00\xe0\xfe\xff\x01\x00\x00"         /* local APIC: enable */
		"\xc7\x05\x50\x03\xe0\xfe\x00\x07\x00\x00"         /* LINT0: ExtINT */
		"\xfb\x0f\x0b";                                    /* sti; ud2 */
	unsigned storms[2] = { 0, 0 };
	struct hash hash[2];

	(void)state;
	EACH_ENGINE(e)
	{
		struct trapeze_config config = { .engine = engines[e], .counted = 1, .pc = 1 };
		struct trapeze *t = open_with(&config, code, sizeof(code) - 1, 2);
		struct trapeze_end end;

		while ((end = run(t, 1000)).reason == TRAPEZE_STORM && storms[e] < 1000)
			storms[e]++;
		assert_int_equal(end.reason, TRAPEZE_EXITED);
		assert_int_equal(end.status, 77);
		assert_in_range(storms[e], 80, 90);
		hash[e] = hash_of(t);
		trapeze_close(t);
	}
	assert_int_equal(storms[0], storms[1]);
	assert_memory_equal(&hash[0], &hash[1], sizeof(hash[0]));
}

/* Starts the second CPU, by INIT and SIPI. */
#define START                                                                                      \
	"\xbb\x00\x03\xe0\xfe\xc7\x03\x00\x45\x0c\x00"                                             \
	"\xc7\x03\x02\x46\x0c\x00"

static struct trapeze_end with_second(const char *engine, int counted, const char *code,
				      size_t bytes)
{
	/* mov ax, 8000h; mov ss, ax; ud2 */
	static const char second[] = "\xb8\x00\x80\x8e\xd0\x0f\x0b";
	struct trapeze_config config = { .engine = engine, .counted = counted, .pc = 1, .cpus = 2 };
	struct trapeze *t = open_with(&config, code, bytes, 2);
	uint32_t itself = SECOND + 5;
	struct trapeze_end end;

	write_to(t, SECOND, second, sizeof(second) - 1);
	write_to(t, 6 * 4, &itself, 4); /* whose #UD leads to its UD2 */
	end = run(t, UINT64_MAX);
	if (counted)
		assert_true(t->vm->vcpu[1]->exits[EXIT_EXCEPTION] >= STORM_EVENTS);
	trapeze_close(t);
	return end;
}

/* Who works is not kept from it by another CPU's storm; nor does that end the run. Counted, as many
 * events of the one's as instructions of the other's take a while. */
static void test_others_go_on(void **state)
{
	/* mov ecx, 100000 or 1000000; dec ecx; jnz */
	static const char in_turns[] = START "\xb9\xa0\x86\x01\x00\x49\x75\xfd" EXIT77;
	static const char on_threads[] = START "\xb9\x40\x42\x0f\x00\x49\x75\xfd" EXIT77;

	(void)state;
	EACH_ENGINE(e)
	{
		for (int counted = 0; counted < 2; counted++) {
			struct trapeze_end end =
				with_second(engines[e], counted, counted ? in_turns : on_threads,
					    sizeof(in_turns) - 1);

			assert_int_equal(end.reason, TRAPEZE_EXITED);
			assert_int_equal(end.status, 77);
		}
	}
}

/* It does when the others wait for nothing, or are in one of their own. */
static void test_nobody_goes_on(void **state)
{
	static const char halts[] = START "\xf4", storms[] = START "\x0f\x0b";

	(void)state;
	EACH_ENGINE(e)
	{
		for (int counted = 0; counted < 2; counted++) {
			assert_int_equal(
				with_second(engines[e], counted, halts, sizeof(halts) - 1).reason,
				TRAPEZE_STORM);
			assert_int_equal(
				with_second(engines[e], counted, storms, sizeof(storms) - 1).reason,
				TRAPEZE_STORM);
		}
	}
}

/* Nor is it kept from that by a timer that goes on, but reaches no CPU: the other one has never
 * been started, or sleeps with its interrupts off. */
static void test_nobody_hears(void **state)
{
#define TIMER "\xb0\x34\xe6\x43\xb0\x64\xe6\x40\xb0\x00\xe6\x40" /* each 84 us */
	static const char alone[] = TIMER "\x0f\x0b", other[] = TIMER START "\x0f\x0b";

	(void)state;
	EACH_ENGINE(e)
	{
		for (unsigned way = 0; way < 4; way++) {
			struct trapeze_config config = {
				.engine = engines[e], .counted = way & 1, .pc = 1, .cpus = 2
			};
			struct trapeze *t =
				way & 2 ? open_with(&config, other, sizeof(other) - 1, 2)
					: open_with(&config, alone, sizeof(alone) - 1, 2);

			write_to(t, SECOND, "\xfa\xf4", 2); /* cli; hlt */
			assert_int_equal(run(t, UINT64_MAX).reason, TRAPEZE_STORM);
			assert_false(vm_quiet(t->vm));
			trapeze_close(t);
		}
	}
}

/* What CPU 0 asks for after so many events. */
static int asked_after(struct vm *vm, uint64_t events)
{
	storm_set(vm->vcpu[0], events);
	vm->vcpu[0]->storm.due = true;
	storm_look(vm->vcpu[0]);
	return atomic_load(&vm->request);
}

/* A CPU with a thread of its own that was in a storm when it last looked may be out of it. */
static void test_others_look_again(void **state)
{
	struct trapeze_config config = { .engine = "interp", .pc = 1, .cpus = 2 };
	struct trapeze *t = open_with(&config, "", 0, 2);
	struct vm *vm = t->vm;

	(void)state;
	vm->crew.used = true; /* there are no threads to come between */
	storm_set(vm->vcpu[1], STORM_EVENTS);
	assert_int_equal(asked_after(vm, STORM_EVENTS), VM_NONE);
	assert_int_equal(asked_after(vm, 2 * STORM_EVENTS), VM_NONE);
	storm_set(vm->vcpu[1], 2 * STORM_EVENTS);
	assert_int_equal(asked_after(vm, 3 * STORM_EVENTS), VM_STORM);
	vm->crew.used = false;
	trapeze_close(t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends_a_run),
		cmocka_unit_test(test_count_is_state),
		cmocka_unit_test(test_nothing_is_left_due),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_others_go_on),
		cmocka_unit_test(test_nobody_goes_on),
		cmocka_unit_test(test_nobody_hears),
		cmocka_unit_test(test_others_look_again),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
