/*
 * round_trip.c - save, load into a fresh machine, go on: the same machine at the end.
 *
 * The guest of rig.h goes through every kind of exit. It is saved after each single
 * instruction of some rounds and at many places of the others, so also in interrupt
 * shadows, halted, between a fault and its handler, with timers pending and FIFOs half
 * full; every copy runs on to the same instruction and must come to the same hash.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/cmocka.h"
#include "test/save/rig.h"
#include "test/save/stream.h"

#define TOTAL       30000u /* instructions of a whole run */
#define INPUT_EVERY 4096u
/* Every instruction is a place to save of this many, at the beginning and in a later round. */
#define DENSE  1700u
#define LATER  15000u
#define SPARSE 97u /* and elsewhere one in this many */

static const char input[] = "typed by someone";

#define complain(...)                                                                              \
	do {                                                                                       \
		print_error(__VA_ARGS__);                                                          \
		print_error("\n");                                                                 \
		assert_true(false);                                                                \
	} while (0)

static uint64_t count(const struct pc *pc)
{
	return *pc->vm->vcpu[0]->retired;
}

static void run_exactly(struct pc *pc, uint64_t instructions)
{
	uint64_t end = count(pc) + instructions;
	int status;

	assert_int_equal(vm_run(pc->vm, instructions, &status, NULL), VM_NONE);
	assert_int_equal(count(pc), end);
}

/* Runs to the given instruction, typing on the way. */
static void advance(struct pc *pc, uint64_t to)
{
	while (count(pc) < to) {
		uint64_t now = count(pc), next = (now / INPUT_EVERY + 1) * INPUT_EVERY;

		if (now % INPUT_EVERY == 0)
			assert_int_equal(device_post(pc->uart, input, sizeof(input)), 0);
		run_exactly(pc, (next < to ? next : to) - now);
	}
}

static struct save_hash hash_of(struct pc *pc)
{
	struct save_hash h = save_hash(pc->vm);

	assert_true(h.low || h.high);
	return h;
}

static void assert_same(struct save_hash a, struct save_hash b, uint64_t cut)
{
	if (a.low != b.low || a.high != b.high)
		complain("saved after instruction %llu: another machine", (unsigned long long)cut);
}

static struct save_hash reference(void)
{
	static struct save_hash hash;
	struct pc *pc;

	if (hash.low || hash.high)
		return hash;
	pc = rig_open_guest();
	advance(pc, TOTAL);
	hash = hash_of(pc);
	pc_close(pc);
	return hash;
}

static void load_copy(struct pc *from, struct pc *to)
{
	struct stream s = stream_of(from);
	struct fail why = { 0, "" };

	if (stream_load(&s, to, &why))
		complain("a stream just saved does not load: %s", why.text);
	free(s.data);
}

/* What the machine was doing when it was saved: the test is worth as much as it has seen. */
static struct {
	unsigned sti, movss, halted, stepping, breakpoint;
} seen;

static void look(struct pc *pc)
{
	struct x86_state s;

	vcpu_get_state(pc->vm->vcpu[0], &s);
	seen.sti += !!(s.shadow & SHADOW_STI);
	seen.movss += !!(s.shadow & SHADOW_MOVSS);
	seen.halted += s.activity == ACTIVITY_HALT;
	seen.stepping += !!(s.rflags & FLAG_TF);
	seen.breakpoint += !!(s.dr7 & 0xff);
}

static uint64_t next_cut(uint64_t cut)
{
	return cut < DENSE || cut - LATER < DENSE ? cut + 1 : cut + SPARSE;
}

static void saved_at_many_places(void **state)
{
	struct pc *pc = rig_open_guest();

	(void)state;
	for (uint64_t cut = 0; cut < TOTAL; cut = next_cut(cut)) {
		struct pc *copy = rig_open_empty();

		advance(pc, cut);
		look(pc);
		load_copy(pc, copy);
		assert_same(hash_of(copy), hash_of(pc), cut);
		advance(copy, TOTAL);
		assert_same(hash_of(copy), reference(), cut);
		pc_close(copy);
	}
	/* The machine that was saved all the time has not been disturbed by it. */
	advance(pc, TOTAL);
	assert_same(hash_of(pc), reference(), TOTAL);
	pc_close(pc);
	print_message("seen: %u after STI, %u after MOV SS, %u halted, %u stepping, %u with "
		      "breakpoints\n",
		      seen.sti, seen.movss, seen.halted, seen.stepping, seen.breakpoint);
	assert_true(seen.sti && seen.movss && seen.halted && seen.stepping && seen.breakpoint);
}

static void single_steps_add_up(void **state)
{
	struct pc *pc = rig_open_guest();

	(void)state;
	while (count(pc) < TOTAL)
		advance(pc, count(pc) + 1);
	assert_same(hash_of(pc), reference(), TOTAL);
	pc_close(pc);
}

