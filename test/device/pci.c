/*
 * pci.c - tests of the host bridge, the ISA bridge's interrupt routing and a function with BARs of
 * every kind.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/ich9_lpc.h"
#include "device/pci_host.h"
#include "test/device/harness.h"

#define ECAM   UINT64_C(0xb0000000)
#define WINDOW UINT64_C(0xc0000000)
#define HIGH   (UINT64_C(1) << 38)
#define RAM    UINT64_C(0x100000)

enum { ADDRESS = 0xcf8, DATA = 0xcfc, FIRST_GSI = 16, PIRQA_ROUT = 0x60, PIRQE_ROUT = 0x68 };
enum { DEVFN_A = 1 << 3, DEVFN_B = 2 << 3, LPC = 31 << 3 };
enum { TABLE = 0x800, PBA = 0xc00, VECTORS = 40 };

/* --- A function that remembers what is written to it --- */

struct probe {
	struct pci_function fn;
	uint64_t last; /* region, offset, size and value, mixed */
	uint32_t reg[4];
};

static uint64_t probe_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct probe *p = (struct probe *)dev;
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)(uint8_t)((p->reg[(off + i) / 4 % 4] >> 8 * ((off + i) & 3)) +
					 region)
		     << 8 * i;
	return v;
}

static void probe_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			uint64_t value)
{
	struct probe *p = (struct probe *)dev;

	p->last = (uint64_t)region << 56 | (uint64_t)size << 48 | off << 32 | (uint32_t)value;
	p->reg[off / 4 % 4] = (uint32_t)value;
	pci_intx(&p->fn, value & 1);
	if (value & 2)
		pci_msix_send(&p->fn, (unsigned)(value >> 8 & 63));
	if (value & 4)
		pci_msi_send(&p->fn);
}

static void probe_reset(struct device *dev)
{
	struct probe *p = (struct probe *)dev;

	p->last = 0;
	memset(p->reg, 0, sizeof(p->reg));
	pci_reset(&p->fn);
}

static int probe_loaded(struct device *dev, struct fail *why)
{
	return pci_loaded(&((struct probe *)dev)->fn, why);
}

static const struct field probe_fields[] = { PCI_FIELDS(probe, fn), FIELD(probe, last, 1),
					     FIELD_ARRAY(probe, reg, 1), FIELD_END };

static const struct device_ops probe_ops = {
	.type = "probe",
	.reset = probe_reset,
	.read = probe_read,
	.write = probe_write,
	.state = probe_fields,
	.state_version = 1,
	.loaded = probe_loaded,
};

static struct probe *probe_add(struct pci_host *host, const char *id, uint8_t devfn, int expect)
{
	static const struct pci_identity identity = {
		.vendor = 0x1234,
		.device = 0x5678,
		.subsystem_vendor = 0x9abc,
		.subsystem = 0xdef0,
		.class_code = 0xff0102,
		.revision = 3,
		.pin = 1,
	};
	struct probe *p = host_alloc(sizeof(*p));

	pci_bar(&p->fn, 0, PCI_BAR_MEM32, 0x1000);
	pci_bar(&p->fn, 1, PCI_BAR_IO, 0x20);
	pci_bar(&p->fn, 2, PCI_BAR_MEM64, 0x10000);
	pci_msix(&p->fn, 0, TABLE, PBA, VECTORS);
	pci_msi(&p->fn);
	assert_int_equal(pci_add(host, &p->fn, &probe_ops, id, &identity, devfn, NULL), expect);
	return p;
}

/* --- The machine --- */

static struct pci_host *bridges(struct rig *rig)
{
	struct pci_host_config config = {
		.id = "pci",
		.address_port = ADDRESS,
		.ecam = ECAM,
		.mem32 = {WINDOW, 0x3ec00000},
		.mem64 = { HIGH,  HIGH      },
		.io_first = 0x1000,
		.io_last = 0xffff,
	};
	struct ich9_lpc_config lpc = { .id = "lpc", .first_gsi = FIRST_GSI, .pm_base = 0x600 };
	struct pci_host *host;
	struct device *dev;

