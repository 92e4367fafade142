/*
 * messages.c - test of the KVM engine on this host's /dev/kvm: each message of a device arrives,
 * however it is sent: by a call, by an eventfd (engine/kvm/wires.c), and while engines are changed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/rig/rig.h"

#define IMAGE(guest)                                                                               \
	(&(const struct guest_image){ #guest, guest_##guest, guest_##guest##_end, NULL, NULL })

#define MESSAGES 600 /* below 4096 notes */

/* A write to port 500h asks for vector 40h, to 502h for 41h; each is waited for. */
GUEST(asks, "\n\
	cli\n\
	movw $0, 0x102\n\
	movw $0, 0x106\n\
	AT16 7f, %ax\n\
	movw %ax, 0x100\n\
	AT16 8f, %ax\n\
	movw %ax, 0x104\n\
	movl $0x1b, %ecx\n\
	rdmsr\n\
	orl $0xc00, %eax\n\
	wrmsr\n\
	xorw %si, %si\n\
	movw $0x500, %dx\n\
	sti\n\
1:	incw %si\n\
	xorw $2, %dx\n\
	outw %ax, %dx\n\
2:	cmpw %si, 0x4000\n\
	jne 2b\n\
	cmpw $600, %si\n\
	jb 1b\n\
	cli\n\
	hlt\n\
7:8:	incw 0x4000\n\
	pushw %dx\n\
	movl $0x80b, %ecx\n\
	xorl %eax, %eax\n\
	xorl %edx, %edx\n\
	wrmsr\n\
	popw %dx\n\
	iretw");

static void send(struct notebook *n, const struct note *note)
{
	const struct apic_message m = { .vector = (uint8_t)(0x40 + (note->off >> 1)),
					.assert = true };

	n->count = 0;
	assert_true(irq_message(n->dev.vm, &m));
}

static void check(const struct rig *r)
{
	uint16_t count;

	memcpy(&count, r->ram + 0x4000, 2);
	assert_int_equal(count, MESSAGES);
}

static void test_each_arrives(void **state)
{
	static const struct engine_ops *const both[] = { &interp_ops, &kvm_ops };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r = rig_open(both[i], IMAGE(asks));

		r.notes->hook = send;
		assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
		check(&r);
		if (both[i] == &kvm_ops && rig_irqchip != IRQCHIP_USER) {
			const struct kvm_vm *v = r.vm->engine_data;

			if (v->device.caps.irqfd)
				assert_in_range(v->by_wire, MESSAGES / 2, MESSAGES);
			assert_int_equal(v->by_wire + v->by_call, MESSAGES);
		}
		rig_close(&r);
	}
}

static void test_switching(void **state)
{
	struct switch_point points[20];
	struct rig r = rig_open(&kvm_ops, IMAGE(asks));

	(void)state;
	r.notes->hook = send;
	for (unsigned n = 0; n < 20; n++)
		points[n] = (struct switch_point){
			.to = n % 2 ? &kvm_ops : &interp_ops,
			.instruction = UINT64_MAX,
			.time_ns = clock_now(&r.vm->clock) + 500000 * (n + 1),
		};
	vm_plan_switches(r.vm, points, 20);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	check(&r);
	assert_true(r.vm->switches.done > 0);
	rig_close(&r);
}

/* A hostile guest has other messages all the time: the table forgets, and none is lost. */
static void send_others(struct notebook *n, const struct note *note)
{
	send(n, note);
	for (unsigned i = 0; i < 100; i++) {
		const struct apic_message m = { .dest = 5 + i, .vector = 0x50, .assert = true };

		irq_message(n->dev.vm, &m);
	}
}

static void test_many_different(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(asks));

	(void)state;
	r.notes->hook = send_others;
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	check(&r);
	rig_close(&r);
}

/* What a message costs, one way and the other: told, not judged. */
static uint64_t timed(struct vm *vm, unsigned count)
{
	const struct apic_message m = { .vector = 0x40, .assert = true };
	uint64_t least = UINT64_MAX;

	for (unsigned round = 0; round < 20; round++) {
		uint64_t start = host_monotonic_ns(), took;

		for (unsigned i = 0; i < count; i++)
			irq_message(vm, &m);
		took = host_monotonic_ns() - start;
		least = took < least ? took : least;
	}
	return least / count;
}

