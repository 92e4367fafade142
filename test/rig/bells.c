/*
 * bells.c - test of bells on this host's /dev/kvm: writes to one do not leave the guest and reach
 * the device before anybody looks; what is posted interrupts the guest without its vCPU coming out.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/rig/rig.h"

/* A thousand writes of each size to a bell, one beside it. */
GUEST(rings, "\n\
	cli\n\
	movw $0xd000, %ax\n\
	movw %ax, %es\n\
	movw $1000, %cx\n\
1:	movw %cx, %es:0x100\n\
	movb %cl, %es:0x100\n\
	movl %ecx, %es:0x100\n\
	loop 1b\n\
	movw $7, %es:0x200\n\
	hlt");

#define IMAGE(guest)                                                                               \
	(&(const struct guest_image){ #guest, guest_##guest, guest_##guest##_end, NULL, NULL })

static unsigned heard(const struct rig *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->notes->count; i++)
		n += r->notes->note[i].off == 0x100 && r->notes->note[i].write;
	return n;
}

static struct rig with_bell(const struct engine_ops *engine)
{
	struct rig r = rig_open(engine, IMAGE(rings));

	host_mutex_lock(r.vm->lock);
	device_bell(&r.notes->dev, gpa(0xd0100), true);
	host_mutex_unlock(r.vm->lock);
	return r;
}

static void test_rings(void **state)
{
	struct rig r = with_bell(&kvm_ops);

	(void)state;
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	assert_in_range(heard(&r), 1, 3000);
	assert_int_equal(r.vcpu->exits[EXIT_MMIO], 1); /* the one beside it */
	rig_close(&r);
}

/* The bell goes with the machine to another engine and back. */
static void test_rings_after_switching(void **state)
{
	struct rig r = with_bell(&interp_ops);
	struct fail why;

	(void)state;
	assert_int_equal(rig_run(&r, 100), VM_NONE);
	assert_int_equal(vm_switch(r.vm, &kvm_ops, &why), 0);
	vm_request(r.vm, VM_QUIT, 0);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_QUIT);
	assert_int_equal(vm_switch(r.vm, &interp_ops, &why), 0);
	assert_int_equal(rig_run(&r, 100), VM_NONE);
	assert_int_equal(vm_switch(r.vm, &kvm_ops, &why), 0);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	assert_in_range(r.vcpu->exits[EXIT_MMIO], 2, 200); /* the interpreter's */
	assert_in_range(heard(&r), 2, 3000);
	rig_close(&r);
}

/* Without the bell each of them leaves the guest. */
static void test_removed(void **state)
{
	struct rig r = with_bell(&kvm_ops);

	(void)state;
	host_mutex_lock(r.vm->lock);
	device_bell(&r.notes->dev, gpa(0xd0100), false);
	host_mutex_unlock(r.vm->lock);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	assert_int_equal(heard(&r), 3000);
	assert_int_equal(r.vcpu->exits[EXIT_MMIO], 3001);
	rig_close(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rings),
		cmocka_unit_test(test_rings_after_switching),
		cmocka_unit_test(test_removed),
	};
	int skip = rig_skip("bells");

	return skip ? skip : rig_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
