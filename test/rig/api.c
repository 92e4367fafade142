/*
 * api.c - test of the KVM engine on this host's /dev/kvm: the trial, the dirty log, the kinds
 * of memory, crashes, time, and every ioctl of a machine's life failing in turn.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/bt/engine_bt.h"
#include "test/rig/rig.h"

#define IMAGE(guest)                                                                               \
	(&(const struct guest_image){ #guest, guest_##guest, guest_##guest##_end, NULL, NULL })

static void test_probe(void **state)
{
	struct fail why = { 0 };
	int r = kvm_ops.probe(&why);

	(void)state;
	assert_true(r == 0 || r == ENGINE_SLOW);
	assert_non_null(strstr(why.text, "an exit takes "));
	print_message("%s\n", why.text);
	assert_in_range(kvm_host_khz(), 10000, 10000000);
}

/* Writes to three pages, one of them by REP STOS. */
GUEST(writes, "\n\
	cli\n\
	movb %al, 0x5000\n\
	movw $0x6ff0, %di\n\
	movw $0x20, %cx\n\
	rep stosb\n\
	hlt");

static uint64_t dirty_pages(struct vm *vm)
{
	uint64_t bits[2] = { 0 };

	mem_dirty_collect(&vm->mem, mem_find(&vm->mem, gpa(0)), bits);
	/* A processor may count the page that it fetches code from, too. */
	return bits[0] & ~UINT64_C(2);
}

static void test_dirty_log(void **state)
{
	const uint64_t written = 1 << 5 | 1 << 6 | 1 << 7;
	struct rig r = rig_open(&kvm_ops, IMAGE(writes));
	struct fail why;

	(void)state;
	mem_dirty_start(&r.vm->mem);
	assert_int_equal(dirty_pages(r.vm), 0);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	assert_int_equal(mem_write(&r.vm->mem, gpa(0x9000), "x", 1), 0);
	assert_int_equal(dirty_pages(r.vm), written | 1 << 9);
	assert_int_equal(dirty_pages(r.vm), 0);
	rig_close(&r);

	/* What the guest wrote before the engine was changed is not forgotten. */
	r = rig_open(&kvm_ops, IMAGE(writes));
	mem_dirty_start(&r.vm->mem);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	assert_int_equal(vm_switch(r.vm, &interp_ops, &why), 0);
	assert_int_equal(dirty_pages(r.vm), written);
	assert_int_equal(vm_switch(r.vm, &kvm_ops, &why), 0);
	assert_int_equal(dirty_pages(r.vm), 0);
	rig_close(&r);
}

/* Writes to every other page of 32 MiB from 16 MiB on: more than a ring holds. Then halts, and on.
 */
#define MANY_PAGES 8192
GUEST(many, ENTER32(many) "\n\
1:	movl $0x1000000, %esi\n\
2:	movl %esi, (%esi)\n\
	addl $0x2000, %esi\n\
	cmpl $0x3000000, %esi\n\
	jb 2b\n\
	movl $0x1000000, %esi\n\
3:	movl %esi, 0x1004(%esi)\n\
	addl $0x2000, %esi\n\
	cmpl $0x3000000, %esi\n\
	jb 3b\n\
	movl %esi, 0x1000004\n\
	hlt\n\
5:6:	hlt" TABLES32(many));

/* How many pages of the large slot were written; the same are clean from now on. */
static unsigned take_many(struct vm *vm)
{
	static uint64_t bits[MANY_PAGES / 64];
	unsigned n = 0;

	memset(bits, 0, sizeof(bits));
	mem_dirty_collect(&vm->mem, mem_find(&vm->mem, gpa(0x1000000)), bits);
	vm->engine->forget(vm->vcpu[0]);
	for (unsigned i = 0; i < MANY_PAGES / 64; i++)
		n += (unsigned)__builtin_popcountll(bits[i]);
	return n;
}

static void dirty_many(const struct engine_ops *engine)
{
	struct rig r = rig_open(engine, IMAGE(many));
	struct fail why;

	assert_int_equal(mem_add(r.vm, gpa(0x1000000), MANY_PAGES * PAGE_SIZE, NULL, false, &why),
			 0);
	mem_dirty_start(&r.vm->mem);
	r.vm->engine->forget(r.vcpu);
	assert_int_equal(take_many(r.vm), 0);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	assert_int_equal(take_many(r.vm), MANY_PAGES);
	assert_int_equal(take_many(r.vm), 0);
	mem_dirty_stop(&r.vm->mem);
	rig_close(&r);
}

static void test_dirty_many(void **state)
{
	(void)state;
	dirty_many(&interp_ops);
	dirty_many(&bt_ops);
	dirty_many(&kvm_ops);
	if (rig_emulated())
		return; /* main() has said why */
	rig_dirty_ring = true;
	dirty_many(&kvm_ops);
	rig_dirty_ring = false;
}

