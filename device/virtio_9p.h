/*
 * virtio_9p.h - virtio 9P transport: a directory of the host for the guest to mount.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_9P_H
#define DEVICE_VIRTIO_9P_H

#include <stdint.h>

#include "host/fail.h"
#include "machine/p9.h"

struct pci_host;

struct virtio_9p_config {
	const char *id;            /* outlives the device */
	uint8_t devfn;             /* or PCI_ANY_SLOT */
	const char *tag;           /* what the guest mounts: cut to P9_TAG_MOST letters */
	uint64_t latency_ns;       /* as struct virtio_blk_config has it */
	struct p9_backend backend; /* copied; it outlives the device */
};

/* 0; -ENOMEM; what pci_add() says. */
int virtio_9p_create(struct pci_host *host, const struct virtio_9p_config *config,
		     struct fail *why);

#endif
