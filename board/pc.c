/*
 * pc.c - THE machine, in one readable place: every port, address and line is here.
 *
 * It is the PC that remains when everything before 1996 is left out, with the PCI host bridge
 * and ISA bridge that firmware takes for a Q35's. A kernel is entered as a boot loader would
 * enter it, and finds the hardware through ACPI tables (or the MP table); or firmware starts as
 * at power-on, and is told by fw_cfg.
 *
 *	port   20-21, a0-a1, 4d0-4d1   i8259 pair		IRQ 0-15
 *	port   40-43, 61               i8254, speaker		IRQ 0 (IOAPIC input 2)
 *	port   60, 64                  i8042			IRQ 1
 *	port   70-71                   mc146818			IRQ 8
 *	port   92                      system control port A
 *	port   b2-b3                   ACPI enable
 *	port   f4-f7                   debug exit, when asked for
 *	port   3b0-3df                 VGA, when there is a screen
 *	port   3f8-3ff                 ns16550 (COM1)		IRQ 4
 *	port   402                     debug port, when asked for
 *	port   510-511, 514-51b        fw_cfg, with firmware
 *	port   600-60b                 ACPI PM: event, control, timer	IRQ 9
 *	port   cf8-cff                 PCI configuration; reset control (cf9)
 *	port   1000-ffff               PCI BARs
 *	memory 0 - 2 GiB, 4 GiB -      RAM
 *	memory a0000-bffff             VGA, when there is a screen
 *	memory b0000000-bfffffff       PCI configuration (ECAM)
 *	memory c0000000-febfffff       PCI BARs
 *	memory fec00000                IOAPIC
 *	memory fee00000                local APICs
 *	memory - ffffffff              firmware
 *	memory 256 - 512 GiB           PCI BARs, 64-bit
 *	PCI    0.0                     host bridge
 *	PCI    1.0                     virtio-rng		PIRQ E-H: GSI 20-23
 *	PCI    2.0 - 9.0               virtio-blk
 *	PCI    10.0-13.0               virtio-9p, a directory each, when asked for
 *	PCI    14.0                    virtio-console, when asked for
 *	PCI    15.0                    virtio-vsock, when asked for
 *	PCI    16.0 - 23.0             virtio-net, when asked for
 *	PCI    31.0                    ISA bridge
 *
 * SPDX-License-Identifier: MIT
 */
#include "board/pc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/p9.h"
#include "backend/vport.h"
#include "backend/vsock.h"
#include "board/engines.h"
#include "board/firmware.h"
#include "board/network.h"
#include "boot/acpi.h"
#include "boot/boot.h"
#include "boot/map.h"
#include "device/acpi_pm.h"
#include "device/debug_exit.h"
#include "device/debugcon.h"
#include "device/i8042.h"
#include "device/i8254.h"
#include "device/i8259.h"
#include "device/ioapic.h"
#include "device/lapic.h"
#include "device/ich9_lpc.h"
#include "device/mc146818.h"
#include "device/ns16550.h"
#include "device/pci_host.h"
#include "device/reset.h"
#include "device/vga.h"
#include "device/virtio_blk.h"
#include "device/virtio_console.h"
#include "device/virtio_rng.h"
#include "device/virtio_9p.h"
#include "device/virtio_vsock.h"

enum {
	IRQ_TIMER = 0,
	IRQ_KEYBOARD = 1,
	IRQ_COM1 = 4,
	IRQ_RTC = 8,
	IRQ_SCI = 9,
};

enum {
	PORT_PIC_MASTER = 0x20,
	PORT_PIT = 0x40,
	PORT_KBD_DATA = 0x60,
	PORT_SPEAKER = 0x61,
	PORT_KBD_COMMAND = 0x64,
	PORT_RTC = 0x70,
	PORT_SYSTEM_A = 0x92,
	PORT_PIC_SLAVE = 0xa0,
	PORT_SMI_COMMAND = 0xb2,
	PORT_DEBUG_EXIT = 0xf4,
	PORT_VGA = 0x3b0,
	PORT_COM1 = 0x3f8,
	PORT_DEBUGCON = 0x402,
	PORT_ELCR = 0x4d0,
	PORT_FW_CFG = 0x510,
	PORT_PM1_EVENT = 0x600,
	PORT_PM1_CONTROL = 0x604,
	PORT_PM_TIMER = 0x608,
	PORT_PCI_ADDRESS = 0xcf8,
};