static void every_kind_of_exit_was_met(void **state)
{
	static const enum exit_reason reason[] = {
		EXIT_BUDGET,    EXIT_PIO,       EXIT_MMIO,      EXIT_CPUID,      EXIT_RDMSR,
		EXIT_WRMSR,     EXIT_HYPERCALL, EXIT_HLT,       EXIT_IRQ_WINDOW, EXIT_CONTROL_REG,
		EXIT_DEBUG_REG, EXIT_TLB_FLUSH, EXIT_INTERRUPT, EXIT_EXCEPTION,
	};
	static const uint16_t counter[] = { 0x4000, 0x4050, 0x4054, 0x405c, 0x4060,
					    0x4064, 0x4068, 0x4070, 0x4078 };
	struct pc *pc = rig_open_guest();

	(void)state;
	advance(pc, TOTAL);
	for (unsigned i = 0; i < sizeof(reason) / sizeof(reason[0]); i++)
		if (pc->vm->vcpu[0]->exits[reason[i]] == 0)
			complain("no exit of kind %s", exit_name(reason[i]));
	for (unsigned i = 0; i < sizeof(counter) / sizeof(counter[0]); i++) {
		uint32_t n;

		assert_int_equal(mem_read(&pc->vm->mem, gpa(counter[i]), &n, 4), 0);
		if (n == 0)
			complain("nothing was counted at 0x%x", counter[i]);
	}
	pc_close(pc);
}

static void saving_changes_nothing(void **state)
{
	struct pc *pc = rig_open_guest();
	struct save_hash before;
	struct stream a, b;

	(void)state;
	advance(pc, 5000);
	before = hash_of(pc);
	a = stream_of(pc);
	b = stream_of(pc);
	assert_same(hash_of(pc), before, 5000);
	assert_int_equal(a.bytes, b.bytes);
	assert_memory_equal(a.data, b.data, a.bytes);
	free(a.data);
	free(b.data);
	pc_close(pc);
}

/* A machine that has been used takes a stream as well as a fresh one. */
static void loading_replaces_everything(void **state)
{
	struct pc *pc = rig_open_guest(), *used = rig_open_guest();

	(void)state;
	advance(pc, 3000);
	advance(used, 17171);
	load_copy(pc, used);
	assert_same(hash_of(used), hash_of(pc), 3000);
	advance(used, TOTAL);
	assert_same(hash_of(used), reference(), 3000);
	pc_close(pc);
	pc_close(used);
}

static void shutdown_stays_shutdown(void **state)
{
	struct pc *pc = rig_open_guest(), *copy = rig_open_empty();
	struct x86_state s;
	int status;

	(void)state;
	vcpu_get_state(pc->vm->vcpu[0], &s);
	s.idtr.limit = 0;
	s.event_pending = 1;
	s.event_vector = VEC_UD;
	assert_int_equal(vcpu_set_state(pc->vm->vcpu[0], &s, NULL), 0);
	/* Once with the exception still pending, once after it could not be delivered. */
	load_copy(pc, copy);
	assert_int_equal(vm_run(copy->vm, 10, &status, NULL), VM_CRASHED);
	assert_int_equal(vm_run(pc->vm, 10, &status, NULL), VM_CRASHED);
	load_copy(pc, copy);
	assert_int_equal(vm_run(copy->vm, 10, &status, NULL), VM_CRASHED);
	assert_int_equal(count(copy), 0);
	pc_close(pc);
	pc_close(copy);
}

/* Two alarms due in the same nanosecond fire in the order in which they were set. */
static void order_of_alarms_is_kept(void **state)
{
	struct pc *pc = rig_open_guest(), *copy = rig_open_empty();
	struct alarm *first, *last;

	(void)state;
	advance(pc, 20000);
	load_copy(pc, copy);
	first = pc->vm->clock.first;
	last = copy->vm->clock.first;
	for (; first && last; first = first->next, last = last->next) {
		assert_int_equal(first->at, last->at);
		assert_string_equal(((struct device *)first->arg)->id,
				    ((struct device *)last->arg)->id);
	}
	assert_true(!first && !last);
	pc_close(pc);
	pc_close(copy);
}

static int sink_full(void *arg, const void *data, size_t bytes)
{
	size_t *room = arg;

	(void)data;
	if (bytes > *room)
		return -ENOSPC;
	*room -= bytes;
	return 0;
}

static void a_full_sink_is_an_error(void **state)
{
	struct pc *pc = rig_open_guest();
	struct stream whole = stream_of(pc);

	(void)state;
	for (size_t room = 0; room < whole.bytes; room += 97) {
		size_t left = room;
		struct save_sink sink = { .write = sink_full, .arg = &left };
		struct fail why;

		assert_int_equal(save_machine(pc->vm, &sink, &why), -ENOSPC);
		assert_string_equal(why.text,
				    "cannot write the saved machine: No space left on device");
	}
	free(whole.data);
	pc_close(pc);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_exit_was_met),
		cmocka_unit_test(single_steps_add_up),
		cmocka_unit_test(saving_changes_nothing),
		cmocka_unit_test(saved_at_many_places),
		cmocka_unit_test(loading_replaces_everything),
		cmocka_unit_test(shutdown_stays_shutdown),
		cmocka_unit_test(order_of_alarms_is_kept),
		cmocka_unit_test(a_full_sink_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
