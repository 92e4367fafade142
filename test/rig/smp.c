/*
 * smp.c - test of the KVM engine with several vCPUs on this host's /dev/kvm: INIT, SIPI and IPIs,
 * sleeping and waking each other, for ever, and while engines are changed.
 *
 * Everything is in real mode, with local APICs in x2APIC mode: that much a KVM can do that emulates
 * each instruction.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/rig/rig.h"

#define IMAGE(guest)                                                                               \
	(&(const struct guest_image){ #guest, guest_##guest, guest_##guest##_end, NULL, NULL })

#define STARTS  10 /* INIT and SIPI so many times */
#define TURNS   60 /* IPIs there and back */
#define TICKS   60
#define KICKS   40
#define STR(x)  STR_(x)
#define STR_(x) #x

/* x2APIC mode, enabled. */
#define X2APIC_ON                                                                                  \
	"\n movl $0x1b, %ecx\n rdmsr\n orl $0xc00, %eax\n wrmsr\n"                                 \
	"movl $0x80f, %ecx\n movl $0x1ff, %eax\n xorl %edx, %edx\n wrmsr\n"
/* ICR: low half to APIC ID. */
#define SEND(low, id) "\n movl $0x830, %ecx\n movl $" low ", %eax\n movl $" id ", %edx\n wrmsr\n"
#define EOI           "\n movl $0x80b, %ecx\n xorl %eax, %eax\n xorl %edx, %edx\n wrmsr\n"
/* The timer: vector 40h, one-shot, counts each of the clock's ticks. */
#define TIMER_ON                                                                                   \
	"\n movl $0x832, %ecx\n movl $0x40, %eax\n xorl %edx, %edx\n wrmsr\n"                      \
	"movl $0x83e, %ecx\n movl $0xb, %eax\n wrmsr\n"

/* At a guest's beginning: which CPU it is. One goes on at `label`; CPU 1 has the data of CPU 0. */
#define CPU0_AT(label)                                                                             \
	"\n cli\n movw %cs, %ax\n testw %ax, %ax\n jz " label "\n xorw %ax, %ax\n movw %ax, %ds\n"
#define CPU1_AT(label) "\n cli\n movw %cs, %ax\n testw %ax, %ax\n jnz " label "\n"
/* There: its data, its stack, its local APIC. */
#define CPU1_READY "\n xorw %ax, %ax\n movw %ax, %ds\n movw %ax, %ss\n movw $0x2f00, %sp" X2APIC_ON
/* CPU 0: vector 40h is label 7; its stack, its local APIC. */
#define CPU0_READY                                                                                 \
	"\n movw $0, 0x102\n AT16 7f, %ax\n movw %ax, 0x100\n movw $0x3000, %sp" X2APIC_ON
/* At a handler's beginning, for who sleeps until there is one interrupt: none comes between STI and
 * HLT, except in QEMU, whose VMRUN forgets. That is noted at 4010h, and there is no sleep after it.
 */
#define AWAKE                                                                                      \
	"\n pushw %bp\n movw %sp, %bp\n pushw %ds\n pushw %si\n ldsw 2(%bp), %si\n"                \
	"cmpb $0xf4, (%si)\n jne 99f\n incw 2(%bp)\n movw $1, %cs:0x4010\n"                        \
	"99: popw %si\n popw %ds\n popw %bp\n"

/* CPU 1 starts at 100h:0, which is where CPU 0 did; and counts that. CPU 0 starts it again each
 * time. Then both halt. (KVM lets a SIPI that it ignores end an HLT.) */
GUEST(starts, CPU0_AT("1f") "\n\
	incw 0x4000\n\
9:	hlt\n\
	jmp 9b\n\
1:	movw $0x2000, %sp" X2APIC_ON "\n\
	xorw %si, %si\n\
2:	incw %si" SEND("0x4500", "1") SEND("0x4601", "1") SEND("0x4601", "1") "\n\
3:	pause\n\
	cmpw %si, 0x4000\n\
	jne 3b\n\
	cmpw $" STR(STARTS) ", %si\n\
	jb 2b\n\
	movw %si, 0x4002\n\
	hlt");