/* Device numbers on the PCI bus. */
enum {
	SLOT_RNG = 1,
	SLOT_DISK = 2,
	SLOT_SHARE = 10,
	SLOT_CONSOLE = 14,
	SLOT_VSOCK = 15,
	SLOT_NET = 16,
};

#define DISK_QUEUES 8 /* at most: one a CPU */
/* A counted machine's disk takes this long, whatever the host's does. */
#define DISK_LATENCY_NS UINT64_C(100000)

enum { ACPI_ENABLE_VALUE = 0xf1, ACPI_DISABLE_VALUE = 0xf0, S5_SLP_TYP = 5 };

#define IOAPIC_ID        15 /* not a CPU's while there are fewer than 15 */
#define IOAPIC_VERSION   0x20
#define LAPIC_VERSION    0x14
#define TIMER_IOAPIC_PIN 2
#define RESET_CONTROL    0xcf9
#define RESET_FULL       0x06
#define PIRQ_GSI         16
#define PCI_MEM64        (UINT64_C(256) << 30)
#define PCI_IO           0x1000

/* PIRQA-H, for guests that use the 8259s: what firmware for this chipset chooses. */
static const uint8_t pirq_irq[PCI_PIRQS] = { 10, 10, 11, 11, 10, 10, 11, 11 };

static int add_interrupts(struct pc *pc, struct fail *why)
{
	static const struct i8259_config pic = {
		.id = "pic",
		.master = PORT_PIC_MASTER,
		.slave = PORT_PIC_SLAVE,
		.elcr = PORT_ELCR,
		.elcr_set = {0xf8, 0xde},
		.cascade = 2,
	};
	struct lapic_config lapic = { .virtual_wire = true };
	struct ioapic_config ioapic = {
		.base = { IOAPIC_BASE },
		.id = IOAPIC_ID,
	};
	int err = i8259_create(pc->vm, &pic, why);

	for (unsigned i = 0; !err && i < pc->vm->vcpus; i++) {
		lapic.apic_id = i;
		err = lapic_create(pc->vm, i, &lapic, why);
	}
	for (unsigned gsi = 0; gsi < IRQ_LINES; gsi++)
		ioapic.pin[gsi] = (uint8_t)gsi;
	ioapic.pin[IRQ_TIMER] = TIMER_IOAPIC_PIN;
	ioapic.pin[2] = IOAPIC_NO_PIN; /* the cascade: never a device's */
	return err ? err : ioapic_create(pc->vm, &ioapic, why);
}

static int add_timers(struct pc *pc, struct fail *why)
{
	static const struct i8254_config pit = {
		.id = "pit",
		.ports = PORT_PIT,
		.speaker_port = PORT_SPEAKER,
		.gsi = IRQ_TIMER,
	};
	uint8_t cmos[MC146818_BYTES] = { 0 };
	const struct mc146818_config rtc = {
		.id = "rtc",
		.ports = PORT_RTC,
		.gsi = IRQ_RTC,
		.century = 0x32,
		.ram = cmos,
	};
	int err = i8254_create(pc->vm, &pit, why);

	firmware_cmos(cmos, pc->config.memory, pc->vm->vcpus);
	return err ? err : mc146818_create(pc->vm, &rtc, why);
}

static int add_power(struct pc *pc, struct fail *why)
{
	static const struct acpi_pm_config pm = {
		.id = "acpi",
		.pm1_event = PORT_PM1_EVENT,
		.pm1_control = PORT_PM1_CONTROL,
		.pm_timer = PORT_PM_TIMER,
		.smi_command = PORT_SMI_COMMAND,
		.acpi_enable = ACPI_ENABLE_VALUE,
		.acpi_disable = ACPI_DISABLE_VALUE,
		.s5_type = S5_SLP_TYP,
		.timer_32bit = true,
		.sci_gsi = IRQ_SCI,
	};
	static const struct reset_config reset = {
		.id = "reset",
		.system_port_a = PORT_SYSTEM_A,
	};
	static const struct debug_exit_config debug_exit = {
		.id = "debug-exit",
		.port = PORT_DEBUG_EXIT,
	};
	int err = acpi_pm_create(pc->vm, &pm, &pc->power, why);

	if (!err)
		err = reset_create(pc->vm, &reset, &pc->reset, why);
	if (!err && pc->config.debug_exit)
		err = debug_exit_create(pc->vm, &debug_exit, why);
	return err;
}

