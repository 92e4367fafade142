/*
 * rig.h - a machine for short guests on any engine: memory, ROM, the interrupt controllers, the
 * timer, and a device that writes down every access.
 *
 * Where /dev/kvm is not usable each test says why and is skipped.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_RIG_RIG_H
#define TEST_RIG_RIG_H

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/i8254.h"
#include "device/i8259.h"
#include "device/ioapic.h"
#include "device/lapic.h"
#include "engine/interp/engine_interp.h"
#include "engine/kvm/engine_kvm.h"
#include "engine/kvm/kvm.h"
#include "test/cmocka.h"
#include "test/rig/guests.h"

/* Of engine kvm in what follows; each test runs with each. */
static enum irqchip rig_irqchip = IRQCHIP_USER;
static bool rig_dirty_ring;
static unsigned rig_cpus = 1; /* of the machines that rig_open() makes */

#define RIG_MEMORY UINT64_C(0x80000)
#define RIG_NOTES  4096

struct note {
	unsigned region, size;
	uint64_t off, value;
	bool write;
};

/* Ports 500h-50fh and memory d0000h-d1fffh. A read tells where it was. */
struct notebook {
	struct device dev;
	struct note note[RIG_NOTES];
	unsigned count;
	void (*hook)(struct notebook *n, const struct note *note); /* on each write */
};

static inline struct note *rig_note(struct device *dev)
{
	struct notebook *n = (struct notebook *)dev;

	return &n->note[n->count < RIG_NOTES - 1 ? n->count++ : RIG_NOTES - 1];
}

static inline uint64_t notebook_read(struct device *dev, unsigned region, uint64_t off,
				     unsigned size)
{
	uint64_t value =
		(UINT64_C(0x0807060504030201) + off * 0x0101) & (UINT64_MAX >> (64 - 8 * size));

	*rig_note(dev) = (struct note){ region, size, off, value, false };
	return value;
}

static inline void notebook_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
				  uint64_t value)
{
	struct notebook *n = (struct notebook *)dev;
	struct note *note = rig_note(dev);

	*note = (struct note){ region, size, off, value, true };
	if (n->hook)
		n->hook(n, note);
}

static inline void notebook_reset(struct device *dev)
{
	(void)dev;
}

static const struct field notebook_fields[] = { FIELD_END };
static const struct device_ops notebook_ops = {
	.type = "notebook",
	.reset = notebook_reset,
	.read = notebook_read,
	.write = notebook_write,
	.state = notebook_fields,
	.state_version = 1,
};

struct rig {
	struct vm *vm;
	struct vcpu *vcpu;
	struct notebook *notes;
	uint8_t *ram;
};

static inline void rig_devices(struct rig *r)
{
	static const struct i8259_config pic = {
		.id = "pic",
		.master = 0x20,
		.slave = 0xa0,
		.elcr = 0x4d0,
		.elcr_set = {0xf8, 0xde},
		.cascade = 2
	};
	struct lapic_config lapic = { .virtual_wire = true };
	static const struct i8254_config pit = { .id = "pit", .ports = 0x40, .speaker_port = 0x61 };
	struct fail why;

	assert_int_equal(i8259_create(r->vm, &pic, &why), 0);
	for (; lapic.apic_id < rig_cpus; lapic.apic_id++)
		assert_int_equal(lapic_create(r->vm, lapic.apic_id, &lapic, &why), 0);
	assert_int_equal(i8254_create(r->vm, &pit, &why), 0);
	r->notes = host_alloc(sizeof(*r->notes));
	device_add(r->vm, &r->notes->dev, &notebook_ops, "notes");
	assert_int_equal(device_claim_ports(&r->notes->dev, 0, 0x500, 16, &why), 0);
	assert_int_equal(device_claim_mmio(&r->notes->dev, 1, gpa(0xd0000), 0x2000, &why), 0);
}

