/*
 * interrupts.c - test of the KVM engine on this host's /dev/kvm: interrupts of the machine's own
 * 8259s and local APIC, windows, NMIs, task priority; and getting out of a guest that
 * never exits.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/rig/rig.h"

/* A vector table whose entry 8 is label 8; the 8259 at vector 8, only its input 0 open. */
#define PIC_ON                                                                                     \
	"\n movw $0, 0x22\n AT16 8f, %ax\n movw %ax, 0x20\n movw $0, 0x0a\n AT16 7f, %ax\n"        \
	"movw %ax, 0x08\n xorw %si, %si\n xorw %bp, %bp\n"                                         \
	"movb $0x11, %al\n outb %al, $0x20\n movb $8, %al\n outb %al, $0x21\n"                     \
	"movb $4, %al\n outb %al, $0x21\n movb $1, %al\n outb %al, $0x21\n"                        \
	"movb $0xfe, %al\n outb %al, $0x21\n"
/* Channel 0, rate generator, about a millisecond. */
#define PIT_ON                                                                                     \
	"\n movb $0x34, %al\n outb %al, $0x43\n movb $0xa9, %al\n outb %al, $0x40\n"               \
	"movb $4, %al\n outb %al, $0x40\n"
#define EOI_IRET "\n movb $0x20, %al\n outb %al, $0x20\n iretw\n"

/* Five ticks, each ending an HLT. */
GUEST(ticks, "\n cli" PIC_ON PIT_ON "\n\
1:	sti\n\
	hlt\n\
	cli\n\
	cmpw $5, %si\n\
	jb 1b\n\
	movw %si, 0x4000\n\
	hlt\n\
7:	iretw\n\
8:	incw %si" EOI_IRET);

/* Five ticks in a loop that never exits. */
GUEST(spin, "\n cli" PIC_ON PIT_ON "\n\
	sti\n\
1:	cmpw $5, %si\n\
	jb 1b\n\
	cli\n\
	movw %si, 0x4000\n\
	hlt\n\
7:	iretw\n\
8:	incw %si" EOI_IRET);

/* A tick waits while interrupts are off, and comes after the instruction that follows STI. */
GUEST(window, "\n cli" PIC_ON PIT_ON "\n\
	movb $0x0a, %al\n\
	outb %al, $0x20\n\
1:	inb $0x20, %al\n\
	testb $1, %al\n\
	jz 1b\n\
	movw $1, %bp\n\
	sti\n\
	incw %bp\n\
	incw %bp\n\
	movw $0xffff, %cx\n\
2:	cmpw $0, %si\n\
	loope 2b\n\
	cli\n\
	movw %si, 0x4000\n\
	movw %bp, 0x4002\n\
	hlt\n\
7:	iretw\n\
8:	incw %si\n\
	movw %bp, 0x4004" EOI_IRET);

/* An NMI asked for by a port write; another inside its handler waits for the IRET. */
GUEST(nmi, "\n cli" PIC_ON "\n\
	movw $0x500, %dx\n\
	outb %al, %dx\n\
	nop\n\
	nop\n\
	movw %si, 0x4000\n\
	movw %bp, 0x4002\n\
	hlt\n\
	hlt\n\
7:	incw %si\n\
	addw %bp, %bp\n\
	cmpw $1, %si\n\
	jne 2f\n\
	movw $0x500, %dx\n\
	outb %al, %dx\n\
	nop\n\
	movw $3, %bp\n\
2:	iretw\n\
8:	iretw");

/* 64-bit: a self-IPI of class 3 waits while CR8 is 3, and comes when it is 2. */
#define IPI_TABLES                                                                                 \
	"\n .balign 8\n 10: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff\n"                     \
	"11: .word 23\n .long (10b - guest_priority + 0x1000)\n"                                   \
	"12: .word 0x3ff\n .quad (13f - guest_priority + 0x1000)\n .balign 8\n"                    \
	"13: .fill 98, 8, 0\n .word (2b - guest_priority + 0x1000), 8, 0x8e00, 0\n"                \
	".quad 0\n .fill 30, 8, 0\n .code16\n"