static int add_pci(struct pc *pc, struct fail *why)
{
	struct pci_host_config host = {
		.id = "pci",
		.address_port = PORT_PCI_ADDRESS,
		.narrow = pc->reset,
		.ecam = MAP_ECAM,
		.mem32 = {MAP_PCI,    MAP_PCI_END - MAP_PCI},
		.mem64 = { PCI_MEM64, PCI_MEM64            },
		.io_first = PCI_IO,
		.io_last = 0xffff,
	};
	static const struct ich9_lpc_config lpc = {
		.id = "lpc",
		.first_gsi = PIRQ_GSI,
		.pm_base = PORT_PM1_EVENT,
	};
	int err = pci_host_create(pc->vm, &host, &pc->pci, why);

	return err ? err : ich9_lpc_create(pc->pci, &lpc, &pc->lpc, why);
}

static int add_disks(struct pc *pc, struct fail *why)
{
	static const char *const id[PC_DISKS] = { "disk0", "disk1", "disk2", "disk3",
						  "disk4", "disk5", "disk6", "disk7" };
	int err = 0;

	for (unsigned i = 0; !err && i < pc->config.disks; i++) {
		const struct pc_disk *disk = &pc->config.disk[i];
		struct virtio_blk_config config = {
			.id = id[i],
			.devfn = (uint8_t)((SLOT_DISK + i) << 3),
			.disk = disk->blk,
			.serial = disk->serial ? disk->serial : id[i],
			.queues = pc->vm->vcpus < DISK_QUEUES ? pc->vm->vcpus : DISK_QUEUES,
			.latency_ns = pc->config.counted ? DISK_LATENCY_NS : 0,
		};

		err = virtio_blk_create(pc->pci, &config, why);
	}
	return err;
}

/* Everything on the PCI bus has its fixed place, so that guests find it where it was. */
static int add_virtio(struct pc *pc, struct fail *why)
{
	struct virtio_rng_config rng = { .id = "rng", .devfn = SLOT_RNG << 3 };
	int err;

	if (!pc->config.counted)
		host_random(rng.key, sizeof(rng.key));
	err = virtio_rng_create(pc->pci, &rng, why);

	return err ? err : add_disks(pc, why);
}

/* What names this machine among others: its first disk, else what it boots. */
static void identity(const struct pc *pc, char *text, size_t room)
{
	const struct pc_config *c = &pc->config;
	const char *const names[] = { c->identity, c->kernel, c->initrd,
				      c->append,   c->flat,   c->firmware };
	size_t used = 0, count = c->identity && *c->identity ? 1 : sizeof(names) / sizeof(names[0]);

	text[0] = '\0';
	for (unsigned i = 0; i < count && used < room; i++)
		used += (size_t)snprintf(text + used, room - used, "%s|", names[i] ? names[i] : "");
}

static int add_network(struct pc *pc, struct fail *why)
{
	char seed[800];

	if (!pc->config.nets)
		return 0;
	identity(pc, seed, sizeof(seed));
	pc->network = network_open(pc->pci, pc->config.net, pc->config.nets, SLOT_NET, seed, why);
	pc->vm->connected = true;
	return pc->network ? 0 : why->code;
}

static int add_vsock(struct pc *pc, struct fail *why)
{
	struct virtio_vsock_config config = { .id = "vsock", .devfn = SLOT_VSOCK << 3 };
	struct device *dev;
	int err;

	if (!pc->config.vsock)
		return 0;
	pc->vsock = vsock_open(pc->config.vsock, why);
	if (!pc->vsock)
		return why->code;
	pc->vm->connected = true;
	config.cid = vsock_cid(pc->vsock);
	config.backend = vsock_backend(pc->vsock);
	err = virtio_vsock_create(pc->pci, &config, &dev, why);
	return err ? err : vsock_start(pc->vsock, dev, why);
}