	assert_int_equal(mem_add(rig->vm, gpa(0), RAM, NULL, false, NULL), 0);
	assert_int_equal(pci_host_create(rig->vm, &config, &host, NULL), 0);
	assert_int_equal(ich9_lpc_create(host, &lpc, &dev, NULL), 0);
	rig_listen(rig);
	return host;
}

static struct probe *a, *b;

static void build(struct rig *rig)
{
	struct pci_host *host = bridges(rig);

	a = probe_add(host, "a", DEVFN_A, 0);
	b = probe_add(host, "b", DEVFN_B, 0);
}

static uint64_t at(unsigned devfn, unsigned reg)
{
	return ECAM + ((uint64_t)devfn << 12) + reg;
}

static uint32_t cfg(struct rig *rig, unsigned devfn, unsigned reg, unsigned size)
{
	return (uint32_t)rig_read(rig, at(devfn, reg), size);
}

static void set_cfg(struct rig *rig, unsigned devfn, unsigned reg, uint32_t v, unsigned size)
{
	rig_write(rig, at(devfn, reg), v, size);
}

static uint32_t port_cfg(struct rig *rig, unsigned bus, unsigned devfn, unsigned reg, unsigned size)
{
	rig_out(rig, ADDRESS, 0x80000000u | bus << 16 | devfn << 8 | (reg & 0xfc), 4);
	return rig_in(rig, (uint16_t)(DATA + (reg & 3)), size);
}

/* --- Tests --- */

static void test_two_ways_in(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	for (unsigned reg = 0; reg < 256; reg += 4)
		assert_int_equal(port_cfg(&rig, 0, DEVFN_A, reg, 4), cfg(&rig, DEVFN_A, reg, 4));
	assert_int_equal(cfg(&rig, DEVFN_A, 0, 4), 0x56781234);
	assert_int_equal(cfg(&rig, DEVFN_A, 8, 4), 0xff010203);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x2c, 4), 0xdef09abc);
	assert_int_equal(port_cfg(&rig, 0, DEVFN_A, 0x0a, 2), 0xff01);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x09, 1), 0x02);
	assert_int_equal(rig_read(&rig, at(DEVFN_A, 0), 8), UINT64_C(0x0010000056781234));
	assert_int_equal(cfg(&rig, 0, 0, 4), 0x29c08086); /* firmware looks for these */
	assert_int_equal(cfg(&rig, LPC, 0, 4), 0x29188086);
	assert_int_equal(cfg(&rig, LPC, 0x0a, 2), 0x0601);
	/* Nobody there; extended space. */
	assert_int_equal(cfg(&rig, 3 << 3, 0, 4), 0xffffffff);
	assert_int_equal(cfg(&rig, DEVFN_A + 1, 0, 2), 0xffff);
	assert_int_equal(port_cfg(&rig, 1, DEVFN_A, 0, 4), 0xffffffff);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x100, 4), 0);
	assert_int_equal(cfg(&rig, 256 + DEVFN_A, 0, 4), 0xffffffff);
	/* Not enabled, and the address register by itself. */
	rig_out(&rig, ADDRESS, 0x7f000800, 4);
	assert_int_equal(rig_in(&rig, DATA, 4), 0xffffffff);
	assert_int_equal(rig_in(&rig, ADDRESS, 4), 0x00000800);
	rig_out(&rig, ADDRESS, 0x80000803, 4);
	assert_int_equal(rig_in(&rig, ADDRESS, 4), 0x80000800);
	outb(&rig, ADDRESS, 0xff); /* a byte is not for PCI */
	assert_int_equal(rig_in(&rig, ADDRESS, 4), 0x80000800);
	rig_close(&rig);
}

