/*
 * bus.c - tests of claims, look-up and access splitting.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

struct probe {
	struct device dev;
	unsigned reads, writes, region, size;
	uint64_t off, value;
};

static void probe_reset(struct device *dev)
{
	(void)dev;
}

static uint64_t probe_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct probe *p = (struct probe *)dev;

	p->reads++;
	p->region = region;
	p->off = off;
	p->size = size;
	return UINT64_C(0x8877665544332211) + off; /* wider than asked: the bus must cut it */
}

static void probe_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			uint64_t value)
{
	struct probe *p = (struct probe *)dev;

	p->writes++;
	p->region = region;
	p->off = off;
	p->size = size;
	p->value = value;
}

static const struct device_ops probe_ops = {
	.type = "probe",
	.reset = probe_reset,
	.read = probe_read,
	.write = probe_write,
};

static struct probe *add(struct vm *vm, const char *id)
{
	struct probe *p = host_alloc(sizeof(*p));

	device_add(vm, &p->dev, &probe_ops, id);
	return p;
}

static uint64_t in(struct vm *vm, uint16_t port, unsigned size)
{
	struct io_access io = { .addr = port, .size = (uint8_t)size };

	bus_access(vm, &vm->port, &io);
	return io.data;
}

static void out(struct vm *vm, uint16_t port, unsigned size, uint64_t value)
{
	struct io_access io = { .addr = port, .size = (uint8_t)size, .write = true, .data = value };

	bus_access(vm, &vm->port, &io);
}

static void test_unclaimed_reads_ones(void **state)
{
	struct vm *vm = fake_vm(true);

	(void)state;
	assert_int_equal(in(vm, 0x80, 1), 0xff);
	assert_int_equal(in(vm, 0x80, 2), 0xffff);
	assert_int_equal(in(vm, 0xffff, 4), 0xffffffff);
	out(vm, 0x80, 4, 1);
	vm_close(vm);
}

static void test_access_reaches_the_claimer(void **state)
{
	struct vm *vm = fake_vm(true);
	struct probe *p = add(vm, "p"), *q = add(vm, "q");
	struct fail why;

	(void)state;
	assert_int_equal(device_claim_ports(&p->dev, 7, 0x100, 8, &why), 0);
	assert_int_equal(device_claim_ports(&q->dev, 9, 0x108, 8, &why), 0);
	assert_int_equal(in(vm, 0x103, 2), 0x2214);
	assert_int_equal(p->region, 7);
	assert_int_equal(p->off, 3);
	assert_int_equal(p->size, 2);
	out(vm, 0x10f, 1, 0xabcd);
	assert_int_equal(q->writes, 1);
	assert_int_equal(q->off, 7);
	assert_int_equal(q->value, 0xcd);
	vm_close(vm);
}

static void test_straddling_access_is_split(void **state)
{
	struct vm *vm = fake_vm(true);
	struct probe *p = add(vm, "p"), *q = add(vm, "q");
	struct fail why;

	(void)state;
	assert_int_equal(device_claim_ports(&p->dev, 0, 0x100, 8, &why), 0);
	assert_int_equal(device_claim_ports(&q->dev, 0, 0x108, 1, &why), 0);
	/* bytes 0x106, 0x107 of p; 0x108 of q; 0x109 of nobody */
	assert_int_equal(in(vm, 0x106, 4), 0xff111817);
	assert_int_equal(p->reads, 2);
	assert_int_equal(q->reads, 1);
	out(vm, 0x106, 4, 0x44332211);
	assert_int_equal(p->value, 0x22);
	assert_int_equal(q->value, 0x33);
	vm_close(vm);
}

static void test_range_inside_an_access_is_reached(void **state)
{
	struct vm *vm = fake_vm(true);
	struct probe *p = add(vm, "p");
	struct fail why;

	(void)state;
	assert_int_equal(device_claim_ports(&p->dev, 0, 0x92, 1, &why), 0);
	assert_int_equal(in(vm, 0x91, 4), 0xffff11ff);
	out(vm, 0x90, 4, 0x44332211);
	assert_int_equal(p->writes, 1);
	assert_int_equal(p->value, 0x33);
	vm_close(vm);
}

static void test_claims_may_not_overlap(void **state)
{
	struct vm *vm = fake_vm(true);
	struct probe *p = add(vm, "p");
	struct fail why;

	(void)state;
	assert_int_equal(device_claim_ports(&p->dev, 0, 0x100, 8, &why), 0);
	assert_int_equal(device_claim_ports(&p->dev, 0, 0x107, 1, &why), -EEXIST);
	assert_int_equal(device_claim_ports(&p->dev, 0, 0xf0, 0x11, &why), -EEXIST);
	assert_int_equal(device_claim_ports(&p->dev, 0, 0x102, 0, &why), -EINVAL);
	assert_int_equal(device_claim_ports(&p->dev, 0, 0xff, 1, &why), 0);
	assert_int_equal(device_claim_mmio(&p->dev, 0, gpa(UINT64_MAX - 7), 16, &why), -EINVAL);
	vm_close(vm);
}

static void test_many_claims_stay_sorted(void **state)
{
	struct vm *vm = fake_vm(true);
	struct probe *p = add(vm, "p");
	struct fail why;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		unsigned slot = i * 77 % 200;

		assert_int_equal(device_claim_ports(&p->dev, slot, (uint16_t)(slot * 16), 8, &why),
				 0);
	}
	for (unsigned i = 0; i < 200; i++) {
		in(vm, (uint16_t)(i * 16 + 5), 1);
		assert_int_equal(p->region, i);
		assert_null(bus_find(&vm->port, i * 16 + 8));
	}
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unclaimed_reads_ones),
		cmocka_unit_test(test_access_reaches_the_claimer),
		cmocka_unit_test(test_straddling_access_is_split),
		cmocka_unit_test(test_range_inside_an_access_is_reached),
		cmocka_unit_test(test_claims_may_not_overlap),
		cmocka_unit_test(test_many_claims_stay_sorted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