static int add_shares(struct pc *pc, struct fail *why)
{
	static const char *const id[PC_SHARES] = { "share0", "share1", "share2", "share3" };
	int err = 0;

	for (unsigned i = 0; !err && i < pc->config.shares; i++) {
		struct virtio_9p_config config = {
			.id = id[i],
			.devfn = (uint8_t)((SLOT_SHARE + i) << 3),
			.latency_ns = pc->config.counted ? DISK_LATENCY_NS : 0,
		};

		pc->share[i] = p9_open(pc->config.share[i], why);
		if (!pc->share[i])
			return why->code;
		config.tag = p9_tag(pc->share[i]);
		config.backend = p9_backend(pc->share[i]);
		err = virtio_9p_create(pc->pci, &config, why);
	}
	return err;
}

static int open_ports(struct pc *pc, struct virtio_console_config *config, struct fail *why)
{
	for (unsigned i = 0; i < pc->config.ports; i++) {
		struct vport *port = pc->port[i] = vport_open(pc->config.port[i], why);

		if (!port)
			return why->code;
		config->port[i + 1] = (struct virtio_console_port){
			.name = vport_name(port),
			.open = vport_is_open(port),
			.backend = vport_backend(port),
		};
	}
	config->ports = 1 + pc->config.ports;
	return 0;
}

static int add_vconsole(struct pc *pc, struct fail *why)
{
	struct virtio_console_config config = {
		.id = "vconsole",
		.devfn = SLOT_CONSOLE << 3,
		.port[0] = {.open = true, .backend = pc->config.hvc},
	};
	int err;

	if (!pc->config.hvc.write && !pc->config.ports)
		return 0;
	err = open_ports(pc, &config, why);
	if (!err)
		err = virtio_console_create(pc->pci, &config, &pc->vconsole, why);
	for (unsigned i = 0; !err && i < pc->config.ports; i++) {
		err = vport_start(pc->port[i], pc->vconsole, i + 1, why);
		pc->vm->connected = true;
	}
	return err;
}

static bool has_screen(const struct pc *pc)
{
	return pc->config.screen || pc->config.firmware;
}

static int add_screen(struct pc *pc, struct fail *why)
{
	struct i8042_config keyboard = {
		.id = "i8042",
		.data_port = PORT_KBD_DATA,
		.command_port = PORT_KBD_COMMAND,
		.gsi = IRQ_KEYBOARD,
		.keyboard = has_screen(pc),
		.backend = pc->config.keys,
	};
	struct vga_config vga = {
		.id = "vga",
		.ports = PORT_VGA,
		.memory = { VGA_MEMORY },
		.backend = pc->config.picture,
	};
	int err = i8042_create(pc->vm, &keyboard, &pc->keyboard, why);

	return err || !has_screen(pc) ? err : vga_create(pc->vm, &vga, &pc->vga, why);
}

static int add_serial(struct pc *pc, struct fail *why)
{
	struct ns16550_config com1 = {
		.id = "uart0",
		.ports = PORT_COM1,
		.gsi = IRQ_COM1,
		.clock_hz = 1843200,
		.out2_gates = true,
		/* Typed-ahead input waits until the guest listens; SeaBIOS does so without RTS. */
		.rts_holds = !pc->config.firmware,
		.backend = pc->config.serial,
	};
	struct debugcon_config debugcon = {
		.id = "debugcon",
		.port = PORT_DEBUGCON,
		.backend = pc->config.debug,
	};
	int err = ns16550_create(pc->vm, &com1, &pc->uart, why);

	return err || !debugcon.backend.write ? err : debugcon_create(pc->vm, &debugcon, why);
}

/* One piece of the host's for all of it; the hole below 640 KiB is a hole there, too. */
static int add_memory(struct pc *pc, struct fail *why)
{
	struct boot_range slot[BOOT_SLOTS_MAX];
	unsigned count = pc->config.memory ? boot_map_slots(slot, pc->config.memory) : 0;
	const uint64_t hole = MAP_HIGH - MAP_LOW_END;
	uint64_t end = 0;
	int err = 0;

	/* It would start, and be killed when the guest has touched as much as there is. */
	if (pc->config.memory > host_memory_bytes())
		return fail(why, -ENOMEM, "the host has no %llu MiB for guest memory",
			    (unsigned long long)(pc->config.memory >> 20));
	for (unsigned i = 0; i < count; i++)
		if (slot[i].start + slot[i].bytes > end)
			end = slot[i].start + slot[i].bytes;
	if (count)
		err = host_ram_open(&pc->ram, end < MAP_HIGH ? end : end - hole, pc->config.pages,
				    why);
	for (unsigned i = 0; !err && i < count; i++) {
		uint64_t at = slot[i].start < MAP_HIGH ? slot[i].start : slot[i].start - hole;

		err = mem_add_ram(pc->vm, gpa(slot[i].start), slot[i].bytes, pc->ram.at + at,
				  pc->config.pages != HOST_PAGES_RESERVED, why);
		if (!err && pc->ram.huge)
			err = mem_expect(pc->vm, gpa(slot[i].start), why);
	}
	return err;
}