static void test_read_only(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	for (unsigned reg = 0; reg < 0x10; reg += 4)
		if (reg != PCI_COMMAND)
			set_cfg(&rig, DEVFN_A, reg, 0, 4);
	set_cfg(&rig, DEVFN_A, 0x2c, 0, 4);
	set_cfg(&rig, DEVFN_A, 0x34, 0xff, 1);
	set_cfg(&rig, DEVFN_A, 0x3c, 0xffffffff, 4);
	assert_int_equal(cfg(&rig, DEVFN_A, 0, 4), 0x56781234);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x2c, 4), 0xdef09abc);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x3c, 4), 0x000001ff);
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, 0xffffffff, 4);
	assert_int_equal(cfg(&rig, DEVFN_A, PCI_COMMAND, 4), 0x00100547);
	/* ECAM stays where it is; PAM only keeps its value. */
	set_cfg(&rig, 0, 0x60, 0, 4);
	assert_int_equal(cfg(&rig, 0, 0x60, 4), ECAM | 1);
	set_cfg(&rig, 0, 0x90, 0xff, 1);
	assert_int_equal(cfg(&rig, 0, 0x90, 1), 0x33);
	rig_close(&rig);
}

static void test_sizing(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, 7, 2);
	for (unsigned bar = 0; bar < 6; bar++)
		set_cfg(&rig, DEVFN_A, PCI_BAR0 + 4 * bar, 0xffffffff, 4);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x10, 4), 0xfffff000);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x14, 4), 0xffffffe1);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x18, 4), 0xffff000c);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x1c, 4), 0xffffffff);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x20, 4), 0);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x30, 4), 0); /* no ROM */
	/* A byte at a time comes to the same. */
	set_cfg(&rig, DEVFN_A, 0x11, 0x12, 1);
	set_cfg(&rig, DEVFN_A, 0x13, 0xc1, 1);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x10, 4), 0xc1ff1000);
	rig_close(&rig);
}

static void test_relocation(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	set_cfg(&rig, DEVFN_A, 0x10, (uint32_t)WINDOW, 4);
	set_cfg(&rig, DEVFN_A, 0x14, 0x2000, 4);
	set_cfg(&rig, DEVFN_A, 0x18, 0, 4);
	set_cfg(&rig, DEVFN_A, 0x1c, HIGH >> 32, 4);
	assert_int_equal(rig_read(&rig, WINDOW, 4), 0xffffffff); /* not decoded yet */
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(rig_read(&rig, WINDOW, 4), 0);
	assert_int_equal(rig_in(&rig, 0x2000, 4), 0xffffffff);
	rig_write(&rig, WINDOW + 8, 0x100, 4);
	assert_true(a->last == UINT64_C(0x0004000800000100));
	rig_write(&rig, HIGH + 0x1236, 0x300, 2);
	assert_true(a->last == UINT64_C(0x0202123600000300));
	assert_int_equal(rig_read(&rig, HIGH + 0x10000, 4), 0xffffffff);
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, PCI_COMMAND_IO, 2);
	assert_int_equal(rig_read(&rig, WINDOW, 4), 0xffffffff);
	outb(&rig, 0x2001, 0x40);
	assert_true(a->last == UINT64_C(0x0101000100000040));
	/* Moved. */
	set_cfg(&rig, DEVFN_A, 0x14, 0x3000, 4);
	assert_int_equal(inb(&rig, 0x2000), 0xff);
	assert_int_equal(inb(&rig, 0x3000), 0x41);
	/* An access over the end of a BAR is part the device's, part nobody's. */
	assert_int_equal(rig_in(&rig, 0x301e, 4), 0xffff0101);
	rig_close(&rig);
}

/* Wherever a BAR is put: RAM stays RAM, ECAM stays ECAM, and the first of two that overlap answers.
 */
