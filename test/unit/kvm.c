/*
 * kvm.c - test of the KVM engine against a kernel that only plays KVM (fake_kvm.h): what it says
 * when something is missing, what a machine keeps that changes engines, and its memory.
 *
 * What exits become: kvm_exits.c. The state of a CPU: kvm_state.c. Calls that fail: kvm_failures.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/engine_interp.h"
#include "test/unit/kvm_script.h"

/* --- Sentences --- */

static void refused(const char *sentence)
{
	struct fail why = { 0 };

	assert_null(open_vm(&why));
	assert_string_equal(why.text, sentence);
	assert_true(why.code < 0);
	assert_nothing_open();
}

static void test_what_is_missing(void **state)
{
	(void)state;
	fake.open_error = -ENOENT;
	refused("there is no /dev/kvm: the host's kernel has no KVM, or its processor no "
		"virtualization");
	fake.open_error = -EACCES;
	refused("/dev/kvm: permission denied (its group is usually called kvm)");
	fake.open_error = -EMFILE;
	refused("/dev/kvm: cannot open: Too many open files");
	fake.open_error = 0;
	fake.version = 11;
	refused("/dev/kvm speaks version 11; this program knows 12");
	fake.version = KVM_API_VERSION;
	fake.lacking = KVM_CAP_X86_MSR_FILTER;
	refused("KVM lacks KVM_CAP_X86_MSR_FILTER: the host's kernel is older than 5.10, or this "
		"build of KVM leaves it out");
	fake.lacking = -1;
	fake.no_leaf = 0x80000001;
	refused("this host's KVM lacks what CPU model trapeze-v1-base needs: LAHF_LM, SYSCALL, NX, "
		"LM");
}

static void test_frequency(void **state)
{
	struct vm_config config = { .engine = &kvm_ops, .vcpus = 1, .tsc_khz = 3000000 };
	struct fail why = { 0 };
	struct vm *vm;

	(void)state;
	fake.lacking = KVM_CAP_TSC_CONTROL;
	assert_null(vm_open(&config, &why));
	assert_string_equal(why.text, "the machine's time-stamp counter runs at 3000000 kHz, and "
				      "on this host KVM only does 1000000");
	config.tsc_khz = 0; /* then it takes the host's */
	vm = vm_open(&config, &why);
	assert_non_null(vm);
	assert_int_equal(vm->clock.tsc_khz, kvm_host_khz());
	vm_close(vm);
	assert_nothing_open();
}

/* --- The time-stamp counter --- */

static void test_counter_stays(void **state)
{
	struct vm *vm = open_whole();
	uint64_t offset = fake.tsc_offset;
	struct x86_state s;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		vcpu_get_state(vm->vcpu[0], &s);
		assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, NULL), 0);
		assert_int_equal(fake.tsc_offset, offset);
	}
	s.tsc_offset += 12345;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, NULL), 0);
	assert_int_equal(fake.tsc_offset, offset + 12345);
	/* A machine that is loaded has another time. */
	clock_restore(&vm->clock, UINT64_C(1) << 40);
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, NULL), 0);
	assert_in_range(fake.tsc_offset - offset, UINT64_C(1) << 39, UINT64_C(1) << 41);
	vm_close(vm);
}

/* --- BHI_CTRL, which a machine keeps --- */

static bool shows_bhi(void)
{
	for (uint32_t i = 0; i < fake.cpuid->nent; i++)
		if (fake.cpuid->entries[i].function == 7 && fake.cpuid->entries[i].index == 2)
			return fake.cpuid->entries[i].edx >> 4 & 1;
	return false;
}

static int script_spec_ctrl(struct kvm_run *run)
{
	if (steps > 0 && run->msr.error)
		return -EPROTO;
	if (steps++ > 0)
		return run->msr.data == (1 | SPEC_CTRL_BHI_DIS_S) ? stop(run) : -EBADMSG;
	run->exit_reason = KVM_EXIT_X86_WRMSR;
	run->msr.index = MSR_SPEC_CTRL;
	run->msr.reason = KVM_MSR_EXIT_REASON_FILTER;
	run->msr.data = 1 | SPEC_CTRL_BHI_DIS_S;
	return 0;
}

static void bhi_comes_along(uint64_t processor_has)
{
	struct fail why = { 0 };
	struct vm_config config = {
		.engine = &interp_ops, .vcpus = 1, .tsc_khz = 1000000, .cpu = kvm_cpu_model(&why)
	};
	struct vm *vm = vm_open(&config, &why);
	struct x86_state s;

	fake.no_spec_ctrl = SPEC_CTRL_BHI_DIS_S & ~processor_has;
	vcpu_get_state(vm->vcpu[0], &s);
	s.spec_ctrl = SPEC_CTRL_BHI_DIS_S;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, &why), 0);
	assert_int_equal(vm_switch(vm, &kvm_ops, &why), 0);
	assert_true(shows_bhi());
	assert_int_equal(*fake_msr(MSR_SPEC_CTRL), processor_has);
	assert_int_equal(run_script(vm, script_spec_ctrl), VM_POWEROFF);
	assert_int_equal(*fake_msr(MSR_SPEC_CTRL), 1 | processor_has);
	assert_int_equal(vm_switch(vm, &interp_ops, &why), 0);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.spec_ctrl, 1 | SPEC_CTRL_BHI_DIS_S);
	vm_close(vm);
}