static struct acpi_config describe(struct pc *pc)
{
	struct x86_state s;
	struct cpuid_answer id;
	struct acpi_config acpi = {
		.cpus = pc->vm->vcpus,
		.lapic_base = (uint32_t)LAPIC_BASE,
		.lapic_version = LAPIC_VERSION,
		.ioapic_base = (uint32_t)IOAPIC_BASE,
		.ioapic_id = IOAPIC_ID,
		.ioapic_version = IOAPIC_VERSION,
		.timer_gsi = TIMER_IOAPIC_PIN,
		.nmi_lint = 1,
		.sci_irq = IRQ_SCI,
		.pm1a_evt = PORT_PM1_EVENT,
		.pm1a_cnt = PORT_PM1_CONTROL,
		.pm_timer = PORT_PM_TIMER,
		.smi_cmd = PORT_SMI_COMMAND,
		.acpi_enable = ACPI_ENABLE_VALUE,
		.acpi_disable = ACPI_DISABLE_VALUE,
		.s5_slp_typ = S5_SLP_TYP,
		.reset_port = RESET_CONTROL,
		.reset_value = RESET_FULL,
		.ecam = MAP_ECAM,
		.pci_mem = (uint32_t)MAP_PCI,
		.pci_mem_bytes = (uint32_t)(MAP_PCI_END - MAP_PCI),
		.pci_mem64 = PCI_MEM64,
		.pci_mem64_bytes = PCI_MEM64,
		.pci_gsi = PIRQ_GSI,
		.pci_pirq = pci_pirq_of,
		.com1_port = PORT_COM1,
		.com1_irq = IRQ_COM1,
		.rtc_port = PORT_RTC,
		.rtc_irq = IRQ_RTC,
		.kbd_data = PORT_KBD_DATA,
		.kbd_command = PORT_KBD_COMMAND,
		.kbd_irq = IRQ_KEYBOARD,
		.vga = has_screen(pc),
	};

	memcpy(acpi.pci_irq, pirq_irq, sizeof(acpi.pci_irq));
	vcpu_get_state(pc->vm->vcpu[0], &s);
	id = vcpu_cpuid(pc->vm->vcpu[0], &s, 1, 0);
	acpi.cpu_signature = id.eax;
	acpi.cpu_features = id.edx;
	return acpi;
}

static int write_tables(struct pc *pc, struct fail *why)
{
	struct acpi_config acpi = describe(pc);
	int err = acpi_write(&pc->vm->mem, &acpi, &pc->rsdp, why);
	return err ? err : mptable_write(&pc->vm->mem, &acpi, why);
}

/* The firmware's ROM, and what it is told. The processor starts in it by itself. */
static int add_firmware(struct pc *pc, struct fail *why)
{
	struct firmware_config config = {
		.image = pc->config.firmware,
		.memory = pc->config.memory,
		.boot_menu = pc->config.boot_menu,
		.serial = pc->config.serial_screen ? PORT_COM1 : 0,
		.fw_cfg = PORT_FW_CFG,
		.first_disk = SLOT_DISK,
		.disks = pc->config.disks,
	};

	if (!config.image)
		return 0;
	config.acpi = describe(pc);
	pc->firmware = firmware_open(pc->vm, &config, why);
	return pc->firmware ? 0 : why->code;
}

/* Firmware sets them alike on all CPUs; Linux complains when they differ. */
static int set_memory_types(struct vcpu *vcpu, const struct x86_state *like, struct fail *why)
{
	struct x86_state s;

	vcpu_get_state(vcpu, &s);
	s.mtrr_def_type = like->mtrr_def_type;
	memcpy(s.mtrr_fixed, like->mtrr_fixed, sizeof(s.mtrr_fixed));
	memcpy(s.mtrr_base, like->mtrr_base, sizeof(s.mtrr_base));
	memcpy(s.mtrr_mask, like->mtrr_mask, sizeof(s.mtrr_mask));
	return vcpu_set_state(vcpu, &s, why);
}

