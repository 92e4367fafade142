/*
 * virtio_net.h - virtio network device.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_NET_H
#define DEVICE_VIRTIO_NET_H

#include <stdint.h>

#include "host/fail.h"
#include "machine/net.h"

struct device;
struct pci_host;

#define VIRTIO_NET_PAIRS_MAX 8

struct virtio_net_config {
	const char *id; /* "net0"; outlives the device */
	uint8_t devfn;  /* or PCI_ANY_SLOT */
	uint8_t mac[6];
	uint16_t mtu;               /* 0: nothing is said about it */
	unsigned pairs;             /* of queues: 1 .. VIRTIO_NET_PAIRS_MAX */
	struct net_backend backend; /* copied; without send: an unplugged cable */
};

/* Adds the card; the backend posts to *out (which may be NULL). 0; -ENOMEM; what pci_add() says. */
int virtio_net_create(struct pci_host *host, const struct virtio_net_config *config,
		      struct device **out, struct fail *why);

#endif
