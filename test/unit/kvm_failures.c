/*
 * kvm_failures.c - test of the KVM engine while each of its calls to the kernel fails in turn: one
 * sentence, or nothing that matters; and nothing is left open. Against a kernel that only plays KVM
 * (fake_kvm.h), so that calls are tried which the KVM of a host at hand would never get.
 *
 * A machine has several lives, for no single one makes every call. In the end each of those
 * that the engine knows has failed at least once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/lapic_internal.h"

#include <limits.h>

#include "device/lapic.h"
#include "engine/interp/engine_interp.h"
#include "machine/bells.h"
#include "machine/gate.h"
#include "test/unit/kvm_rig.h"

#define BELL 0xd0001000

/* --- Lives --- */

struct life {
	const char *name;
	int lacking; /* a capability */
	enum irqchip irqchip;
	bool ring;
	unsigned tsc_khz;
};

static const struct life lives[] = {
	{"the machine's local APICs",    -1,                      IRQCHIP_USER,  false, 1000000},
	{ "KVM's",		       -1,                      IRQCHIP_SPLIT, false, 1000000},
	{ "no KVM_GET_SREGS2",           KVM_CAP_SREGS2,          IRQCHIP_USER,  false, 1000000},
	{ "no KVM_VCPU_TSC_OFFSET",      KVM_CAP_VCPU_ATTRIBUTES, IRQCHIP_USER,  false, 1000000},
	{ "no eventfds for messages",    KVM_CAP_IRQFD,           IRQCHIP_SPLIT, false, 1000000},
	{ "dirty rings",                 -1,                      IRQCHIP_USER,  true,  1000000},
	{ "another counter's frequency", -1,                      IRQCHIP_USER,  false, 3000000},
};

static const struct life *now;
static struct vm *living;
static unsigned steps;

static void set_up(const struct life *l)
{
	static struct kvm_kernel kernel[2];
	static unsigned n;

	fake_reset();
	n = !n; /* another one: what is asked once of a kernel is asked in each life */
	kernel[n] = *kvm_kernel;
	kvm_kernel = &kernel[n];
	now = l;
	fake.lacking = l->lacking;
	fake.ring_bytes = l->ring ? 0x10000 : 0;
}

static void send(uint8_t vector, bool level)
{
	const struct apic_message m = { .vector = vector, .level = level, .assert = true };

	host_mutex_lock(living->lock);
	irq_message(living, &m);
	host_mutex_unlock(living->lock);
}

/* The periodic timer's tick is on its way when the local APIC comes back. */
static void start_timer(void)
{
	const uint32_t initial = 100000;

	memcpy((uint8_t *)fake_blob(KVM_SET_LAPIC) + 16 * REG_TIMER_INITIAL, &initial, 4);
}

static void write_msr(struct kvm_run *run, uint32_t index, uint64_t value)
{
	run->exit_reason = KVM_EXIT_X86_WRMSR;
	run->msr.index = index;
	run->msr.reason = KVM_MSR_EXIT_REASON_FILTER;
	run->msr.data = value;
}

/* An exit of each kind that makes calls. */
static int script(struct kvm_run *run)
{
	switch (steps++) {
	case 0: write_msr(run, MSR_TSC_ADJUST, 1000); return 0;
	case 1: write_msr(run, MSR_TSC, 5000); return 0;
	case 2:
		run->exit_reason = KVM_EXIT_XEN;
		run->xen.u.hcall.longmode = 1;
		return 0;
	case 3: /* more messages than go without an eventfd, and one with an end */
		for (unsigned i = 0; i < 70; i++)
			send(0x50, false);
		send(0x51, true);
		start_timer();
		run->exit_reason = KVM_EXIT_INTR;
		return 0;
	case 4:
		fake_write_page(0, 3);
		run->exit_reason = fake.ring ? KVM_EXIT_DIRTY_RING_FULL : KVM_EXIT_INTR;
		return 0;
	case 5: /* which might be of a locked instruction */
		run->exit_reason = KVM_EXIT_MMIO;
		run->mmio.phys_addr = BELL;
		run->mmio.len = 4;
		run->mmio.is_write = 0;
		return 0;
	default:
		fake_write_page(0, 5);
		vm_request(living, VM_POWEROFF, 0);
		run->exit_reason = KVM_EXIT_INTR;
		return 0;
	}
}

