/*
 * kvm_apic.c - test of the local APIC's way into KVM and back, and of messages meanwhile, against a
 * kernel that only plays KVM (fake_kvm.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/lapic_internal.h"

#include "device/lapic.h"
#include "test/unit/kvm_rig.h"

#define LEVEL_VECTOR 0x51

static struct vm *running;
static unsigned steps;

static struct vm *open_split(struct fail *why)
{
	static const struct lapic_config config = { .virtual_wire = true };
	struct vm_config machine = { .engine = &kvm_ops,
				     .vcpus = 1,
				     .tsc_khz = 1000000,
				     .engine_options.irqchip = IRQCHIP_AUTO };
	struct vm *vm = vm_open(&machine, why);
	int err = vm ? mem_add(vm, gpa(0), MEMORY, NULL, false, why) : 0;

	if (vm && !err)
		err = lapic_create(vm, 0, &config, why);
	if (vm && err) {
		vm_close(vm);
		return NULL;
	}
	running = vm;
	steps = 0;
	return vm;
}

static struct lapic *lapic(const struct vm *vm)
{
	return vm->vcpu[0]->intc_arg;
}

static enum vm_request run(struct vm *vm, int (*script)(struct kvm_run *run), struct fail *why)
{
	int status = 0;

	fake.script = script;
	return vm_run(vm, UINT64_MAX, &status, why);
}

static void set_reg(unsigned reg, uint32_t value)
{
	memcpy((uint8_t *)fake_blob(KVM_SET_LAPIC) + 16 * reg, &value, 4);
}

static uint32_t reg(unsigned n)
{
	uint32_t value;

	memcpy(&value, (uint8_t *)fake_blob(KVM_SET_LAPIC) + 16 * n, 4);
	return value;
}

static void set_sleep(uint32_t state)
{
	*(uint32_t *)fake_blob(KVM_SET_MP_STATE) = state;
}

static int stop(struct kvm_run *run)
{
	vm_request(running, VM_POWEROFF, 0);
	run->exit_reason = KVM_EXIT_INTR;
	return 0;
}

/* There it is what it was here; then it lives on, and its CPU goes to sleep. */
static int script_there(struct kvm_run *run)
{
	assert_int_equal(reg(REG_TPR), 0x20);
	assert_int_equal(reg(REG_IRR + 2), 1 << 4); /* vector 44h */
	assert_int_equal(reg(REG_LVT + LVT_LINT0), APIC_EXTINT << LVT_MODE_SHIFT);
	assert_int_equal(*fake_msr(MSR_APIC_BASE), 0xfee00d00);
	assert_int_equal(*(uint32_t *)fake_blob(KVM_SET_MP_STATE), KVM_MP_STATE_RUNNABLE);
	assert_ptr_not_equal(running->vcpu[0]->intc, &lapic_intc);
	assert_true(atomic_load(&running->hands_free));
	set_reg(REG_TPR, 0x30);
	set_reg(REG_IRR + 2, 0);
	set_reg(REG_ISR + 2, 1 << 4);
	set_sleep(KVM_MP_STATE_HALTED);
	return stop(run);
}

static void test_there_and_back(void **state)
{
	struct fail why = { 0 };
	struct vm *vm = open_split(&why);
	struct lapic *l;

	(void)state;
	assert_non_null(vm);
	l = lapic(vm);
	assert_true(lapic_intc.wrmsr(l, MSR_APIC_BASE, 0xfee00d00));
	l->tpr = 0x20;
	l->irr[2] = 1 << 4;
	assert_int_equal(run(vm, script_there, &why), VM_POWEROFF);
	assert_ptr_equal(vm->vcpu[0]->intc, &lapic_intc);
	assert_false(atomic_load(&vm->hands_free));
	assert_int_equal(l->tpr, 0x30);
	assert_int_equal(l->irr[2], 0);
	assert_int_equal(l->isr[2], 1 << 4);
	assert_int_equal(l->svr, 0x1ff);
	assert_true(vm->vcpu[0]->halted);
	vm_close(vm);
	assert_nothing_open();
}

/* Waiting for SIPI goes there, and so does a CPU that was halted; what KVM says comes back. */
static int script_sleep(struct kvm_run *run)
{
	static const uint32_t told[] = { KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED };

	assert_int_equal(*(uint32_t *)fake_blob(KVM_SET_MP_STATE), told[steps]);
	set_sleep(steps++ == 0 ? KVM_MP_STATE_INIT_RECEIVED : KVM_MP_STATE_RUNNABLE);
	return stop(run);
}

static void test_sleep(void **state)
{
	struct fail why = { 0 };
	struct vm *vm = open_split(&why);
	struct x86_state s;

	(void)state;
	assert_non_null(vm);
	/* Something else has had the local APIC go there. */
	vcpu_get_state(vm->vcpu[0], &s);
	s.activity = ACTIVITY_HALT;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, &why), 0);
	assert_int_equal(kvm_apics_enter(vm->vcpu[0]->engine), 0);
	assert_int_equal(run(vm, script_sleep, &why), VM_POWEROFF);
	assert_true(vm->vcpu[0]->wait_sipi);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.activity, ACTIVITY_WAIT_SIPI);
	assert_int_equal(kvm_apics_enter(vm->vcpu[0]->engine), 0);
	assert_int_equal(run(vm, script_sleep, &why), VM_POWEROFF);
	assert_false(vm->vcpu[0]->wait_sipi || vm->vcpu[0]->halted);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.activity, ACTIVITY_RUN);
	vm_close(vm);
}