static void test_hostile_places(void **state)
{
	static const uint32_t places[] = { 0,          0x1000,     0xb0000000, 0xb0008000,
					   0xbffff000, 0xfec00000, 0xfee00000, 0xfffff000 };
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	memset(rig.vm->mem.slots->host, 0x77, RAM);
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, 7, 2);
	set_cfg(&rig, DEVFN_B, PCI_COMMAND, 7, 2);
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint8_t byte;

		set_cfg(&rig, DEVFN_A, 0x10, places[i], 4);
		set_cfg(&rig, DEVFN_A, 0x18, places[i], 4);
		set_cfg(&rig, DEVFN_A, 0x1c, i % 2 ? 0xffffffff : 0, 4);
		set_cfg(&rig, DEVFN_A, 0x14, i * 0x400, 4); /* I/O: over the other chips */
		a->last = 0;
		rig_write(&rig, places[i] + 0x10, 0x10, 4);
		outb(&rig, (uint16_t)(i % 4 * 0x400), 0x10);
		assert_true(a->last == 0);
		assert_int_equal(mem_read(&rig.vm->mem, gpa(0x1000), &byte, 1), 0);
		assert_int_equal(byte, 0x77);
		assert_int_equal(cfg(&rig, 0, 0, 4), 0x29c08086);
	}
	set_cfg(&rig, DEVFN_A, 0x10, (uint32_t)WINDOW, 4);
	set_cfg(&rig, DEVFN_B, 0x10, (uint32_t)WINDOW, 4);
	rig_write(&rig, WINDOW, 0x10, 4);
	assert_true(a->last != 0 && b->last == 0);
	set_cfg(&rig, DEVFN_A, 0x10, 0, 4);
	rig_write(&rig, WINDOW, 0x10, 4);
	assert_true(b->last != 0);
	rig_close(&rig);
}

static void test_pins(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(pci_pirq_of(1, 1), 5);
	assert_int_equal(pci_pirq_of(2, 1), 6);
	assert_int_equal(pci_pirq_of(2, 4), 5);
	assert_int_equal(pci_pirq_of(31, 2), 1);
	pci_intx(&a->fn, true);
	assert_int_equal(rig.level[FIRST_GSI + 5], 1);
	assert_int_equal(cfg(&rig, DEVFN_A, PCI_STATUS, 2), 0x18);
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, PCI_COMMAND_INTX_OFF, 2);
	assert_int_equal(rig.level[FIRST_GSI + 5], 0);
	assert_int_equal(cfg(&rig, DEVFN_A, PCI_STATUS, 1), 0x18); /* it still wants to */
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, 0, 2);
	assert_int_equal(rig.level[FIRST_GSI + 5], 1);
	/* Routed to an ISA interrupt, alone and together with another PIRQ. */
	set_cfg(&rig, LPC, PIRQE_ROUT + 1, 10, 1);
	assert_int_equal(rig.level[10], 1);
	set_cfg(&rig, LPC, PIRQE_ROUT + 2, 10, 1);
	pci_intx(&b->fn, true);
	pci_intx(&a->fn, false);
	assert_int_equal(rig.level[FIRST_GSI + 5], 0);
	assert_int_equal(rig.level[10], 1);
	pci_intx(&b->fn, false);
	assert_int_equal(rig.level[10], 0);
	pci_intx(&b->fn, true);
	set_cfg(&rig, LPC, PIRQE_ROUT + 2, 11, 1);
	assert_int_equal(rig.level[10], 0);
	assert_int_equal(rig.level[11], 1);
	set_cfg(&rig, LPC, PIRQE_ROUT + 2, 0x8b, 1); /* not to the 8259s */
	assert_int_equal(rig.level[11], 0);
	assert_int_equal(rig.level[FIRST_GSI + 6], 1);
	set_cfg(&rig, LPC, PIRQE_ROUT + 2, 8, 1); /* the clock's: cannot be chosen */
	assert_int_equal(rig.level[8], 0);
	rig_close(&rig);
}

static void set_entry(struct rig *rig, unsigned n, uint64_t address, uint32_t data,
		      uint32_t control)
{
	uint64_t entry = WINDOW + TABLE + 16 * n;

	rig_write(rig, entry, address, 8);
	rig_write(rig, entry + 8, data, 4);
	rig_write(rig, entry + 12, control, 4);
}

