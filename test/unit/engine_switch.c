/*
 * engine_switch.c - test of changing engines: between two instances of the interpreter, in counted
 * mode, where a difference of one bit shows.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "engine/interp/engine_interp.h"
#include "machine/vm.h"
#include "save/save.h"
#include "test/cmocka.h"

#define CODE   0x1000
#define MEMORY UINT64_C(0x10000)

/* The interpreter under other names; and engines that fail at each step of being opened. */
static struct engine_ops second, broken;
static unsigned opened, closed;

static int open_counted(struct vm *vm, struct fail *why)
{
	opened++;
	return interp_ops.vm_open(vm, why);
}

static void close_counted(struct vcpu *vcpu)
{
	closed++;
	interp_ops.vcpu_close(vcpu);
}

static int no_vm(struct vm *vm, struct fail *why)
{
	(void)vm;
	return fail(why, -ENODEV, "no machine today");
}

static int no_vcpu(struct vcpu *vcpu, struct fail *why)
{
	(void)vcpu;
	return fail(why, -ENODEV, "no vCPU today");
}

static int no_map(struct vm *vm, const struct mem_slot *slot)
{
	(void)vm;
	(void)slot;
	return -ENOSPC;
}

static int no_state(struct vcpu *vcpu, const struct x86_state *in, struct fail *why)
{
	(void)vcpu;
	(void)in;
	return fail(why, -EINVAL, "no such state");
}

/* And it says it where the run loop looks, too. */
static int no_state_and_trouble(struct vcpu *vcpu, const struct x86_state *in, struct fail *why)
{
	fail(&vcpu->trouble, -EINVAL, "no such state");
	return no_state(vcpu, in, why);
}

static void trouble_instead_of_state(struct vcpu *vcpu, struct x86_state *out)
{
	interp_ops.get_state(vcpu, out);
	fail(&vcpu->trouble, -EIO, "the state is lost");
}

/* Real mode: counts in AX, stores it, and writes over its own code now and then. */
static const uint8_t code[] = {
	0x40,                   /* inc ax */
	0xa3, 0x00, 0x20,       /* mov [2000h], ax */
	0xfe, 0x06, 0x0c, 0x10, /* inc byte [100ch]: the immediate below */
	0x01, 0xc3,             /* add bx, ax */
	0x83, 0xc1, 0x00,       /* add cx, imm8 */
	0x90, 0xeb, 0xf0,       /* nop; jmp */
};

static struct vm *open_machine(const struct engine_ops *engine, bool counted)
{
	struct vm_config config = {
		.engine = engine, .vcpus = 1, .counted = counted, .tsc_khz = 1000000
	};
	struct x86_state s;
	struct fail why;
	struct vm *vm = vm_open(&config, &why);

	assert_non_null(vm);
	assert_int_equal(mem_add(vm, gpa(0), MEMORY, NULL, false, &why), 0);
	assert_int_equal(mem_load(&vm->mem, gpa(CODE), code, sizeof(code)), 0);
	vcpu_get_state(vm->vcpu[0], &s);
	s.seg[CS].base = 0;
	s.seg[CS].selector = 0;
	s.rip = CODE;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, &why), 0);
	return vm;
}

static void run(struct vm *vm, uint64_t instructions)
{
	struct fail why = { 0 };
	int status = 0;

	assert_int_equal(vm_run(vm, instructions, &status, &why), VM_NONE);
}

static struct save_hash straight(uint64_t instructions)
{
	struct vm *vm = open_machine(&interp_ops, true);
	struct save_hash hash;

	run(vm, instructions);
	hash = save_hash(vm);
	vm_close(vm);
	return hash;
}

static void assert_same(struct vm *vm, struct save_hash expected)
{
	struct save_hash hash = save_hash(vm);

	assert_int_equal(hash.low, expected.low);
	assert_int_equal(hash.high, expected.high);
}

static void test_at_every_instruction(void **state)
{
	struct vm *vm = open_machine(&interp_ops, true);
	struct fail why;

	(void)state;
	opened = closed = 0;
	for (unsigned i = 0; i < 1000; i++) {
		run(vm, 1);
		assert_int_equal(vm_switch(vm, i % 2 ? &interp_ops : &second, &why), 0);
	}
	assert_int_equal(opened, 500);
	assert_int_equal(closed, 500);
	assert_int_equal(vm->switches.done, 1000);
	assert_int_equal(clock_now(&vm->clock), 1000);
	assert_same(vm, straight(1000));
	vm_close(vm);
}

