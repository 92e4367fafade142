/*
 * network.h - the machine's network cards and what they are plugged into.
 *
 * Tested by test/guest/network.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOARD_NETWORK_H
#define BOARD_NETWORK_H

#include "host/fail.h"

struct pci_host;
struct network;

#define NETWORK_CARDS_MAX 8

/*
 * One card for each of `words` (--net, see backend/net.h), on device numbers `slot` and up. `seed`:
 * what tells this machine from others; addresses are made from it. NULL and *why on failure.
 */
struct network *network_open(struct pci_host *host, const char *const *words, unsigned count,
			     unsigned slot, const char *seed, struct fail *why);
/* Before the machine is closed. NULL is allowed. */
void network_close(struct network *network);

#endif
