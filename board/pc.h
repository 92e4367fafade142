/*
 * pc.h - THE machine: a small PC, as its owner opens it.
 *
 * Spec of the parts: their headers. Tested by test/guest and by the kernel boot.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOARD_PC_H
#define BOARD_PC_H

#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"
#include "host/host.h"
#include "device/vga.h"
#include "machine/backend.h"
#include "machine/blk.h"
#include "machine/vconsole.h"
#include "machine/vm.h"

#define PC_FLAT_DEFAULT UINT64_C(0x7c00)
#define PC_DISKS        8
#define PC_SHARES       4
#define PC_PORTS        (VCONSOLE_PORTS_MAX - 1)

/* An open disk: its owner closes it after pc_close(). */
struct pc_disk {
	struct blk *blk;
	const char *serial; /* what the guest reads as its serial number; NULL: disk0, disk1, ... */
};

/* Strings are borrowed until pc_close(): a reset reads the boot files again. */
struct pc_config {
	const struct engine_ops *engine;
	const struct cpu_model *cpu; /* NULL: the best the engine can show */
	uint64_t memory;             /* bytes, whole pages; 0: none yet, the owner adds it */
	enum host_pages pages;       /* that it is made of */
	unsigned vcpus;
	const char *kernel, *initrd, *append;
	const char *flat;
	uint64_t flat_at;
	const char *firmware; /* BIOS image; none of these three: the owner loads something */
	bool boot_menu;       /* the firmware offers it */
	bool serial_screen;   /* the firmware shows its screen on COM1, too */
	bool screen;          /* VGA and a keyboard; firmware has them always */
	bool counted, no_reboot, debug_exit;
	uint64_t slice, stop_at;
	bool no_kvm_services; /* vm.h: an engine is planned that cannot hand on hypercalls */
	struct engine_options engine_options;
	unsigned trace;
	struct pc_disk disk[PC_DISKS];
	unsigned disks;
	const char *const *net; /* `nets` cards: backend/net.h */
	unsigned nets;
	const char *identity; /* a name that this machine alone has: its first disk's; or NULL */
	const char *vsock;    /* backend/vsock.h; NULL: none */
	const char *const *share; /* `shares` directories: backend/p9.h */
	unsigned shares;
	const char *const *port; /* `ports` named ports of the virtio console: backend/vport.h */
	unsigned ports;
	struct vconsole_backend hvc; /* what its console is connected to; not set: nothing */
	struct char_backend serial; /* what COM1 is connected to */
	struct char_backend debug;  /* what firmware prints; not set: no debug port */
	struct char_backend keys;   /* who types: device/i8042.h */
	struct vga_backend picture; /* who looks */
	struct vm_hooks hooks;
};

struct pci_host;

struct pc {
	struct vm *vm;
	struct device *uart;
	struct pci_host *pci;
	struct device *lpc, *reset;
	struct device *keyboard; /* takes struct ps2_event */
	struct device *vga;      /* NULL: none */
	struct device *vconsole; /* takes struct vconsole_input; NULL: none */
	struct device *power;    /* takes ACPI_PM_POWER_BUTTON as input */
	struct firmware *firmware;
	struct network *network;
	struct vsock *vsock;
	struct p9 *share[PC_SHARES];
	struct vport *port[PC_PORTS];
	struct pc_config config;
	struct host_ram ram;
	uint64_t rsdp;
};

/* Builds the machine and loads what it boots; NULL and *why on failure. */
struct pc *pc_open(const struct pc_config *config, struct fail *why);
void pc_close(struct pc *pc);

#endif