static void test_planned(void **state)
{
	const struct switch_point points[] = {
		{.to = &second,      .instruction = 10        },
		{ .to = &second,     .instruction = 10        }, /* already there */
		{ .to = &interp_ops, .instruction = 999       },
		{ .to = &second,     .instruction = UINT64_MAX, .time_ns = 3000 },
		{ .to = &interp_ops,                 .instruction = 1000000                        },
	};
	struct vm *vm = open_machine(&interp_ops, true);

	(void)state;
	vm_plan_switches(vm, points, 5);
	run(vm, 10);
	assert_ptr_equal(vm->engine, &interp_ops); /* the next run begins with it */
	run(vm, 1);
	assert_ptr_equal(vm->engine, &second);
	run(vm, 1989);
	assert_ptr_equal(vm->engine, &interp_ops);
	run(vm, 3000);
	assert_ptr_equal(vm->engine, &second);
	assert_int_equal(vm->switches.done, 3);
	assert_same(vm, straight(5000));
	vm_close(vm);
}

static void refused(struct vm *vm, const char *sentence)
{
	struct fail why = { 0 };

	run(vm, 7);
	assert_true(vm_switch(vm, &broken, &why) < 0);
	assert_string_equal(why.text, sentence);
	assert_ptr_equal(vm->engine, &interp_ops);
}

static void test_failure_leaves_the_machine_running(void **state)
{
	struct vm *vm = open_machine(&interp_ops, true);

	(void)state;
	broken = interp_ops;
	broken.name = "broken";
	broken.vm_open = no_vm;
	refused(vm, "no machine today");
	broken.vm_open = interp_ops.vm_open;
	broken.vcpu_open = no_vcpu;
	refused(vm, "no vCPU today");
	broken.vcpu_open = interp_ops.vcpu_open;
	broken.map = no_map;
	refused(vm, "engine broken cannot map memory at 0x0");
	broken.map = interp_ops.map;
	broken.set_state = no_state;
	refused(vm, "no such state");
	broken.set_state = no_state_and_trouble;
	refused(vm, "no such state");
	run(vm, 65);
	assert_int_equal(vm->switches.done, 0);
	assert_same(vm, straight(100));
	vm_close(vm);
}

/* Whose state is lost does not go on elsewhere with the last one known: it ends where it is. */
static void test_state_that_is_lost(void **state)
{
	struct vm *vm = open_machine(&interp_ops, true);
	struct fail why = { 0 };
	int status = 0;

	(void)state;
	broken = interp_ops;
	broken.name = "broken";
	assert_int_equal(vm_switch(vm, &broken, &why), 0);
	run(vm, 7);
	broken.get_state = trouble_instead_of_state;
	assert_int_equal(vm_switch(vm, &interp_ops, &why), -EIO);
	assert_string_equal(why.text, "the state is lost");
	assert_ptr_equal(vm->engine, &broken);
	assert_int_equal(vm_run(vm, 1, &status, &why), VM_STUCK);
	assert_string_equal(why.text, "engine broken failed: the state is lost");
	assert_int_equal(status, -EIO);
	vm_close(vm);
}

static void test_counting(void **state)
{
	struct vm_config config = { .engine = &broken, .vcpus = 1, .counted = true };
	struct vm *vm = open_machine(&interp_ops, true);
	struct fail why = { 0 };

	(void)state;
	broken = interp_ops;
	broken.name = "uncounted";
	broken.caps = 0;
	assert_int_equal(vm_switch(vm, &broken, &why), -EINVAL);
	assert_string_equal(why.text, "engine uncounted does not count instructions: a counted "
				      "machine cannot run on it");
	vm_close(vm);
	assert_null(vm_open(&config, &why));
	assert_int_equal(why.code, -EINVAL);
	vm = open_machine(&interp_ops, false);
	assert_int_equal(vm_switch(vm, &broken, &why), 0);
	vm_close(vm);
}

static const struct engine_ops *choose(const struct engine_ops *now, unsigned caps)
{
	assert_int_equal(caps, ENGINE_COUNTED);
	return now == &interp_ops ? &second : NULL;
}