/* Puts the boot image into memory and the first CPU at its entry. */
static int boot(struct pc *pc, struct fail *why)
{
	struct boot_config config = {
		.kernel = pc->config.kernel,
		.initrd = pc->config.initrd,
		.append = pc->config.append,
		.flat = pc->config.flat,
		.flat_at = pc->config.flat_at,
		.vga = has_screen(pc),
	};
	struct boot_map map;
	struct x86_state bsp, now;
	int err = 0;

	if (pc->firmware)
		return firmware_reset(pc->firmware, &pc->vm->mem, why);
	if (!config.kernel && !config.flat)
		return 0;
	boot_map_build(&map, pc->config.memory);
	config.map = &map;
	ich9_lpc_route(pc->lpc, pirq_irq);
	pci_host_setup(pc->pci, pirq_irq);
	if (pc->config.memory >= MAP_EXTENDED)
		err = write_tables(pc, why);
	config.rsdp = pc->rsdp;
	if (!err)
		err = boot_load(&pc->vm->mem, &config, &bsp, why);
	if (err)
		return err;
	vcpu_get_state(pc->vm->vcpu[0], &now);
	bsp.instructions = now.instructions;
	if (TRACE(pc->vm, boot))
		vm_trace(pc->vm, "boot %s at %x:%llx, rsi %llx",
			 config.kernel ? config.kernel : config.flat, bsp.seg[CS].selector,
			 (unsigned long long)bsp.rip, (unsigned long long)bsp.gpr[RSI]);
	err = vcpu_set_state(pc->vm->vcpu[0], &bsp, why);
	for (unsigned i = 1; !err && i < pc->vm->vcpus; i++)
		err = set_memory_types(pc->vm->vcpu[i], &bsp, why);
	return err;
}

static int boot_again(void *arg, struct fail *why)
{
	return boot(arg, why);
}

static int build(struct pc *pc, struct fail *why)
{
	static int (*const steps[])(struct pc *, struct fail *) = {
		add_memory, add_interrupts, add_timers,   add_power,  add_pci,
		add_virtio, add_network,    add_vsock,    add_shares, add_vconsole,
		add_screen, add_serial,     add_firmware, boot,
	};

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int err = steps[i](pc, why);

		if (err)
			return err;
	}
	return 0;
}

struct pc *pc_open(const struct pc_config *config, struct fail *why)
{
	struct vm_config vm = {
		.engine = config->engine,
		.cpu = config->cpu,
		.vcpus = config->vcpus,
		.counted = config->counted,
		.tsc_khz = config->counted ? 0 : engines_tsc_khz(),
		.slice = config->slice,
		/* It may come to any engine; counted ones, to those only that count. */
		.no_kvm_services = config->no_kvm_services ||
				   (!config->counted && config->vcpus > 1 && !engines_hypercalls()),
		.engine_options = config->engine_options,
		.trace = config->trace,
	};
	struct pc *pc = host_alloc(sizeof(*pc));

	if (!pc) {
		fail(why, -ENOMEM, "no memory for a virtual machine");
		return NULL;
	}
	pc->config = *config;
	pc->vm = vm_open(&vm, why);
	if (!pc->vm || build(pc, why)) {
		pc_close(pc);
		return NULL;
	}
	pc->vm->hooks = config->hooks;
	pc->vm->no_reboot = config->no_reboot;
	if (config->stop_at)
		pc->vm->stop_at = config->stop_at;
	pc->vm->booted = boot_again;
	pc->vm->booted_arg = pc;
	return pc;
}

void pc_close(struct pc *pc)
{
	if (!pc)
		return;
	vsock_close(pc->vsock); /* no more input from here on */
	network_close(pc->network);
	for (unsigned i = 0; i < PC_PORTS; i++)
		vport_stop(pc->port[i]);
	vm_close(pc->vm);
	host_ram_close(&pc->ram);
	for (unsigned i = 0; i < PC_SHARES; i++)
		p9_close(pc->share[i]);
	for (unsigned i = 0; i < PC_PORTS; i++)
		vport_close(pc->port[i]);
	firmware_close(pc->firmware);
	host_free(pc);
}
