/*
 * kvm_exits.c - test of the KVM engine against a kernel that only plays KVM (fake_kvm.h): what its
 * exits become, how the guest is left, and what is put into it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "machine/gate.h"
#include "test/unit/kvm_script.h"

/* --- Accesses --- */

/* What a device saw. */
struct seen {
	struct device dev;
	uint64_t off[32], value[32];
	unsigned size[32], count;
};

static uint64_t seen_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct seen *s = (struct seen *)dev;

	(void)region;
	s->off[s->count] = off;
	s->size[s->count++] = size;
	return UINT64_C(0x8877665544332211) >> (8 * (off & 7)) & (UINT64_MAX >> (64 - 8 * size));
}

static void seen_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		       uint64_t value)
{
	struct seen *s = (struct seen *)dev;

	(void)region;
	s->off[s->count] = off;
	s->value[s->count] = value;
	s->size[s->count++] = size;
}

static void seen_reset(struct device *dev)
{
	(void)dev;
}

static const struct field no_fields[] = { FIELD_END };
static const struct device_ops seen_ops = {
	.type = "seen",
	.reset = seen_reset,
	.read = seen_read,
	.write = seen_write,
	.state = no_fields,
	.state_version = 1,
};

static struct seen *add_seen(struct vm *vm)
{
	struct seen *s = host_alloc(sizeof(*s));
	struct fail why;

	device_add(vm, &s->dev, &seen_ops, "seen");
	assert_int_equal(device_claim_ports(&s->dev, 0, 0x100, 16, &why), 0);
	assert_int_equal(device_claim_mmio(&s->dev, 1, gpa(0xd0000000), 0x1000, &why), 0);
	return s;
}

static int script_io(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + 4096;

	if (steps == 2 && memcmp(data, "\x11\x22", 2))
		return -EPROTO;
	if (steps == 3 && memcmp(run->mmio.data, "\x44\x55\x66\x77\x88", 5))
		return -EPROTO;
	run->exit_reason = KVM_EXIT_IO;
	run->io.data_offset = 4096;
	run->io.port = 0x100;
	switch (steps++) {
	case 0: /* rep outsw, three elements */
		run->io.direction = KVM_EXIT_IO_OUT;
		run->io.size = 2;
		run->io.count = 3;
		memcpy(data, "\x01\x02\x03\x04\x05\x06", 6);
		return 0;
	case 1:
		run->io.direction = KVM_EXIT_IO_IN;
		run->io.size = 2;
		run->io.count = 1;
		return 0;
	case 2: /* a piece of five bytes */
		run->exit_reason = KVM_EXIT_MMIO;
		run->mmio.phys_addr = 0xd0000003;
		run->mmio.len = 5;
		run->mmio.is_write = 0;
		return 0;
	case 3:
		run->exit_reason = KVM_EXIT_MMIO;
		run->mmio.phys_addr = 0xd0000010;
		run->mmio.len = 8;
		run->mmio.is_write = 1;
		memcpy(run->mmio.data, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
		return 0;
	default: return stop(run);
	}
}

static void test_accesses(void **state)
{
	struct vm *vm = open_whole();
	struct seen *s = add_seen(vm);

	(void)state;
	assert_int_equal(run_script(vm, script_io), VM_POWEROFF);
	assert_int_equal(s->count, 7);
	assert_int_equal(s->value[0], 0x0201);
	assert_int_equal(s->value[2], 0x0605);
	assert_int_equal(s->size[3], 2);
	assert_int_equal(s->off[4], 3); /* one byte and four */
	assert_int_equal(s->size[4], 1);
	assert_int_equal(s->off[5], 4);
	assert_int_equal(s->size[5], 4);
	assert_int_equal(s->value[6], 0x0102030405060708);
	assert_int_equal(vm->vcpu[0]->exits[EXIT_PIO], 4);
	assert_int_equal(vm->vcpu[0]->exits[EXIT_MMIO], 3);
	vm_close(vm);
}

/* --- Locked instructions --- */

static int script_read(struct kvm_run *run)
{
	if (steps++ > 0)
		return stop(run);
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = 0xd0000004;
	run->mmio.len = 4;
	run->mmio.is_write = 0;
	return 0;
}

/* The instruction's other half, then its end. */
static int finish_write(struct kvm_run *run)
{
	if (steps++ > 1)
		return -EINTR;
	assert_true(((struct kvm_vcpu *)stopping->vcpu[0]->engine)->bus_locked);
	run->mmio.is_write = 1;
	return 0;
}

/* What has begun a locked instruction brings it to its end at once, if there are other vCPUs. */
static void test_locked(void **state)
{
	static const struct {
		uint64_t rip;
		const char *code;
		bool locked;
	} tries[] = {
		{0x1000,             "\xf0\x01\x07",         true }, /* lock add [rdi], eax */
		{ 0x1000,            "\x66\xf0\x41\x01\x00", true }, /* with other prefixes */
		{ 0x1000,            "\x67\x44\x87\x07",     true }, /* xchg */
		{ 0x1ffe,            "\x3e\x64\xf0\x01\x07", true }, /* from page to page */
		{ 0x1000,            "\x01\x07\xf0",         false}, /* not this one */
		{ 0x1000,            "\x48\x8b\x07\xf0",     false},
		{ UINT64_C(1) << 32, "",                     false}, /* nobody knows */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		struct vm *vm = open_whole();
		struct seen *seen = add_seen(vm);
		struct x86_state s = odd_state();

		s.seg[CS].base = 0;
		s.rip = tries[i].rip;
		assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, NULL), 0);
		if (tries[i].rip < MEMORY)
			mem_write(&vm->mem, gpa(s.rip), tries[i].code, strlen(tries[i].code));
		fake.finishes = 0;
		assert_int_equal(run_script(vm, script_read), VM_POWEROFF);
		assert_int_equal(fake.finishes, 0); /* it is alone */
		assert_int_equal(gate_open_up(vm), 0);
		fake.finish = finish_write;
		assert_int_equal(run_script(vm, script_read), VM_POWEROFF);
		assert_int_equal(fake.finishes, tries[i].locked ? 2 : 0);
		assert_int_equal(seen->count, tries[i].locked ? 3 : 2);
		vm_close(vm);
		fake_reset();
	}
}