/* CPU 0 sends vector 40h and sleeps; CPU 1 wakes, counts it, sends 41h back and sleeps; CPU 0
 * wakes. */
GUEST(turns, CPU1_AT("5f") "\n\
	movw $0, 0x102\n\
	movw $0, 0x106\n\
	AT16 7f, %ax\n\
	movw %ax, 0x100\n\
	AT16 8f, %ax\n\
	movw %ax, 0x104\n\
	xorw %si, %si\n\
	movw $0x3000, %sp" X2APIC_ON SEND("0x4500", "1") SEND("0x4601", "1") "\n\
1:	pause\n\
	cmpw $1, 0x4004\n\
	jne 1b\n\
2:	incw %si" SEND("0x4040", "1") "\n\
3:	sti\n\
	hlt\n\
	cli\n\
	cmpw %si, 0x4002\n\
	jne 3b\n\
	cmpw $" STR(TURNS) ", %si\n\
	jb 2b\n\
	hlt\n\
5:	" CPU1_READY "\n\
	movw $1, 0x4004\n\
6:	sti\n\
	hlt\n\
	cli\n\
	cmpw $" STR(TURNS) ", 0x4000\n\
	jne 6b\n\
4:	hlt\n\
	jmp 4b\n\
7:" AWAKE "incw %cs:0x4000\n" SEND("0x4041", "0") EOI "\n\
	iretw\n\
8:" AWAKE "incw 0x4002" EOI "\n\
	iretw");

static uint16_t word(const struct rig *r, unsigned at)
{
	uint16_t v;

	memcpy(&v, r->ram + at, 2);
	return v;
}

/* All halt, and nobody met an interrupt between STI and HLT. */
static void run_to_end(struct rig *r)
{
	assert_int_equal(rig_run(r, UINT64_MAX), VM_HALTED);
	if (!rig_in_qemu())
		assert_int_equal(word(r, 0x4010), 0);
}

static const struct engine_ops *const both[] = { &interp_ops, &kvm_ops };

static void test_starts(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(both[i], IMAGE(starts));

		run_to_end(&r);
		assert_int_equal(word(&r, 0x4000), STARTS);
		assert_int_equal(word(&r, 0x4002), STARTS);
		assert_true(r.vm->vcpu[0]->halted && r.vm->vcpu[1]->halted);
		rig_close(&r);
	}
}

static void test_turns(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(both[i], IMAGE(turns));

		run_to_end(&r);
		assert_int_equal(word(&r, 0x4000), TURNS);
		assert_int_equal(word(&r, 0x4002), TURNS);
		rig_close(&r);
	}
}

/* The one that nobody starts waits for its SIPI, wherever the machine is. */
GUEST(alone, "\n\
	cli\n\
	movw $0x500, %dx\n\
	outb %al, %dx\n\
	movw $1, 0x4000\n\
	hlt");

/* Nobody has that address, which is no failure of anything. */
static void to_nobody(struct notebook *n, const struct note *note)
{
	const struct apic_message m = { .dest = 7, .vector = 0x40, .assert = true };

	(void)note;
	assert_false(irq_message(n->dev.vm, &m));
}

static void test_alone(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(alone));
	struct x86_state s;
	struct fail why;

	(void)state;
	r.notes->hook = to_nobody;
	run_to_end(&r);
	assert_int_equal(word(&r, 0x4000), 1);
	assert_true(r.vm->vcpu[0]->halted && r.vm->vcpu[1]->wait_sipi);
	vcpu_get_state(r.vm->vcpu[1], &s);
	assert_int_equal(s.activity, ACTIVITY_WAIT_SIPI);
	assert_int_equal(vm_switch(r.vm, &interp_ops, &why), 0);
	assert_true(r.vm->vcpu[1]->wait_sipi);
	rig_close(&r);
}

/* CPU 1 sleeps with interrupts off; what CPU 0 asks for at port 500h wakes it, however early it is.
 */
