/*
 * virtio_rng.h - virtio entropy device.
 *
 * Spec: virtio 1.2, 5.4. Tested by test/device/virtio_rng.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_RNG_H
#define DEVICE_VIRTIO_RNG_H

#include "device/pci.h"

struct virtio_rng_config {
	const char *id;
	uint8_t devfn;   /* or PCI_ANY_SLOT */
	uint8_t key[32]; /* where the bytes come from: the host's random source, or a fixed seed for
			  * a machine whose runs repeat */
};

int virtio_rng_create(struct pci_host *host, const struct virtio_rng_config *config,
		      struct fail *why);

#endif
