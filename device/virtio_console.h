/*
 * virtio_console.h - virtio console device.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_CONSOLE_H
#define DEVICE_VIRTIO_CONSOLE_H

#include <stdint.h>

#include "host/fail.h"
#include "machine/vconsole.h"

struct device;
struct pci_host;

struct virtio_console_port {
	const char *name; /* what the guest knows it by; outlives the device. NULL: none */
	bool open;        /* somebody is at the host's end from the start */
	struct vconsole_backend backend; /* copied; write: NULL: there is no such port */
};

struct virtio_console_config {
	const char *id;                                      /* outlives the device */
	uint8_t devfn;                                       /* or PCI_ANY_SLOT */
	struct virtio_console_port port[VCONSOLE_PORTS_MAX]; /* 0: the console */
	unsigned ports;                                      /* 1 .. VCONSOLE_PORTS_MAX */
};

/* Adds the device; backends post struct vconsole_input to *out (which may be NULL). 0; -ENOMEM;
 * what pci_add() says. */
int virtio_console_create(struct pci_host *host, const struct virtio_console_config *config,
			  struct device **out, struct fail *why);

#endif