/* Guest memory as --memory makes it: the guest writes into all of it; where it is a file, others
 * see that. */
static void memory_of(enum host_pages kind)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(many));
	struct host_ram ram;
	struct fail why = { 0 };
	uint32_t value;

	if (host_ram_open(&ram, MANY_PAGES * PAGE_SIZE, kind, &why)) {
		printf("skip - memory: %s\n", why.text);
		rig_close(&r);
		return;
	}
	assert_int_equal(mem_add(r.vm, gpa(0x1000000), ram.bytes, ram.at, false, &why), 0);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	for (uint32_t at = 0; at < ram.bytes; at += PAGE_SIZE) {
		uint32_t odd = at & PAGE_SIZE ? 4 : 0, there = 0x1000000 + at;

		memcpy(&value, (uint8_t *)ram.at + at + odd, 4);
		assert_int_equal(value, odd ? there - PAGE_SIZE : there);
	}
	assert_true(ram.fd >= 0 || kind != HOST_PAGES_SHARED);
	if (ram.fd >= 0) {
		assert_int_equal(pread(ram.fd, &value, 4, 0x2000), 4);
		assert_int_equal(value, 0x1002000);
	}
	rig_close(&r);
	host_ram_close(&ram);
}

static void test_memory(void **state)
{
	(void)state;
	memory_of(HOST_PAGES_USUAL);
	memory_of(HOST_PAGES_SHARED);
	memory_of(HOST_PAGES_TRANSPARENT);
	memory_of(HOST_PAGES_RESERVED);
}

/* An interrupt table of no length. */
GUEST(crash, ENTER32(crash) "\n\
	movw $0, 0x4000\n\
	lidtl 0x4000\n\
	ud2\n\
5:6:	hlt" TABLES32(crash));

static void test_crash(void **state)
{
	struct rig r = rig_open(&kvm_ops, IMAGE(crash));

	(void)state;
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_CRASHED);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_CRASHED);
	vm_reset(r.vm);
	rig_close(&r);
}

/* RDTSC, again and again, into memory. */
GUEST(clock, "\n\
	cli\n\
	movw $0x5000, %di\n\
1:	rdtsc\n\
	stosl\n\
	movl %edx, %eax\n\
	stosl\n\
	cmpw $0x7000, %di\n\
	jb 1b\n\
	hlt");

/* The counter never goes back, over any number of changes; and stays with the machine's clock. */
static void test_time(void **state)
{
	struct rig r = rig_open(&interp_ops, IMAGE(clock));
	uint64_t last = 0, now;
	struct fail why = { 0 };

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		rig_run(&r, 50);
		assert_int_equal(vm_switch(r.vm, &kvm_ops, &why), 0);
		kvm_ops.kick(r.vcpu);
		if (i < 19)
			assert_int_equal(vm_switch(r.vm, &interp_ops, &why), 0);
	}
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	for (unsigned at = 0x5000; at < 0x7000; at += 8) {
		memcpy(&now, r.ram + at, 8);
		if (now <= last)
			print_error("at 0x%x: 0x%llx after 0x%llx\n", at, (unsigned long long)now,
				    (unsigned long long)last);
		assert_true(now > last);
		last = now;
	}
	now = vcpu_tsc(r.vcpu);
	assert_in_range(now - last, 0, kvm_host_khz() * 1000); /* within a second */
	rig_close(&r);
}

/* --- Each ioctl fails in turn --- */

static const struct kvm_kernel *real;
static atomic_uint calls, open_files, open_maps; /* from several threads */
static unsigned fail_at;
static unsigned long failed; /* 0: none has */
static bool failed_removal;  /* of a memory slot */
static unsigned routings;    /* so many KVM_SET_GSI_ROUTING */

static int count_open(const char *path)
{
	int fd = real->open(path);

	open_files += fd >= 0;
	return fd;
}

static long count_ioctl(int fd, unsigned long request, unsigned long arg)
{
	long r;

	routings += request == KVM_SET_GSI_ROUTING;
	if (atomic_fetch_add(&calls, 1) + 1 == fail_at) {
		failed = request;
		failed_removal = request == KVM_SET_USER_MEMORY_REGION &&
				 ((struct kvm_userspace_memory_region *)arg)->memory_size == 0;
		return -EIO;
	}
	r = real->ioctl(fd, request, arg);
	open_files += r >= 0 && (request == KVM_CREATE_VM || request == KVM_CREATE_VCPU);
	return r;
}

static void *count_map(int fd, size_t bytes, off_t from)
{
	void *at = atomic_fetch_add(&calls, 1) + 1 == fail_at ? NULL : real->map(fd, bytes, from);

	open_maps += !!at;
	return at;
}

static void count_unmap(void *at, size_t bytes)
{
	open_maps--;
	real->unmap(at, bytes);
}

static void count_close(int fd)
{
	open_files--;
	real->close(fd);
}