/* --- Other exits --- */

static int script_msr(struct kvm_run *run)
{
	static const struct {
		uint32_t reason, index, why;
		uint64_t data;
		uint8_t fault;
	} msr[] = {
		{KVM_EXIT_X86_WRMSR,  MSR_MTRR_DEF_TYPE, KVM_MSR_EXIT_REASON_FILTER, 0xc06,             0},
		{ KVM_EXIT_X86_RDMSR, MSR_MTRR_DEF_TYPE, KVM_MSR_EXIT_REASON_FILTER, 0xc06,             0},
		{ KVM_EXIT_X86_WRMSR, MSR_MTRR_DEF_TYPE, KVM_MSR_EXIT_REASON_FILTER, 0xff,              1},
		{ KVM_EXIT_X86_RDMSR, 0x12345,           KVM_MSR_EXIT_REASON_FILTER, 0,                 1},
		{ KVM_EXIT_X86_WRMSR, MSR_LSTAR,         KVM_MSR_EXIT_REASON_INVAL,  UINT64_C(1) << 63, 1},
		{ KVM_EXIT_X86_WRMSR, MSR_TSC_ADJUST,    KVM_MSR_EXIT_REASON_FILTER, 1000,              0},
		{ KVM_EXIT_X86_RDMSR, MSR_TSC_ADJUST,    KVM_MSR_EXIT_REASON_FILTER, 1000,              0},
	};
	const unsigned count = sizeof(msr) / sizeof(msr[0]);

	if (steps > 0 && run->msr.error != msr[steps - 1].fault)
		return -EPROTO;
	if (steps > 0 && !run->msr.error && msr[steps - 1].reason == KVM_EXIT_X86_RDMSR &&
	    run->msr.data != msr[steps - 1].data)
		return -EBADMSG;
	if (steps == count)
		return stop(run);
	run->exit_reason = msr[steps].reason;
	run->msr.index = msr[steps].index;
	run->msr.reason = msr[steps].why;
	run->msr.data = run->exit_reason == KVM_EXIT_X86_WRMSR ? msr[steps].data : 0;
	run->msr.error = 0;
	steps++;
	return 0;
}