static void test_msix(void **state)
{
	struct rig rig;
	unsigned cap;

	(void)state;
	rig_open(&rig, build);
	cap = a->fn.msix;
	set_cfg(&rig, DEVFN_A, 0x10, (uint32_t)WINDOW, 4);
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, 6, 2);
	assert_int_equal(cfg(&rig, DEVFN_A, cap, 1), PCI_CAP_MSIX);
	assert_int_equal(cfg(&rig, DEVFN_A, cap + 2, 2), VECTORS - 1);
	assert_int_equal(cfg(&rig, DEVFN_A, cap + 4, 4), TABLE);
	assert_int_equal(rig_read(&rig, WINDOW + TABLE + 12, 4), 1); /* masked at power-on */
	set_entry(&rig, 33, 0xfee00000, 0x51, 0);
	pci_msix_send(&a->fn, 33); /* not enabled: lost */
	pci_intx(&a->fn, true);
	set_cfg(&rig, DEVFN_A, cap + 2, 0x8000, 2);
	assert_int_equal(rig.level[FIRST_GSI + 5], 0); /* instead of the pin */
	assert_int_equal(rig.messages[0x51], 0);
	pci_msix_send(&a->fn, 33);
	assert_int_equal(rig.messages[0x51], 1);
	/* Masked: pending, sent once when the mask goes. */
	rig_write(&rig, WINDOW + TABLE + 16 * 33 + 12, 0xffffffff, 4);
	assert_int_equal(rig_read(&rig, WINDOW + TABLE + 16 * 33 + 12, 4), 1);
	pci_msix_send(&a->fn, 33);
	pci_msix_send(&a->fn, 33);
	assert_int_equal(rig_read(&rig, WINDOW + PBA + 4, 4), 2);
	rig_write(&rig, WINDOW + PBA, 0, 8); /* read-only */
	set_cfg(&rig, DEVFN_A, cap + 2, 0xc000, 2);
	rig_write(&rig, WINDOW + TABLE + 16 * 33 + 12, 0, 4);
	assert_int_equal(rig.messages[0x51], 1); /* the function is masked, too */
	set_cfg(&rig, DEVFN_A, cap + 2, 0x8000, 2);
	assert_int_equal(rig.messages[0x51], 2);
	assert_int_equal(rig_read(&rig, WINDOW + PBA, 8), 0);
	pci_msix_send(&a->fn, VECTORS);
	pci_msix_send(&a->fn, PCI_NO_VECTOR);
	/* A message is a write: elsewhere it lands in memory, and without bus mastering nowhere. */
	set_entry(&rig, 0, 0x5000, 0xcafe1234, 0);
	pci_msix_send(&a->fn, 0);
	assert_memory_equal(rig.vm->mem.slots->host + 0x5000, "\x34\x12\xfe\xca", 4);
	set_entry(&rig, 0, UINT64_C(0x1fee00000), 0x51, 0);
	pci_msix_send(&a->fn, 0);
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, 2, 2);
	pci_msix_send(&a->fn, 33);
	assert_int_equal(rig.messages[0x51], 2);
	/* Narrow and misaligned accesses to the table do nothing. */
	rig_write(&rig, WINDOW + TABLE + 8, 0xff, 1);
	assert_int_equal(rig_read(&rig, WINDOW + TABLE + 8, 4), 0x51);
	rig_close(&rig);
}

