/*
 * virtio_blk.h - virtio block device.
 *
 * Spec: virtio 1.2, 5.2. Tested by test/device/virtio_blk.c and test/guest/disk.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_BLK_H
#define DEVICE_VIRTIO_BLK_H

#include "device/pci.h"
#include "machine/blk.h"

#define VIRTIO_BLK_SERIAL 20 /* bytes, padded with zeros */

struct virtio_blk_config {
	const char *id;     /* outlives the device */
	uint8_t devfn;      /* or PCI_ANY_SLOT */
	struct blk *disk;   /* outlives the device */
	const char *serial; /* cut to VIRTIO_BLK_SERIAL bytes */
	unsigned queues;    /* 1 .. VIRTIO_QUEUES_MAX */
	/* Virtual ns from a request to its completion. Then the host's work is done, and waited
	 * for, when virtual time says that it is complete, so that runs repeat exactly. 0: it is
	 * done beside the guest, and complete when the host says so. */
	uint64_t latency_ns;
};

int virtio_blk_create(struct pci_host *host, const struct virtio_blk_config *config,
		      struct fail *why);

#endif