static void test_msrs(void **state)
{
	struct vm *vm = open_whole();
	uint64_t offset = fake.tsc_offset;

	(void)state;
	assert_int_equal(run_script(vm, script_msr), VM_POWEROFF);
	assert_int_equal(vm->vcpu[0]->tsc_offset, 1000);
	/* The counter moved with it, as exactly as two clocks can be compared. */
	assert_in_range(fake.tsc_offset - offset + 1000000, 1000, 100000000);
	assert_int_equal(vm->vcpu[0]->exits[EXIT_WRMSR], 4);
	vm_close(vm);
}

/* Whoever sets the same state again has the same counter: to measure would put it behind itself. */
static int script_call(struct kvm_run *run)
{
	if (steps++ > 0)
		return run->xen.u.hcall.result == 1 ? stop(run) : -EPROTO;
	run->exit_reason = KVM_EXIT_XEN;
	run->xen.u.hcall.longmode = 1;
	run->xen.u.hcall.cpl = 0;
	return 0;
}

static void test_hypercall(void **state)
{
	struct vm *vm = open_whole();
	struct x86_state s = odd_state();

	(void)state;
	s.gpr[RAX] = 0x54500000; /* VERSION */
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, NULL), 0);
	assert_int_equal(run_script(vm, script_call), VM_POWEROFF);
	assert_int_equal(vm->vcpu[0]->exits[EXIT_HYPERCALL], 1);
	vm_close(vm);
}

static int script_unknown(struct kvm_run *run)
{
	run->exit_reason = 4711;
	return 0;
}

static int script_shutdown(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

static int script_broken(struct kvm_run *run)
{
	(void)run;
	return -EFAULT;
}

static void test_ends(void **state)
{
	struct vm *vm = open_whole();
	struct fail why = { 0 };
	struct x86_state s;
	int status = 0;

	(void)state;
	assert_int_equal(run_script(vm, script_unknown), VM_STUCK);
	vm->no_reboot = true;
	assert_int_equal(run_script(vm, script_shutdown), VM_CRASHED);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.activity, ACTIVITY_SHUTDOWN);
	vm_reset(vm);
	fake.script = script_broken;
	assert_int_equal(vm_run(vm, UINT64_MAX, &status, &why), VM_STUCK);
	assert_int_equal(status, -EFAULT);
	assert_string_equal(why.text, "engine kvm failed: KVM: KVM_RUN: Bad address");
	vm_close(vm);
	assert_nothing_open();
}

/* The device that is read asks for the end of the run. */
static int script_in(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_IO;
	run->io.port = 0x100;
	run->io.size = 1;
	run->io.count = 1;
	run->io.data_offset = 4096;
	run->io.direction = KVM_EXIT_IO_IN;
	vm_request(stopping, VM_POWEROFF, 0);
	return 0;
}

/* An instruction whose exit was handled is finished before the state is looked at. */
static void test_half_done(void **state)
{
	struct vm *vm = open_whole();
	struct x86_state s;

	(void)state;
	add_seen(vm);
	s = odd_state();
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, NULL), 0);
	assert_int_equal(run_script(vm, script_in), VM_POWEROFF);
	assert_false(((struct kvm_vcpu *)vm->vcpu[0]->engine)->half_done);
	assert_int_equal(fake.runs, 1);
	assert_int_equal(fake.finishes, 1);
	vm_close(vm);
}

/* KVM cannot go on with the instruction, and says so once. */
static int finish_badly(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->internal.ndata = 0;
	fake.finish = NULL;
	return 0;
}

static void test_not_to_be_finished(void **state)
{
	const char *sentence = "engine kvm failed: KVM: exit 17 in the middle of an instruction";
	struct vm *vm = open_whole();
	struct fail why = { 0 };
	int status = 0;

	(void)state;
	add_seen(vm);
	fake.finish = finish_badly;
	assert_int_equal(run_script(vm, script_in), VM_STUCK);
	assert_int_equal(vm_run(vm, UINT64_MAX, &status, &why), VM_STUCK);
	assert_string_equal(why.text, sentence);
	vm_close(vm);

	fake_reset(); /* a locked one, which is finished while it is handled */
	vm = open_whole();
	add_seen(vm);
	mem_write(&vm->mem, gpa(0xfff0), "\xf0\x01\x07", 3);
	assert_int_equal(gate_open_up(vm), 0);
	fake.script = script_read;
	fake.finish = finish_badly;
	stopping = vm;
	steps = 0;
	assert_int_equal(vm_run(vm, UINT64_MAX, &status, &why), VM_STUCK);
	assert_string_equal(why.text, sentence);
	vm_close(vm);
	assert_nothing_open();
}