static void test_bhi_control(void **state)
{
	struct fail why = { 0 };
	struct vm *vm = open_whole();

	(void)state;
	assert_false(shows_bhi());
	assert_int_equal(vm_switch(vm, &interp_ops, &why), 0);
	assert_false(vm->bhi_control);
	vm_close(vm);
	bhi_comes_along(0);
	bhi_comes_along(SPEC_CTRL_BHI_DIS_S);
}

/* --- KVM's services for guests of several vCPUs --- */

static struct vm *open_two(const struct engine_ops *engine)
{
	struct fail why = { 0 };
	struct vm_config config = {
		.engine = engine, .vcpus = 2, .tsc_khz = 1000000, .cpu = kvm_cpu_model(&why)
	};
	struct vm *vm = vm_open(&config, &why);

	if (!vm)
		print_error("%s\n", why.text);
	assert_non_null(vm);
	return vm;
}

static void test_services(void **state)
{
	struct vm *vm = open_two(&kvm_ops);
	struct exit exit = {
		.reason = EXIT_WRMSR, .msr = {.index = MSR_KVM_STEAL_TIME, .value = 0x3001}
	};

	(void)state;
	/* Not where the processor has SVM: KVM would write over the guest's VMCALL. */
	assert_int_equal(vm->kvm_services, kvm_hypercalls());
	if (vm->kvm_services) { /* the kernel's steal time, then the machine's */
		exit_handle(vm->vcpu[1], &exit);
		assert_false(exit.msr.fault);
		assert_int_equal(*fake_msr(MSR_KVM_STEAL_TIME), 0x3001);
		assert_true(vm->vcpu[1]->steal_elsewhere);
		fake.fail_at = fake.calls + 1;
		exit_handle(vm->vcpu[1], &exit);
		assert_false(exit.msr.fault);
		assert_false(vm->vcpu[1]->steal_elsewhere);
		assert_int_equal(vm->vcpu[1]->trouble.code, 0);
	}
	vm_close(vm);
	fake.lacking = KVM_CAP_XEN_HVM;
	vm = open_two(&kvm_ops);
	assert_false(vm->kvm_services);
	vm_close(vm);
}

static void test_services_stay(void **state)
{
	struct vm *vm = open_two(&interp_ops);
	struct fail why = { 0 };

	(void)state;
	assert_true(vm->kvm_services);
	fake.lacking = KVM_CAP_XEN_HVM;
	assert_int_equal(vm_switch(vm, &kvm_ops, &why), -ENOTSUP);
	assert_string_equal(why.text,
			    "engine kvm cannot hand on the hypercalls that the guest was offered");
	assert_ptr_equal(vm->engine, &interp_ops);
	vm_close(vm);
}

/* --- Memory --- */

static void test_memory(void **state)
{
	struct vm *vm = open_whole();
	struct fail why;
	uint64_t bits = 0;

	(void)state;
	assert_int_equal(mem_add(vm, gpa(0xe0000), 0x20000, NULL, true, &why), 0);
	assert_int_equal(fake.region[0].memory_size, MEMORY);
	assert_int_equal(fake.region[0].flags, 0);
	assert_int_equal(fake.region[1].guest_phys_addr, 0xe0000);
	assert_int_equal(fake.region[1].flags, KVM_MEM_READONLY);
	mem_dirty_start(&vm->mem);
	assert_int_equal(fake.region[0].flags, KVM_MEM_LOG_DIRTY_PAGES);
	assert_int_equal(fake.region[1].flags, KVM_MEM_READONLY);
	mem_dirty_collect(&vm->mem, mem_find(&vm->mem, gpa(0)), &bits);
	assert_int_equal(bits, 0);
	fake.dirty = 5;
	assert_int_equal(mem_write(&vm->mem, gpa(0x4000), "x", 1), 0);
	mem_dirty_collect(&vm->mem, mem_find(&vm->mem, gpa(0)), &bits);
	assert_int_equal(bits, 5 | 1 << 4);
	bits = 0;
	fake.fail_at = fake.calls + 1; /* no log: all of it counts as written */
	mem_dirty_collect(&vm->mem, mem_find(&vm->mem, gpa(0)), &bits);
	assert_int_equal(bits, 0xffff);
	mem_dirty_stop(&vm->mem);
	assert_int_equal(fake.region[0].flags, 0);
	vm_close(vm);
	assert_int_equal(fake.region[0].memory_size, 0);
	assert_int_equal(fake.region[1].memory_size, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_what_is_missing), T(test_frequency), T(test_counter_stays),
		T(test_bhi_control),     T(test_services),  T(test_services_stay),
		T(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