GUEST(priority, ENTER64(priority) "\n\
	movl $0xb003, 0x9018\n\
	movl $0xfee00083, 0xbfb8\n\
	movl $3, %eax\n\
	movq %rax, %cr8\n\
	movl $0xfee00300, %ebx\n\
	movl $0x40031, (%rbx)\n\
	sti\n\
	nop\n\
	nop\n\
	movq %rcx, (%rdi)\n\
	movl $2, %eax\n\
	movq %rax, %cr8\n\
	nop\n\
	nop\n\
	movq %rcx, 8(%rdi)\n\
	movl $0xfee00080, %ebx\n\
	movl (%rbx), %eax\n\
	movq %rax, 16(%rdi)\n\
	cli\n\
	hlt\n\
2:	movl $0x1234, %ecx\n\
	movl $0xfee000b0, %ebx\n\
	movl $0, (%rbx)\n\
	iretq" IPI_TABLES);

static uint16_t word(const struct rig *r, unsigned at)
{
	uint16_t v;

	memcpy(&v, r->ram + at, 2);
	return v;
}

#define IMAGE(guest)                                                                               \
	(&(const struct guest_image){ #guest, guest_##guest, guest_##guest##_end, NULL, NULL })

/* On both: the interpreter says whether the guest itself is right. */
static const struct engine_ops *const both[] = { &interp_ops, &kvm_ops };

static void test_ticks(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(both[i], IMAGE(ticks));

		assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
		assert_in_range(word(&r, 0x4000), 5, 20); /* a slow host: more than one at a time */
		assert_int_equal(r.vcpu->exits[EXIT_INTERRUPT], word(&r, 0x4000));
		rig_close(&r);
	}
}

static void test_ticks_without_exits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(both[i], IMAGE(spin));

		assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
		assert_in_range(word(&r, 0x4000), 5, 20);
		rig_close(&r);
	}
}

static void test_window(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(both[i], IMAGE(window));

		assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
		assert_in_range(word(&r, 0x4000), 1, 20);
		assert_int_equal(word(&r, 0x4002), 3);
		/* Emulated instructions come in bundles. */
		if (both[i] == &interp_ops || !rig_emulated())
			assert_int_equal(word(&r, 0x4004), 2);
		rig_close(&r);
	}
}

static void ask_nmi(struct notebook *n, const struct note *note)
{
	if (note->region == 0)
		irq_nmi(n->dev.vm, 0);
}

static void test_nmi(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(both[i], IMAGE(nmi));
		struct x86_state s;

		r.notes->hook = ask_nmi;
		assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
		/* An emulated IRET lets the NMI wait for the HLT. */
		assert_int_equal(word(&r, 0x4000), both[i] == &kvm_ops && rig_emulated() ? 1 : 2);
		if (both[i] == &interp_ops || !rig_emulated())
			assert_int_equal(word(&r, 0x4002), 6); /* after the first */
		vcpu_get_state(r.vcpu, &s);
		assert_int_equal(s.gpr[RSI], 2);
		assert_int_equal(s.nmi_pending, 0);
		assert_int_equal(s.nmi_blocked, 0);
		rig_close(&r);
	}
}

static void test_priority(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r;

		if (both[i] == &kvm_ops && rig_emulated())
			continue; /* main() has said so */
		r = rig_open(both[i], IMAGE(priority));

		assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
		assert_int_equal(word(&r, 0x4000) == 0x1234, 0);
		assert_int_equal(word(&r, 0x4008), 0x1234);
		assert_int_equal(word(&r, 0x4010), 0x20);
		rig_close(&r);
	}
}

/* --- Getting out --- */

/* With its own interrupts off and on: the host's have to come through in either case. */
GUEST(forever, "\n\
1:	jmp 1b");

GUEST(forever_open, "\n\
	sti\n\
1:	jmp 1b");

