/*
 * virtio_vsock.h - virtio socket device.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_VSOCK_H
#define DEVICE_VIRTIO_VSOCK_H

#include <stdint.h>

#include "host/fail.h"
#include "machine/vsock.h"

struct device;
struct pci_host;

struct virtio_vsock_config {
	const char *id;               /* outlives the device */
	uint8_t devfn;                /* or PCI_ANY_SLOT */
	uint32_t cid;                 /* the guest's */
	struct vsock_backend backend; /* copied */
};

/* Adds the device; the backend posts to *out (which may be NULL). 0; -ENOMEM; what pci_add() says.
 */
int virtio_vsock_create(struct pci_host *host, const struct virtio_vsock_config *config,
			struct device **out, struct fail *why);

#endif