GUEST(kicks, CPU0_AT("1f") "\n\
2:	incw 0x4000\n\
	hlt\n\
	jmp 2b\n\
1:	movw $0x2000, %sp" X2APIC_ON SEND("0x4500", "1") SEND("0x4601", "1") "\n\
	xorw %si, %si\n\
	movw $0x500, %dx\n\
3:	incw %si\n\
4:	pause\n\
	cmpw %si, 0x4000\n\
	jne 4b\n\
	cmpw $" STR(KICKS) ", %si\n\
	jae 5f\n\
	outb %al, %dx\n\
	jmp 3b\n\
5:	hlt");

/* As KVM_HC_KICK_CPU does. */
static void kick_other(struct notebook *n, const struct note *note)
{
	(void)note;
	atomic_store(&n->dev.vm->vcpu[1]->kicked, true);
	vm_wake(n->dev.vm, 1);
}

static void test_kicks(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(both[i], IMAGE(kicks));

		r.notes->hook = kick_other;
		run_to_end(&r);
		assert_int_equal(word(&r, 0x4000), KICKS);
		rig_close(&r);
	}
}

/* Changes of engines at any moment of it; and ends of vm_run(). */
static void switching(const struct guest_image *image, unsigned counter, unsigned count)
{
	struct switch_point points[16];
	struct rig r = rig_open(&kvm_ops, image);

	for (unsigned n = 0; n < 16; n++)
		points[n] = (struct switch_point){
			.to = n % 2 ? &kvm_ops : &interp_ops,
			.instruction = UINT64_MAX,
			.time_ns = clock_now(&r.vm->clock) + 300000 * (n + 1),
		};
	vm_plan_switches(r.vm, points, 16);
	run_to_end(&r);
	assert_int_equal(word(&r, counter), count);
	assert_true(r.vm->switches.done > 0);
	rig_close(&r);
}

static void test_switching(void **state)
{
	(void)state;
	switching(IMAGE(starts), 0x4000, STARTS);
	switching(IMAGE(turns), 0x4002, TURNS);
}

/* Each CPU sleeps for its own timer, one-shot, so many times, and counts both. (Not by the TSC: a
 * KVM that emulates shows the host's, whatever it is told.) */
GUEST(timers, CPU1_AT("5f") CPU0_READY SEND("0x4500", "1") SEND("0x4601", "1") "\n\
	movw $0x4000, %bx\n\
	movl $2000000, %ebp\n\
	jmp 6f\n\
5:	" CPU1_READY "\n\
	movw $0x4002, %bx\n\
	movl $3100000, %ebp\n\
6:" TIMER_ON "\n\
1:	incw 4(%bx)\n\
	movl $0x838, %ecx\n\
	movl %ebp, %eax\n\
	xorl %edx, %edx\n\
	wrmsr\n\
	movw (%bx), %di\n\
2:	sti\n\
	hlt\n\
	cli\n\
	cmpw %di, (%bx)\n\
	je 2b\n\
	cmpw $" STR(TICKS) ", (%bx)\n\
	jb 1b\n\
3:	hlt\n\
	jmp 3b\n\
7:" AWAKE "incw (%bx)" EOI "\n\
	iretw");

static void timers(const struct engine_ops *first, bool changing)
{
	struct switch_point points[16];
	struct rig r = rig_open(first, IMAGE(timers));

	for (unsigned n = 0; n < 16; n++)
		points[n] = (struct switch_point){
			.to = n % 2 ? &kvm_ops : &interp_ops,
			.instruction = UINT64_MAX,
			.time_ns = clock_now(&r.vm->clock) + 3000000 * (n + 1),
		};
	if (changing)
		vm_plan_switches(r.vm, points, 16);
	run_to_end(&r);
	assert_int_equal(word(&r, 0x4000), TICKS);
	assert_int_equal(word(&r, 0x4002), TICKS);
	assert_int_equal(word(&r, 0x4004), TICKS);
	assert_int_equal(word(&r, 0x4006), TICKS);
	rig_close(&r);
}