static bool send(uint32_t dest, uint8_t vector, bool level)
{
	const struct apic_message m = {
		.dest = dest, .vector = vector, .level = level, .assert = true
	};
	bool taken;

	host_mutex_lock(running->lock);
	taken = irq_message(running, &m);
	host_mutex_unlock(running->lock);
	return taken;
}

/* By a call; from the 64th on by an eventfd. Level-triggered ones always by a call, and their ends
 * are asked for. One to nobody is no failure. */
static int script_messages(struct kvm_run *run)
{
	const struct kvm_vm *v = running->engine_data;

	for (unsigned i = 0; i < 63; i++)
		assert_true(send(0, 0x50, false));
	assert_int_equal(fake.messages, 63);
	assert_int_equal(fake.last.address_lo, 0xfee00000);
	assert_int_equal(fake.last.data, 1 << 14 | 0x50);
	assert_int_equal(fake.irqfds, 0);
	assert_true(send(0, 0x50, false));
	assert_int_equal(fake.irqfds, 1);
	assert_int_equal(fake.routes, 1);
	assert_int_equal(fake.messages, 63);
	assert_int_equal(v->by_wire, 1);
	for (unsigned i = 0; i < 100; i++)
		assert_true(send(0, LEVEL_VECTOR, true));
	assert_int_equal(fake.messages, 163);
	assert_int_equal(fake.routes, 2);
	assert_false(send(9, 0x50, false));
	/* Many others, each once: none gets a wire, and the one that there is fades. */
	for (unsigned i = 0; i < 64 * KVM_WIRES; i++)
		send(i & 0xff, (uint8_t)(0x60 + (i >> 8)), false);
	assert_int_equal(fake.irqfds, 0);
	for (unsigned i = 0; i < 64 + KVM_WIRES; i++)
		assert_true(send(0, 0x50, false));
	assert_int_equal(fake.irqfds, 1);
	return stop(run);
}

static void test_messages(void **state)
{
	struct fail why = { 0 };
	struct vm *vm = open_split(&why);

	(void)state;
	assert_non_null(vm);
	assert_int_equal(run(vm, script_messages, &why), VM_POWEROFF);
	assert_int_equal(vm->vcpu[0]->trouble.code, 0);
	assert_int_equal(fake.irqfds, 0); /* none outlives the machine's standing still */
	vm_close(vm);
	fake_reset();
	fake.lacking = KVM_CAP_IRQFD;
	vm = open_split(&why);
	assert_non_null(vm);
	assert_int_equal(kvm_apics_enter(vm->vcpu[0]->engine), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_true(send(0, 0x50, false));
	assert_int_equal(fake.messages, 200);
	assert_int_equal(kvm_give_back(vm), 0);
	vm_close(vm);
	assert_nothing_open();
}

/* IA32_APIC_BASE: the machine's rules, KVM's register; the local APIC stays there. */
static int script_base(struct kvm_run *run)
{
	static const struct {
		uint64_t value;
		uint8_t fault;
		uint64_t after;
	} writes[] = {
		{0xfee00d00,  0, 0xfee00d00}, /* x2APIC mode */
		{ 0xfee00900, 1, 0xfee00d00}, /* not straight back */
		{ 0xfee00100, 0, 0xfee00100}, /* off, */
		{ 0xfee00900, 0, 0xfee00900}, /* and on */
	};

	if (steps > 0) {
		assert_int_equal(run->msr.error, writes[steps - 1].fault);
		assert_int_equal(*fake_msr(MSR_APIC_BASE), writes[steps - 1].after);
		assert_true(atomic_load(&running->hands_free));
	}
	if (steps == 3)
		assert_int_equal(reg(REG_TPR), 0); /* off resets the registers */
	if (steps == 4)
		return stop(run);
	set_reg(REG_TPR, 0x40);
	run->exit_reason = KVM_EXIT_X86_WRMSR;
	run->msr.index = MSR_APIC_BASE;
	run->msr.reason = KVM_MSR_EXIT_REASON_FILTER;
	run->msr.data = writes[steps++].value;
	run->msr.error = 0;
	return 0;
}

static void test_base(void **state)
{
	struct fail why = { 0 };
	struct vm *vm = open_split(&why);

	(void)state;
	assert_non_null(vm);
	assert_int_equal(run(vm, script_base, &why), VM_POWEROFF);
	assert_int_equal(steps, 4);
	assert_int_equal(lapic(vm)->base, 0xfee00900);
	vm_close(vm);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	static const struct CMUnitTest tests[] = {
		T(test_there_and_back),
		T(test_sleep),
		T(test_messages),
		T(test_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