static void kicker(void *arg)
{
	struct vm *vm = arg;

	while (!atomic_load(&vm->vcpu[0]->in_guest))
		;
	vm_request(vm, VM_QUIT, 0);
}

static void test_kick(void **state)
{
	const struct guest_image *images[] = { IMAGE(forever_open), IMAGE(forever) };

	(void)state;
	/* Bochs masks the host's interrupts, too, at an entry with the guest's off. */
	for (unsigned i = 0; i < (rig_in_bochs() ? 1 : 2); i++) {
		struct rig r = rig_open(&kvm_ops, images[i]);

		for (unsigned n = 0; n < 250; n++) {
			struct host_thread *t = host_thread_start(kicker, r.vm, "kicker");

			assert_int_equal(rig_run(&r, UINT64_MAX), VM_QUIT);
			host_thread_join(t);
		}
		rig_close(&r);
	}
}

/* A machine may be run by one thread after another. */
static void on_a_thread(void *arg)
{
	struct rig *r = arg;

	assert_int_equal(rig_run(r, UINT64_MAX), VM_HALTED);
}

static void test_another_thread(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(ticks));
	struct host_thread *t;

	(void)state;
	vm_request(r.vm, VM_QUIT, 0);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_QUIT);
	t = host_thread_start(on_a_thread, &r, "second");
	host_thread_join(t);
	assert_in_range(word(&r, 0x4000), 5, 20);
	rig_close(&r);
}

/* KVM's local APIC is the machine's: the same version, entries and features. (Beside an IOAPIC of
 * KVM's it would not be: ARCHITECTURE.md.) */
static void test_same_chip(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(ticks));
	struct kvm_vcpu *k = r.vcpu->engine;
	struct kvm_lapic_state there;
	struct apic_state here;
	uint32_t version;

	(void)state;
	if (rig_irqchip != IRQCHIP_USER) {
		r.vcpu->intc->lend(r.vcpu->intc_arg, &here);
		assert_int_equal(kvm_apics_enter(k), 0);
		assert_int_equal(KVM_VCPU_DO(k, KVM_GET_LAPIC, &there), 0);
		memcpy(&version, there.regs + 0x30, 4);
		assert_int_equal(version, here.reg[3]);
		assert_int_equal(kvm_give_back(r.vm), 0);
	}
	rig_close(&r);
}

/* --- Changing engines while interrupts are on their way --- */

static void test_switching_under_interrupts(void **state)
{
	const struct guest_image *images[] = { IMAGE(ticks), IMAGE(spin) };
	struct switch_point points[12];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(&kvm_ops, images[i]);

		for (unsigned n = 0; n < 12; n++)
			points[n] = (struct switch_point){
				.to = n % 2 ? &kvm_ops : &interp_ops,
				.instruction = UINT64_MAX,
				.time_ns = clock_now(&r.vm->clock) + 400000 * (n + 1),
			};
		vm_plan_switches(r.vm, points, 12);
		assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
		assert_in_range(word(&r, 0x4000), 5, 20);
		/* None is lost, none comes twice. */
		assert_int_equal(r.vcpu->exits[EXIT_INTERRUPT], word(&r, 0x4000));
		assert_int_equal(r.vm->switches.done, 12); /* five milliseconds are longer */
		rig_close(&r);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ticks),     cmocka_unit_test(test_ticks_without_exits),
		cmocka_unit_test(test_window),    cmocka_unit_test(test_nmi),
		cmocka_unit_test(test_kick),      cmocka_unit_test(test_another_thread),
		cmocka_unit_test(test_same_chip), cmocka_unit_test(test_switching_under_interrupts),
		cmocka_unit_test(test_priority),
	};
	int skip = rig_skip("interrupts");

	if (!skip && rig_in_bochs())
		puts("skip - kick of a guest whose interrupts are off: Bochs masks the host's with "
		     "them");
	if (!skip && rig_emulated())
		puts("skip - priority: this KVM emulates ring 0: IRET is missing outside real "
		     "mode");
	return skip ? skip : rig_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
