/*
 * exits.c - test of the KVM engine on this host's /dev/kvm: short guests end as they do on the
 * interpreter, and their devices see the same accesses; the same when the engine is
 * changed in the middle, at every instruction.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/rig/rig.h"

/* Why a guest's end cannot be compared here, or NULL. */
static const char *beyond(const struct guest_image *g)
{
	if (g->emulated && rig_emulated())
		return g->emulated;
	if (rig_in_bochs() && strcmp(g->name, "exceptions") == 0)
		return "a single step comes early after an exit";
	return g->in_qemu && rig_in_qemu() ? g->in_qemu : NULL;
}

static void tell_skips(void)
{
	for (size_t i = 0; i < GUEST_IMAGES; i++)
		if (beyond(&guest_images[i]))
			printf("skip - %s: this KVM %s: %s\n", guest_images[i].name,
			       rig_emulated()   ? "emulates ring 0"
			       : rig_in_bochs() ? "runs inside Bochs"
						: "runs inside QEMU",
			       beyond(&guest_images[i]));
}

/* What "unusable" leaves of a segment is the engine's own affair; and AMD's processors do not say
 * which of the two instructions casts a shadow. */
static void level(struct x86_state *s)
{
	struct x86_seg *seg[] = { &s->seg[ES], &s->seg[DS], &s->seg[FS], &s->seg[GS], &s->ldtr };

	s->shadow = s->shadow ? SHADOW_STI : 0;
	if (rig_in_qemu() ||
	    rig_in_bochs()) /* which keep no pointers of the last x87 instruction */
		s->fpu.fop = 0, s->fpu.fip = s->fpu.fdp = 0;
	for (unsigned i = 0; i < 5; i++)
		if (seg[i]->attr & SEG_UNUSABLE)
			*seg[i] = (struct x86_seg){ .attr = SEG_UNUSABLE,
						    .selector = seg[i]->selector };
}

/* All of the local APICs but the timer's count. */
static void compare_apics(struct rig *a, struct rig *b, const char *what, unsigned n)
{
	struct apic_state x, y;

	a->vcpu->intc->lend(a->vcpu->intc_arg, &x);
	b->vcpu->intc->lend(b->vcpu->intc_arg, &y);
	a->vcpu->intc->back(a->vcpu->intc_arg, &x);
	b->vcpu->intc->back(b->vcpu->intc_arg, &y);
	assert_int_equal(x.base, y.base);
	assert_int_equal(x.deadline, y.deadline);
	for (unsigned i = 0; i < 64; i++) {
		if (i == 0x39 || x.reg[i] == y.reg[i])
			continue;
		print_error("%s, step %u: local APIC register 0x%x is 0x%x on the interpreter, "
			    "then 0x%x\n",
			    what, n, i, (unsigned)x.reg[i], (unsigned)y.reg[i]);
		assert_true(false);
	}
}

static void compare(struct rig *a, struct rig *b, const char *what, unsigned n)
{
	struct x86_state x, y;
	const char *field;

	for (uint64_t i = memcmp(a->ram, b->ram, RIG_MEMORY) ? 0 : RIG_MEMORY; i < RIG_MEMORY;
	     i++) {
		if (a->ram[i] == b->ram[i])
			continue;
		print_error("%s, step %u: byte 0x%llx is 0x%02x on the interpreter, then 0x%02x\n",
			    what, n, (unsigned long long)i, a->ram[i], b->ram[i]);
		assert_true(false);
	}
	for (unsigned i = 0; i < a->notes->count || i < b->notes->count; i++) {
		const struct note *p = &a->notes->note[i], *q = &b->notes->note[i];

		if (memcmp(p, q, sizeof(*p)) == 0)
			continue;
		print_error("%s, step %u: access %u: %s 0x%llx size %u = 0x%llx, then %s 0x%llx "
			    "size %u = 0x%llx\n",
			    what, n, i, p->write ? "write" : "read", (unsigned long long)p->off,
			    p->size, (unsigned long long)p->value, q->write ? "write" : "read",
			    (unsigned long long)q->off, q->size, (unsigned long long)q->value);
		assert_true(false);
	}
	vcpu_get_state(a->vcpu, &x);
	vcpu_get_state(b->vcpu, &y);
	level(&x);
	level(&y);
	field = rig_difference(&x, &y, false);
	if (field)
		print_error("%s, step %u: %s differs\n", what, n, field);
	assert_null(field);
	compare_apics(a, b, what, n);
}

static struct rig on_interp(const struct guest_image *g)
{
	struct rig r = rig_open(&interp_ops, g);

	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	return r;
}

static void test_same_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < GUEST_IMAGES; i++) {
		const struct guest_image *g = &guest_images[i];
		struct rig a, b;

		if (beyond(g))
			continue;
		a = on_interp(g);
		b = rig_open(&kvm_ops, g);
		assert_int_equal(rig_run(&b, UINT64_MAX), VM_HALTED);
		compare(&a, &b, g->name, 0);
		rig_close(&a);
		rig_close(&b);
	}
}

static void switch_at(const struct guest_image *g, struct rig *expected, uint64_t n)
{
	struct rig r = rig_open(&interp_ops, g);
	struct x86_state before, after;
	struct fail why = { 0 };
	const char *field;

	assert_int_equal(rig_run(&r, n), VM_NONE);
	vcpu_get_state(r.vcpu, &before);
	if (vm_switch(r.vm, &kvm_ops, &why))
		print_error("%s, step %u: %s\n", g->name, (unsigned)n, why.text);
	assert_string_equal(why.text, "");
	vcpu_get_state(r.vcpu, &after);
	level(&before);
	level(&after);
	field = rig_difference(&before, &after, true);
	if (field)
		print_error("%s, step %u: %s did not survive\n", g->name, (unsigned)n, field);
	assert_null(field);
	/* Back and forth, then to the end on the processor. */
	assert_int_equal(vm_switch(r.vm, &interp_ops, &why), 0);
	rig_run(&r, 1);
	assert_int_equal(vm_switch(r.vm, &kvm_ops, &why), 0);
	assert_int_equal(rig_run(&r, UINT64_MAX), VM_HALTED);
	compare(expected, &r, g->name, (unsigned)n);
	rig_close(&r);
}

/* Each such instruction of a guest's: all of them once; where nothing of this kind changes, some.
 * RIG_POINTS: so many at most, where all is slow. */
static uint64_t stride(uint64_t count)
{
	const char *points = getenv("RIG_POINTS");

	if (points && atoi(points) > 0)
		return count / (unsigned)atoi(points) + 1;
	if (rig_irqchip != IRQCHIP_USER)
		return count / 10 + 1;
	return count < 100 ? 1 : count / 50;
}

static void test_switch_at_every_instruction(void **state)
{
	(void)state;
	for (size_t i = 0; i < GUEST_IMAGES; i++) {
		const struct guest_image *g = &guest_images[i];
		struct rig expected;
		uint64_t count;

		if (beyond(g))
			continue;
		expected = on_interp(g);
		count = *expected.vcpu->retired;
		for (uint64_t n = 1; n + 1 < count; n += stride(count))
			switch_at(g, &expected, n);
		rig_close(&expected);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_end),
		cmocka_unit_test(test_switch_at_every_instruction),
	};
	int skip = rig_skip("exits");

	if (!skip)
		tell_skips();
	return skip ? skip : rig_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