static void test_asked(void **state)
{
	struct vm *vm = open_machine(&interp_ops, true);

	(void)state;
	vm_ask_switch(vm, choose);
	run(vm, 5);
	assert_ptr_equal(vm->engine, &second);
	vm_ask_switch(vm, choose); /* there is no other */
	run(vm, 5);
	assert_ptr_equal(vm->engine, &second);
	assert_same(vm, straight(10));
	vm_close(vm);
}

/* What waits for the CPU outside the engine, and what sleeps, goes along. */
static void test_halted_and_waiting(void **state)
{
	struct vm *vm = open_machine(&interp_ops, true);
	struct x86_state s;
	struct fail why;

	(void)state;
	vcpu_get_state(vm->vcpu[0], &s);
	s.activity = ACTIVITY_HALT;
	s.nmi_pending = 1;
	s.nmi_blocked = 1;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, &why), 0);
	assert_int_equal(vm_switch(vm, &second, &why), 0);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.activity, ACTIVITY_HALT);
	assert_int_equal(s.nmi_pending, 1);
	assert_int_equal(s.nmi_blocked, 1);
	assert_true(vm->vcpu[0]->halted);
	assert_true(vm->vcpu[0]->nmi_waiting);
	s.nmi_pending = 0;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, &why), 0);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.nmi_pending, 0);
	vm_close(vm);
}

/* Who had code of a page, and who wrote it, is forgotten with the engine: else it stays watched. */
static void test_pages_are_nobodys(void **state)
{
	struct vm_config config = { .engine = &interp_ops, .vcpus = 2 };
	struct fail why;
	struct vm *vm = vm_open(&config, &why);
	struct x86_state s;
	struct mem_slot *slot;
	int status;

	(void)state;
	assert_non_null(vm);
	assert_int_equal(mem_add(vm, gpa(0), 0x10000, NULL, false, &why), 0);
	/* 0:1000: inc byte [2000h]; jmp */
	assert_int_equal(mem_load(&vm->mem, gpa(0x1000), "\xfe\x06\x00\x20\xeb\xfa", 6), 0);
	vcpu_get_state(vm->vcpu[0], &s);
	s.seg[CS].selector = 0;
	s.seg[CS].base = 0;
	s.rip = 0x1000;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, &why), 0);
	assert_int_equal(vm_run(vm, 1000, &status, &why), VM_NONE);
	slot = mem_find(&vm->mem, gpa(0));
	assert_int_equal(slot->coders[1], 1);
	assert_int_equal(slot->writers[2], 1);
	assert_int_equal(vm_switch(vm, &second, &why), 0);
	assert_int_equal(slot->coders[1], 0);
	assert_int_equal(slot->writers[2], 0);
	assert_int_equal(vm_run(vm, 1000, &status, &why), VM_NONE);
	assert_int_equal(slot->coders[1], 1);
	vm_close(vm);
}

/* An interrupt that one engine has acknowledged is delivered by the next. */
static void test_interrupt_on_its_way(void **state)
{
	const uint32_t vector = UINT32_C(0x00003000); /* 0:3000h */
	struct vm *vm = open_machine(&interp_ops, true);
	struct x86_state s;
	struct fail why;

	(void)state;
	assert_int_equal(mem_load(&vm->mem, gpa(0x40 * 4), &vector, 4), 0);
	vcpu_get_state(vm->vcpu[0], &s);
	s.gpr[RSP] = 0x8000;
	s.rflags |= FLAG_IF;
	s.event_pending = s.event_external = 1;
	s.event_vector = 0x40;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, &why), 0);
	assert_int_equal(vm_switch(vm, &second, &why), 0);
	run(vm, 1);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.rip & ~UINT64_C(15), 0x3000);
	assert_int_equal(s.event_pending, 0);
	assert_false(s.rflags & FLAG_IF);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_every_instruction),
		cmocka_unit_test(test_planned),
		cmocka_unit_test(test_failure_leaves_the_machine_running),
		cmocka_unit_test(test_state_that_is_lost),
		cmocka_unit_test(test_counting),
		cmocka_unit_test(test_asked),
		cmocka_unit_test(test_halted_and_waiting),
		cmocka_unit_test(test_pages_are_nobodys),
		cmocka_unit_test(test_interrupt_on_its_way),
	};

	second = interp_ops;
	second.name = "second";
	second.vm_open = open_counted;
	second.vcpu_close = close_counted;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