static int furnish(struct vm *vm, struct fail *why)
{
	static const struct lapic_config config = { .virtual_wire = true };
	struct x86_state s = odd_state();
	int err = mem_add(vm, gpa(0), MEMORY, NULL, false, why);

	if (!err)
		err = lapic_create(vm, 0, &config, why);
	if (err)
		return err;
	((struct lapic *)vm->vcpu[0]->intc_arg)->irr[2] = 1 << 4; /* vector 44h */
	host_mutex_lock(vm->lock);
	bells_place(vm, gpa(BELL), true);
	host_mutex_unlock(vm->lock);
	mem_dirty_start(&vm->mem);
	s.shadow = 0;
	s.nmi_blocked = 0;
	return vcpu_set_state(vm->vcpu[0], &s, why);
}

static int live(struct vm *vm, struct fail *why)
{
	struct x86_state s;
	uint64_t bits = 0;
	int status = 0, err = furnish(vm, why);

	if (err)
		return err;
	living = vm;
	steps = 0;
	fake.script = script;
	vm->vcpu[0]->nmi_waiting = true;
	if (vm_run(vm, UINT64_MAX, &status, why) == VM_STUCK)
		return status ? status : -EPROTO;
	mem_dirty_collect(&vm->mem, mem_find(&vm->mem, gpa(0)), &bits);
	assert_int_equal(bits & (1 << 3 | 1 << 5), 1 << 3 | 1 << 5); /* never forgotten */
	mem_dirty_stop(&vm->mem);
	vcpu_get_state(vm->vcpu[0], &s);
	*why = vm->vcpu[0]->trouble;
	return why->code;
}

static int whole_life(struct fail *why)
{
	struct vm_config config = {
		.engine = &kvm_ops,
		.vcpus = 1,
		.tsc_khz = now->tsc_khz,
		.engine_options = {.irqchip = now->irqchip, .dirty_ring = now->ring}
	};
	struct vm *vm = vm_open(&config, why);
	int err = vm ? gate_open_up(vm) : why->code; /* as if there were others */

	if (!err)
		err = live(vm, why);

	if (vm)
		assert_ptr_not_equal(vm->vcpu[0]->intc, &kvm_intc);
	vm_close(vm);
	return err;
}

/* --- Each call fails in turn --- */

/* An optional capability, a slot that goes away anyway, what is done without an eventfd then, a
 * locked instruction that is none then, and a log without which all counts as written. */
static bool bearable(unsigned long request)
{
	return request == KVM_CHECK_EXTENSION || fake.failed_removal || request == KVM_IOEVENTFD ||
	       request == KVM_TRANSLATE || request == KVM_IRQFD || request == KVM_GET_DIRTY_LOG ||
	       (request == KVM_SET_GSI_ROUTING && fake.routes != 0);
}

static void fail_at(unsigned n)
{
	struct fail why = { 0 };
	int err;

	set_up(now);
	fake.fail_at = n;
	err = whole_life(&why);
	if (!err && !bearable(fake.failed))
		print_error("%s: call %u, request 0x%lx: nobody noticed\n", now->name, n,
			    fake.failed);
	assert_true(err < 0 || bearable(fake.failed));
	if (err) {
		assert_in_range(strlen(why.text), 20, sizeof(why.text) - 1);
		assert_null(strchr(why.text, '\n'));
	}
	if (fake.failed != KVM_IRQFD)
		assert_int_equal(fake.irqfds, 0);
	assert_nothing_open();
}

static void test_every_call_fails(void **state)
{
	struct fail why = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		unsigned calls;

		set_up(&lives[i]);
		if (whole_life(&why))
			print_error("%s: %s\n", now->name, why.text);
		assert_int_equal(why.code, 0);
		calls = fake.calls;
		assert_in_range(calls, 40, 300);
		for (unsigned n = 1; n <= calls; n++)
			fail_at(n);
	}
}

/* --- A change of engines --- */

static void goes_on(struct vm *vm, const char *when, unsigned n)
{
	struct fail why = { 0 };
	int status = 0;

	if (vm_run(vm, 10, &status, &why) == VM_NONE)
		return;
	print_error("%s, call %u, request 0x%lx: %s\n", when, n, fake.failed, why.text);
	assert_true(false);
}

/* There and back. Whatever fails, the machine is whole on one of the two; but what KVM has of its
 * state, and does not give, is lost. Returns how many calls that takes. */