static void measure(struct notebook *n, const struct note *note)
{
	struct kvm_vm *v = n->dev.vm->engine_data;

	(void)note;
	if (n->count == 1 && rig_irqchip != IRQCHIP_USER && v->device.caps.irqfd) {
		v->device.caps.irqfd = false;
		print_message("a message by KVM_SIGNAL_MSI: %llu ns\n",
			      (unsigned long long)timed(n->dev.vm, 1000));
		v->device.caps.irqfd = true;
		print_message("by an eventfd: %llu ns\n",
			      (unsigned long long)timed(n->dev.vm, 1000));
	}
	vm_request(n->dev.vm, VM_QUIT, 0);
}

static void test_cost(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(asks));

	(void)state;
	r.notes->hook = measure;
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_QUIT);
	rig_close(&r);
}

/* --- From a backend's thread to the guest's handler, and what it then does at a port --- */

#define ROUNDS 200

GUEST(waits, "\n\
	cli\n\
	movw $0, 0x102\n\
	AT16 7f, %ax\n\
	movw %ax, 0x100\n\
	movl $0x1b, %ecx\n\
	rdmsr\n\
	orl $0xc00, %eax\n\
	wrmsr\n\
	movw $0x500, %dx\n\
1:	sti\n\
	hlt\n\
	jmp 1b\n\
7:	movl $0x80b, %ecx\n\
	xorl %eax, %eax\n\
	xorl %edx, %edx\n\
	wrmsr\n\
	movw $0x500, %dx\n\
	outb %al, %dx\n\
	iretw");

static atomic_ullong answered;

static void answer(struct notebook *n, const struct note *note)
{
	(void)note;
	n->count = 0;
	atomic_store(&answered, host_monotonic_ns());
}

static void complete(struct device *dev, const void *data, size_t bytes)
{
	const struct apic_message m = { .vector = 0x40, .assert = true };

	(void)data, (void)bytes;
	irq_message(dev->vm, &m);
}

static uint64_t no_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	(void)dev, (void)region, (void)off, (void)size;
	return 0;
}

static void no_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		     uint64_t value)
{
	(void)dev, (void)region, (void)off, (void)size, (void)value;
}

static const struct device_ops completer_ops = {
	.type = "completer",
	.reset = notebook_reset,
	.read = no_read,
	.write = no_write,
	.input = complete,
	.state = notebook_fields,
	.state_version = 1,
};

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Each is answered, or this does not come to its end. */
static void backend(void *arg)
{
	struct device *dev = arg;
	static uint64_t took[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start = host_monotonic_ns();

		atomic_store(&answered, 0);
		device_ring(dev);
		while (!atomic_load(&answered))
			host_yield();
		took[i] = atomic_load(&answered) - start;
	}
	qsort(took, ROUNDS, sizeof(took[0]), by_size);
	print_message("from device_ring() to the handler's OUT: least %llu ns, median %llu ns\n",
		      (unsigned long long)took[0], (unsigned long long)took[ROUNDS / 2]);
	vm_request(dev->vm, VM_QUIT, 0);
}

static void test_delivery(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(waits));
	struct device *dev = host_alloc(sizeof(*dev));
	struct host_thread *t;

	(void)state;
	device_add(r.vm, dev, &completer_ops, "completer");
	r.notes->hook = answer;
	r.vm->halt_ends = false;
	host_mutex_lock(r.vm->lock);
	device_bell(&r.notes->dev, gpa(0xd0100), true); /* so that there is a bell thread */
	host_mutex_unlock(r.vm->lock);
	t = host_thread_start(backend, dev, "backend");
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_QUIT);
	host_thread_join(t);
	rig_close(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_arrives),   cmocka_unit_test(test_switching),
		cmocka_unit_test(test_many_different), cmocka_unit_test(test_cost),
		cmocka_unit_test(test_delivery),
	};
	int skip = rig_skip("messages");

	return skip ? skip : rig_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