/* --- Interrupts and kicks --- */

static void test_injection(void **state)
{
	static const struct event irq = { EVENT_IRQ, 0x30 }, nmi = { EVENT_NMI, VEC_NMI };
	struct vm *vm = open_whole();
	struct vcpu *vcpu = vm->vcpu[0];
	struct x86_state s = odd_state();

	(void)state;
	s.rflags = FLAG_FIXED;
	assert_int_equal(vcpu_set_state(vcpu, &s, NULL), 0);
	assert_false(kvm_ops.can_inject(vcpu, &irq));
	s.rflags |= FLAG_IF;
	assert_int_equal(vcpu_set_state(vcpu, &s, NULL), 0);
	assert_true(kvm_ops.can_inject(vcpu, &irq));
	assert_int_equal(kvm_ops.inject(vcpu, &irq), 0);
	assert_int_equal(fake.interrupt, 0x30);
	assert_false(kvm_ops.can_inject(vcpu, &irq)); /* one at a time */
	assert_true(kvm_ops.can_inject(vcpu, &nmi));
	assert_int_equal(kvm_ops.inject(vcpu, &nmi), 0);
	assert_int_equal(fake.nmis, 1);
	vm_close(vm);
}

static int script_forever(struct kvm_run *run)
{
	uint64_t end = host_monotonic_ns() + UINT64_C(10000000000);

	while (!__atomic_load_n(&run->immediate_exit, __ATOMIC_RELAXED))
		if (host_monotonic_ns() > end)
			return -ETIME;
	return -EINTR;
}

static void kicker(void *arg)
{
	struct vm *vm = arg;

	while (!atomic_load(&vm->vcpu[0]->in_guest))
		;
	vm_request(vm, VM_QUIT, 0);
}

static void test_kick_from_another_thread(void **state)
{
	struct vm *vm = open_whole();

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct host_thread *t = host_thread_start(kicker, vm, "kicker");

		assert_int_equal(run_script(vm, script_forever), VM_QUIT);
		host_thread_join(t);
	}
	vm_close(vm);
}

static void stop_now(void *arg, uint64_t now)
{
	(void)now;
	vm_request(arg, VM_POWEROFF, 0);
}

/* A guest that never exits is left when the machine's next alarm is due. */
static void test_alarm(void **state)
{
	struct vm *vm = open_whole();
	struct alarm alarm = { .at = ALARM_NONE, .fn = stop_now, .arg = vm };

	(void)state;
	clock_set_alarm(&vm->clock, &alarm, clock_now(&vm->clock) + 20000000);
	assert_int_equal(run_script(vm, script_forever), VM_POWEROFF);
	vm_close(vm);
}

static unsigned rung;
static uint64_t rang_at;

static void ring_again(void *arg, uint64_t now)
{
	struct alarm *a = arg;

	rang_at = now;
	if (++rung == 3000)
		vm_request(stopping, VM_POWEROFF, 0);
	else
		clock_set_alarm(&stopping->clock, a, now + rung % 16 * 500);
}

/* An alarm that comes due anywhere on the way into the guest is not lost. */
static void test_alarms_at_every_moment(void **state)
{
	struct vm *vm = open_whole();
	struct alarm alarm = { .at = ALARM_NONE, .fn = ring_again, .arg = &alarm };

	(void)state;
	rung = 0;
	stopping = vm;
	clock_set_alarm(&vm->clock, &alarm, clock_now(&vm->clock));
	assert_int_equal(run_script(vm, script_forever), VM_POWEROFF);
	assert_int_equal(rung, 3000);
	assert_true(rang_at > 0);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_accesses),
		T(test_locked),
		T(test_msrs),
		T(test_hypercall),
		T(test_ends),
		T(test_half_done),
		T(test_not_to_be_finished),
		T(test_injection),
		T(test_kick_from_another_thread),
		T(test_alarm),
		T(test_alarms_at_every_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