static const struct kvm_kernel counting = {
	.open = count_open,
	.ioctl = count_ioctl,
	.map = count_map,
	.unmap = count_unmap,
	.close = count_close,
};

/* Its writes send messages: more than the first go by an eventfd, and one is level-triggered. */
static void sender_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			 uint64_t value)
{
	struct apic_message m = { .vector = 0x41, .assert = true, .level = true };

	(void)region, (void)off, (void)size, (void)value;
	irq_message(dev->vm, &m);
	m = (struct apic_message){ .vector = 0x40, .assert = true };
	for (unsigned i = 0; i < 70; i++)
		irq_message(dev->vm, &m);
}

static uint64_t sender_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	(void)dev, (void)region, (void)off, (void)size;
	return 0;
}

static const struct device_ops sender_ops = {
	.type = "sender",
	.reset = notebook_reset,
	.read = sender_read,
	.write = sender_write,
	.state = notebook_fields,
	.state_version = 1,
};

/* Local APICs, and somebody who sends to the first. */
static int life_devices(struct vm *vm, struct fail *why)
{
	struct lapic_config lapic = { .virtual_wire = true };
	struct device *sender = host_alloc(sizeof(*sender));
	int err = 0;

	device_add(vm, sender, &sender_ops, "sender");
	for (; !err && lapic.apic_id < vm->vcpus; lapic.apic_id++)
		err = lapic_create(vm, lapic.apic_id, &lapic, why);
	return err ? err : device_claim_ports(sender, 0, 0x500, 1, why);
}

static int life(struct vm *vm, struct fail *why)
{
	struct x86_state s;
	int status = 0, err;
	uint8_t *ram;

	err = mem_add(vm, gpa(0), RIG_MEMORY, NULL, false, why);
	if (err)
		return err;
	ram = mem_host(&vm->mem, gpa(0), RIG_MEMORY);
	err = life_devices(vm, why);
	if (err)
		return err;
	memcpy(ram + GUEST_CODE, guest_accesses, (size_t)(guest_accesses_end - guest_accesses));
	vcpu_get_state(vm->vcpu[0], &s);
	s.seg[CS].selector = 0;
	s.seg[CS].base = 0;
	s.rip = GUEST_CODE;
	err = vcpu_set_state(vm->vcpu[0], &s, why);
	if (err)
		return err;
	vm->halt_ends = true;
	if (vm_run(vm, UINT64_MAX, &status, why) == VM_STUCK)
		return status ? status : -EPROTO;
	vcpu_get_state(vm->vcpu[0], &s);
	*why = vm->vcpu[0]->trouble;
	return why->code;
}

static int whole_life(struct fail *why)
{
	static const struct cpu_model *model;
	struct vm_config config = { .engine = &kvm_ops,
				    .vcpus = 2,
				    .tsc_khz = kvm_host_khz(),
				    .no_kvm_services = true, /* these can do without */
				    .engine_options.irqchip = rig_irqchip };
	struct vm *vm;
	int err;

	if (!model)
		model = kvm_cpu_model(why);
	config.cpu = model;
	calls = 0;
	routings = 0;
	vm = vm_open(&config, why);
	err = vm ? life(vm, why) : why->code;
	vm_close(vm);
	return err;
}

/* Asking for an optional capability, or letting go of a slot that goes away anyway; or this life
 * had fewer calls. A message that gets no eventfd goes by a call: of the two routing tables the
 * second. And an instruction that cannot be read counts as one without LOCK. */
static bool bearable(unsigned long request)
{
	return !request || request == KVM_CHECK_EXTENSION || request == KVM_IRQFD ||
	       request == KVM_TRANSLATE || (request == KVM_SET_GSI_ROUTING && routings > 1) ||
	       failed_removal;
}

static void test_every_ioctl_fails(void **state)
{
	struct fail why = { 0 };
	unsigned all;

	(void)state;
	real = kvm_kernel;
	kvm_kernel = &counting;
	fail_at = 0;
	assert_int_equal(whole_life(&why), 0);
	all = calls;
	assert_in_range(all, 40, 1000);
	for (unsigned n = 1; n <= all; n++) {
		int err;

		fail_at = n;
		failed = 0;
		failed_removal = false;
		why = (struct fail){ 0 };
		err = whole_life(&why);
		fail_at = 0;
		if (!err && !bearable(failed))
			print_error("call %u, request 0x%lx: nobody noticed\n", n, failed);
		assert_true(err || bearable(failed));
		if (err)
			assert_in_range(strlen(why.text), 20, sizeof(why.text) - 1);
		assert_int_equal(open_files, 0);
		assert_int_equal(open_maps, 0);
	}
	kvm_kernel = real;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_dirty_many),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_every_ioctl_fails),
	};
	int skip = rig_skip("api");

	if (!skip && rig_emulated())
		puts("skip - dirty rings: this KVM emulates ring 0, and lets them run over");
	return skip ? skip : rig_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