static unsigned change(unsigned fail_at)
{
	struct vm_config config = { .engine = &interp_ops, .vcpus = 1, .tsc_khz = 1000000 };
	struct fail why = { 0 };
	struct vm *vm;
	unsigned calls;
	int err;

	fake_reset();
	config.cpu = kvm_cpu_model(&why);
	fake.calls = 0;
	vm = vm_open(&config, &why);
	assert_non_null(vm);
	assert_int_equal(mem_add(vm, gpa(0), MEMORY, NULL, false, &why), 0);
	assert_int_equal(vm_run(vm, 10, &err, &why), VM_NONE);
	fake.fail_at = fail_at;
	err = vm_switch(vm, &kvm_ops, &why);
	assert_ptr_equal(vm->engine, err ? &interp_ops : &kvm_ops);
	if (err) {
		assert_in_range(strlen(why.text), 20, sizeof(why.text) - 1);
		goes_on(vm, "there", fail_at);
	} else {
		vm_switch(vm, &interp_ops, &why);
		if (!vm->vcpu[0]->trouble.code || fake.failed == KVM_SET_USER_MEMORY_REGION)
			goes_on(vm, "and back", fail_at);
	}
	calls = fake.calls;
	vm_close(vm);
	assert_nothing_open();
	return calls;
}

static void test_change_that_fails(void **state)
{
	unsigned calls = change(0);

	(void)state;
	assert_in_range(calls, 60, 300);
	for (unsigned n = 1; n <= calls; n++)
		change(n);
}

/* All that the engine asks of the kernel. */
#define REQUESTS(X)                                                                                \
	X(CHECK_EXTENSION)                                                                         \
	X(CREATE_VCPU)                                                                             \
	X(CREATE_VM)                                                                               \
	X(ENABLE_CAP)                                                                              \
	X(GET_API_VERSION)                                                                         \
	X(GET_DEBUGREGS)                                                                           \
	X(GET_DEVICE_ATTR)                                                                         \
	X(GET_DIRTY_LOG)                                                                           \
	X(GET_LAPIC)                                                                               \
	X(GET_MP_STATE)                                                                            \
	X(GET_MSRS)                                                                                \
	X(GET_MSR_INDEX_LIST)                                                                      \
	X(GET_REGS)                                                                                \
	X(GET_SREGS)                                                                               \
	X(GET_SREGS2)                                                                              \
	X(GET_SUPPORTED_CPUID)                                                                     \
	X(GET_TSC_KHZ)                                                                             \
	X(GET_VCPU_EVENTS)                                                                         \
	X(GET_VCPU_MMAP_SIZE)                                                                      \
	X(GET_XCRS)                                                                                \
	X(GET_XSAVE)                                                                               \
	X(INTERRUPT)                                                                               \
	X(IOEVENTFD)                                                                               \
	X(IRQFD)                                                                                   \
	X(NMI)                                                                                     \
	X(RESET_DIRTY_RINGS)                                                                       \
	X(RUN)                                                                                     \
	X(SET_CPUID2)                                                                              \
	X(SET_DEBUGREGS)                                                                           \
	X(SET_DEVICE_ATTR)                                                                         \
	X(SET_GSI_ROUTING)                                                                         \
	X(SET_IDENTITY_MAP_ADDR)                                                                   \
	X(SET_LAPIC)                                                                               \
	X(SET_MP_STATE)                                                                            \
	X(SET_MSRS)                                                                                \
	X(SET_REGS)                                                                                \
	X(SET_SIGNAL_MASK)                                                                         \
	X(SET_SREGS)                                                                               \
	X(SET_SREGS2)                                                                              \
	X(SET_TSC_KHZ)                                                                             \
	X(SET_TSS_ADDR)                                                                            \
	X(SET_USER_MEMORY_REGION)                                                                  \
	X(SET_VCPU_EVENTS)                                                                         \
	X(SET_XCRS)                                                                                \
	X(SET_XSAVE)                                                                               \
	X(SIGNAL_MSI)                                                                              \
	X(TRANSLATE)                                                                               \
	X(X86_SET_MSR_FILTER)                                                                      \
	X(XEN_HVM_CONFIG)

static void test_each_has_failed(void **state)
{
	static const struct {
		const char *name;
		unsigned long request;
	} all[] = {
#define X(name) { "KVM_" #name, KVM_##name },
		REQUESTS(X)
#undef X
	};
	const size_t count = sizeof(all) / sizeof(all[0]);
	unsigned missing = 0;

	(void)state;
	for (size_t i = 0; i < count; i++)
		if (!*fake_place(all[i].request)) {
			print_error("%s has not failed\n", all[i].name);
			missing++;
		}
	assert_int_equal(missing, 0);
	/* Those, open() and mmap(): the list is whole. */
	assert_int_equal(fake_place(ULONG_MAX) - fake_failed, count + 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_call_fails),
		cmocka_unit_test(test_change_that_fails),
		cmocka_unit_test(test_each_has_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