static void test_timers(void **state)
{
	(void)state;
	timers(&interp_ops, false);
	timers(&kvm_ops, false);
	timers(&kvm_ops, true);
}

/* A one-shot timer goes off once: after its tick the machine is asked to do something else, twice,
 * at port 500h, and waits. */
GUEST(once, CPU1_AT("3f") CPU0_READY TIMER_ON "\n\
	movl $0x838, %ecx\n\
	movl $100000, %eax\n\
	wrmsr\n\
1:	sti\n\
	hlt\n\
	cli\n\
	cmpw $0, 0x4000\n\
	je 1b\n\
	movw $2, %si\n\
	movw $0x500, %dx\n\
2:	outb %al, %dx\n\
	sti\n\
	xorw %cx, %cx\n\
4:	inb %dx, %al\n\
	addw $0x100, %cx\n\
	jnz 4b\n\
	cli\n\
	decw %si\n\
	jnz 2b\n\
	movl $0x838, %ecx\n\
	rdmsr\n\
	movl %eax, 0x4008\n\
	movl $0x839, %ecx\n\
	rdmsr\n\
	movl %eax, 0x400c\n\
	movl $1, 0x4004\n\
3:	hlt\n\
	jmp 3b\n\
7:" AWAKE "pushal\n\
	incw 0x4000" EOI "\n\
	popal\n\
	iretw");

static void quit(struct notebook *n, const struct note *note)
{
	(void)note;
	vm_request(n->dev.vm, VM_QUIT, 0);
}

static void test_once(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(once));
	struct fail why = { 0 };

	(void)state;
	r.notes->hook = quit;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rig_run(&r, UINT64_MAX), VM_QUIT);
		assert_int_equal(vm_switch(r.vm, &interp_ops, &why), 0);
		assert_int_equal(vm_switch(r.vm, &kvm_ops, &why), 0);
	}
	run_to_end(&r);
	assert_int_equal(word(&r, 0x4004), 1);
	assert_int_equal(word(&r, 0x4000), 1);
	rig_close(&r);
}

/* The counters of both agree, after any number of changes. */
static void test_one_time(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(alone));
	struct fail why = { 0 };
	uint64_t tsc[3];

	(void)state;
	run_to_end(&r);
	for (unsigned i = 0; i < 7; i++) {
		if (i > 0)
			assert_int_equal(vm_switch(r.vm, i % 2 ? &interp_ops : &kvm_ops, &why), 0);
		if (r.vm->engine != &kvm_ops)
			continue;
		for (unsigned n = 0; n < 3; n++)
			assert_int_equal(
				kvm_get_msr(r.vm->vcpu[n % 2]->engine, 0x10, &tsc[n], &why), 0);
		if (tsc[0] >= tsc[1] || tsc[1] >= tsc[2])
			print_error("change %u: %llu, %llu, %llu\n", i, (unsigned long long)tsc[0],
				    (unsigned long long)tsc[1], (unsigned long long)tsc[2]);
		assert_true(tsc[0] < tsc[1] && tsc[1] < tsc[2]);
	}
	rig_close(&r);
}

static void stopper(void *arg)
{
	struct vm *vm = arg;

	for (unsigned i = 0; i < 20; i++) {
		uint64_t until = host_monotonic_ns() + 50000 * i;

		while (host_monotonic_ns() < until)
			;
		vm_stand_still(vm);
	}
}

static void test_standing_still(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(turns));
	struct host_thread *t = host_thread_start(stopper, r.vm, "stopper");

	(void)state;
	run_to_end(&r);
	assert_int_equal(word(&r, 0x4002), TURNS);
	host_thread_join(t);
	rig_close(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts),    cmocka_unit_test(test_turns),
		cmocka_unit_test(test_kicks),     cmocka_unit_test(test_timers),
		cmocka_unit_test(test_one_time),  cmocka_unit_test(test_alone),
		cmocka_unit_test(test_switching), cmocka_unit_test(test_standing_still),
		cmocka_unit_test(test_once),
	};
	int skip = rig_skip("smp");

	rig_cpus = 2;
	return skip ? skip : rig_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
