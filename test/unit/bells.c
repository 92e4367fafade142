/*
 * bells.c - test of the bell thread with an engine that only keeps what it is told: what rings is
 * heard, by the time of bells_rest() at the latest, and nothing after it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

struct listener {
	struct device dev;
	atomic_uint heard, posted;
	uint64_t off;
};

static void written(struct device *dev, unsigned region, uint64_t off, unsigned size,
		    uint64_t value)
{
	struct listener *l = (struct listener *)dev;

	assert_int_equal(region, 3);
	assert_int_equal(size, 2);
	assert_int_equal(value, 0);
	l->off = off;
	l->heard++;
}

static void input(struct device *dev, const void *data, size_t bytes)
{
	(void)data;
	(void)bytes;
	((struct listener *)dev)->posted++;
}

static void nothing(struct device *dev)
{
	(void)dev;
}

static const struct field fields[] = { FIELD_END };
static const struct device_ops listener_ops = {
	.type = "listener",
	.reset = nothing,
	.write = written,
	.input = input,
	.state = fields,
	.state_version = 1,
};

/* What the engine was told last. */
static int fd = -1, refuse;
static unsigned bells;

static int bell(struct vm *vm, gpa_t at, int which, bool on)
{
	(void)vm;
	assert_true(at.v >= 0xd0000000 && at.v < 0xd0001000);
	if (refuse)
		return -ENOSPC;
	fd = which;
	bells += on ? 1u : -1u;
	return 0;
}

static struct engine_ops engine;

static struct vm *open_vm(bool counted, struct listener **l)
{
	struct fail why;
	struct vm *vm;

	engine = fake_engine_ops;
	engine.bell = bell;
	vm = fake_vm(counted);
	vm->engine = &engine;
	*l = host_alloc(sizeof(**l));
	device_add(vm, &(*l)->dev, &listener_ops, "listener");
	assert_int_equal(device_claim_mmio(&(*l)->dev, 3, gpa(0xd0000000), 0x1000, &why), 0);
	return vm;
}

static void place(struct vm *vm, struct listener *l, uint64_t at, bool on)
{
	host_mutex_lock(vm->lock);
	device_bell(&l->dev, gpa(at), on);
	host_mutex_unlock(vm->lock);
}

static void test_heard(void **state)
{
	struct listener *l;
	struct vm *vm = open_vm(false, &l);

	(void)state;
	place(vm, l, 0xd0000010, true);
	assert_int_equal(bells, 1);
	bells_run(vm);
	host_bell_ring(fd);
	while (!atomic_load(&l->heard)) /* by the thread */
		;
	assert_int_equal(l->off, 0x10);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned before = l->heard;

		bells_run(vm);
		host_bell_ring(fd);
		bells_rest(vm);
		assert_int_equal(l->heard, before + 1);
	}
	place(vm, l, 0xd0000010, false);
	place(vm, l, 0xd0000010, false);
	assert_int_equal(bells, 0);
	vm_close(vm);
	assert_int_equal(bells, 0);
}

static void test_many(void **state)
{
	struct listener *l;
	struct vm *vm = open_vm(false, &l);

	(void)state;
	for (unsigned i = 0; i < BELLS_MOST + 9; i++)
		place(vm, l, 0xd0000000 + 4 * i, true);
	assert_int_equal(bells, BELLS_MOST); /* the others leave the guest */
	bells_detach(vm);
	assert_int_equal(bells, 0);
	bells_attach(vm);
	assert_int_equal(bells, BELLS_MOST);
	bells_run(vm);
	host_bell_ring(fd);
	bells_rest(vm);
	assert_int_equal(l->off, 4 * (BELLS_MOST - 1));
	vm_close(vm);
	assert_int_equal(bells, 0);
}

static void test_none(void **state)
{
	struct listener *l;
	struct vm *vm = open_vm(true, &l);

	(void)state;
	place(vm, l, 0xd0000010, true);
	assert_null(vm->bells); /* counted */
	vm_close(vm);
	vm = open_vm(false, &l);
	refuse = 1;
	place(vm, l, 0xd0000010, true);
	assert_int_equal(bells, 0);
	refuse = 0;
	bells_attach(vm); /* another engine */
	assert_int_equal(bells, 1);
	vm_close(vm);
	assert_int_equal(bells, 0);
}

/* The thread takes what is posted while the engine needs nobody for an interrupt, else the vCPU's.
 */
static void test_posted(void **state)
{
	struct listener *l;
	struct vm *vm = open_vm(false, &l);

	(void)state;
	place(vm, l, 0xd0000010, true);
	atomic_store(&vm->vcpu[0]->notice, false);
	bells_run(vm);
	atomic_store(&vm->hands_free, true);
	device_ring(&l->dev);
	while (atomic_load(&l->posted) < 1)
		;
	assert_int_equal(device_post(&l->dev, "x", 1), 0);
	while (atomic_load(&l->posted) < 2)
		;
	assert_false(atomic_load(&vm->vcpu[0]->notice));
	bells_rest(vm);
	device_ring(&l->dev);
	while (!atomic_load(&vm->vcpu[0]->notice))
		;
	assert_int_equal(l->posted, 2);
	atomic_store(&vm->hands_free, false);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heard),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_posted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