/* The CPU model is the best that KVM can show, whatever the engine. */
static inline struct rig rig_open(const struct engine_ops *engine, const struct guest_image *g)
{
	static uint8_t rom[4096] __attribute__((aligned(4096)));
	struct fail why = { 0 };
	struct vm_config config = {
		.engine = engine,
		.cpu = kvm_cpu_model(&why),
		.vcpus = rig_cpus,
		.tsc_khz = kvm_host_khz(),
		.engine_options = {.irqchip = rig_irqchip, .dirty_ring = rig_dirty_ring},
	};
	struct rig r = { .vm = vm_open(&config, &why) };
	struct x86_state s;

	if (!r.vm)
		print_error("%s\n", why.text);
	assert_non_null(r.vm);
	r.vm->bhi_control = false; /* so that CPUID is the same on all */
	r.vcpu = r.vm->vcpu[0];
	memset(rom, 0xaa, sizeof(rom));
	assert_int_equal(mem_add(r.vm, gpa(0), RIG_MEMORY, NULL, false, &why), 0);
	assert_int_equal(mem_add(r.vm, gpa(0xe0000), sizeof(rom), rom, true, &why), 0);
	r.ram = mem_host(&r.vm->mem, gpa(0), RIG_MEMORY);
	rig_devices(&r);
	r.vm->halt_ends = true;
	r.vm->no_reboot = true;
	memcpy(r.ram + GUEST_CODE, g->code, (size_t)(g->end - g->code));
	vcpu_get_state(r.vcpu, &s);
	s.seg[CS].selector = 0;
	s.seg[CS].base = 0;
	s.rip = GUEST_CODE;
	s.gpr[RSP] = 0x3000;
	assert_int_equal(vcpu_set_state(r.vcpu, &s, &why), 0);
	return r;
}

static inline void rig_close(struct rig *r)
{
	vm_close(r->vm);
}

static inline enum vm_request rig_run(struct rig *r, uint64_t instructions)
{
	struct fail why = { 0, "" };
	int status = 0;
	enum vm_request end = vm_run(r->vm, instructions, &status, &why);

	if (end == VM_STUCK) {
		print_error("stuck: %s\n", why.text);
		vcpu_dump(r->vcpu);
	}
	return end;
}

/* Why no guest can run on KVM here; NULL: it can. */
static inline const char *rig_no_kvm(void)
{
	static struct fail why;

	return kvm_ops.probe(&why) < 0 ? why.text : NULL;
}

/* A KVM under which ring 0 is emulated: some of what follows is beyond it. */
static inline bool rig_emulated(void)
{
	struct fail why = { 0 };

	return kvm_ops.probe(&why) == ENGINE_SLOW && strstr(why.text, "emulated");
}

/* A KVM on QEMU's software processor, which is not exact in everything. */
static inline bool rig_in_qemu(void)
{
	unsigned eax, ebx = 0, ecx = 0, edx;

	__cpuid(0x40000000, eax, ebx, ecx, edx);
	(void)eax;
	(void)edx;
	return ebx == 0x54474354 && ecx == 0x43544743; /* "TCGTCGTCGTCG" */
}

/* A KVM on Bochs' software processor: test/rig/bochs says so. */
static inline bool rig_in_bochs(void)
{
	const char *in = getenv("RIG_IN");

	return in && strcmp(in, "bochs") == 0;
}

/* For main(): 77 after saying why, or 0. */
static inline int rig_skip(const char *name)
{
	const char *why = rig_no_kvm();

	if (!why)
		return 0;
	printf("skip - %s: %s\n", name, why);
	return 77;
}

/* The group once with the machine's own local APIC, once with KVM's. */
static inline int rig_tests(const struct CMUnitTest *tests, size_t count)
{
	int failed = 0;

	for (rig_irqchip = IRQCHIP_USER; rig_irqchip <= IRQCHIP_SPLIT; rig_irqchip++) {
		print_message("irqchip %s\n", rig_irqchip == IRQCHIP_USER ? "user" : "split");
		failed += _cmocka_run_group_tests("rig", tests, count, NULL, NULL);
	}
	return failed;
}

/* The first field that differs, or NULL. The counter runs, and who counts instructions, knows. */
static inline const char *rig_difference(const struct x86_state *a, const struct x86_state *b,
					 bool counts)
{
	for (const struct field *f = x86_state_fields; f->name; f++) {
		if (strcmp(f->name, "tsc_offset") == 0 ||
		    (!counts && strcmp(f->name, "instructions") == 0))
			continue;
		for (uint32_t i = 0; i < f->count; i++) {
			const void *x = (const uint8_t *)a + f->offset + i * f->stride;
			const void *y = (const uint8_t *)b + f->offset + i * f->stride;

			if (memcmp(x, y, f->width))
				return f->name;
		}
	}
	return NULL;
}

#endif