static void test_msi(void **state)
{
	struct rig rig;
	unsigned cap;

	(void)state;
	rig_open(&rig, build);
	cap = a->fn.msi;
	assert_int_equal(cfg(&rig, DEVFN_A, cap, 1), PCI_CAP_MSI);
	set_cfg(&rig, DEVFN_A, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	set_cfg(&rig, DEVFN_A, cap + 4, 0xfee0000f, 4);
	assert_int_equal(cfg(&rig, DEVFN_A, cap + 4, 4), 0xfee0000c);
	set_cfg(&rig, DEVFN_A, cap + 12, 0x62, 2);
	pci_msi_send(&a->fn);
	assert_int_equal(rig.messages[0x62], 0);
	set_cfg(&rig, DEVFN_A, cap + 2, 0xffff, 2);
	assert_int_equal(cfg(&rig, DEVFN_A, cap + 2, 2), 0x81);
	pci_msi_send(&a->fn);
	assert_int_equal(rig.messages[0x62], 1);
	pci_intx(&a->fn, true);
	assert_int_equal(rig.level[FIRST_GSI + 5], 0);
	rig_close(&rig);
}

static void test_setup(void **state)
{
	static const uint8_t irq[PCI_PIRQS] = { 3, 4, 5, 6, 7, 9, 10, 11 };
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	pci_host_setup(a->fn.host, irq);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x10, 4), WINDOW);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x14, 4), 0x1001);
	assert_int_equal(cfg(&rig, DEVFN_A, 0x18, 4), (WINDOW + 0x10000) | 0xc);
	assert_int_equal(cfg(&rig, DEVFN_B, 0x10, 4), WINDOW + 0x20000);
	assert_int_equal(cfg(&rig, DEVFN_A, PCI_COMMAND, 2), 3);
	assert_int_equal(cfg(&rig, DEVFN_A, PCI_INTERRUPT_LINE, 1), 9);
	assert_int_equal(cfg(&rig, DEVFN_B, PCI_INTERRUPT_LINE, 1), 10);
	rig_write(&rig, WINDOW + 0x20004, 0x10, 4);
	assert_true(b->last != 0);
	vm_reset(rig.vm);
	assert_int_equal(rig_read(&rig, WINDOW, 4), 0xffffffff);
	rig_close(&rig);
}

static void build_many(struct rig *rig)
{
	struct pci_host *host = bridges(rig);

	probe_add(host, "here", DEVFN_A, 0);
	probe_add(host, "taken", DEVFN_A, -EEXIST);
	for (unsigned i = 0; i < 28; i++)
		assert_int_equal(probe_add(host, "any", PCI_ANY_SLOT, 0)->fn.devfn, (i + 2) << 3);
	probe_add(host, "full", PCI_ANY_SLOT, -ENOSPC);
}

static void test_places(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build_many);
	rig_close(&rig);
}

/* Hostile memory accesses; now and then a sensible set-up, so that something answers. */
static uint32_t stir(struct rig *rig, uint64_t random)
{
	static const uint8_t sizes[] = { 1, 2, 4, 8 };
	unsigned size = sizes[random & 3], devfn = random & 4 ? DEVFN_A : DEVFN_B;
	uint64_t to = WINDOW + (random >> 24 & 0x3fff);

	if ((random >> 3 & 31) == 0) {
		set_cfg(rig, devfn, 0x10, (uint32_t)WINDOW + (devfn == DEVFN_A ? 0 : 0x2000), 4);
		set_cfg(rig, devfn, PCI_COMMAND, 7, 2);
		return 0;
	}
	if (random >> 8 & 1)
		to = at(random >> 9 & 1 ? devfn : random >> 9 & 2 ? LPC : 0, random >> 11 & 0xff);
	if (random >> 10 & 1)
		return (uint32_t)rig_read(rig, to, size);
	rig_write(rig, to, random >> 30, size);
	return 0;
}

static void test_fuzz(void **state)
{
	static const struct fuzz fuzz = {
		.build = build,
		.ports = {{ ADDRESS, 8 }, { 0x1000, 0x40 }},
		.rounds = 100,
		.longest_ns = 1000,
		.stir = stir,
		.mostly_stir = true,
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_ways_in),    cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_sizing),         cmocka_unit_test(test_relocation),
		cmocka_unit_test(test_hostile_places), cmocka_unit_test(test_pins),
		cmocka_unit_test(test_msix),           cmocka_unit_test(test_msi),
		cmocka_unit_test(test_setup),          cmocka_unit_test(test_places),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
