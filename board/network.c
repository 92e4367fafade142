/*
 * network.c - the machine's network cards (see network.h).
 *
 * A card's address must stay what it was, or the guest finds another card at its next boot; and
 * must differ from those of other machines on the same network. So it is made from what names this
 * machine on its command line, unless it is given.
 *
 * SPDX-License-Identifier: MIT
 */
#include "board/network.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/net.h"
#include "device/virtio_net.h"
#include "host/host.h"

struct card {
	char id[8]; /* "net0" */
	struct net *net;
};

struct network {
	struct card card[NETWORK_CARDS_MAX];
	unsigned count;
};

static int add_card(struct network *network, struct pci_host *host, const char *words,
		    unsigned slot, const char *seed, struct fail *why)
{
	struct card *c = &network->card[network->count];
	struct virtio_net_config config = { .id = c->id, .devfn = (uint8_t)(slot << 3) };
	struct device *dev;
	struct net_card card;
	int err;

	c->net = net_open(words, why);
	if (!c->net)
		return why->code;
	snprintf(c->id, sizeof(c->id), "net%u", network->count);
	network->count++;
	card = net_card(c->net);
	if (!card.mac_given)
		net_mac_from(seed, c->id, words, card.mac);
	memcpy(config.mac, card.mac, sizeof(config.mac));
	config.mtu = card.mtu;
	config.pairs = card.queues;
	config.backend = net_backend(c->net);
	err = virtio_net_create(host, &config, &dev, why);
	return err ? err : net_start(c->net, dev, why);
}

struct network *network_open(struct pci_host *host, const char *const *words, unsigned count,
			     unsigned slot, const char *seed, struct fail *why)
{
	struct network *network = host_alloc(sizeof(*network));
	struct fail unread;

	if (!why)
		why = &unread;
	if (!network || count > NETWORK_CARDS_MAX) {
		fail(why, network ? -EINVAL : -ENOMEM, "at most %d network cards",
		     NETWORK_CARDS_MAX);
		host_free(network);
		return NULL;
	}
	for (unsigned i = 0; i < count; i++) {
		if (add_card(network, host, words[i], slot + i, seed, why)) {
			network_close(network);
			return NULL;
		}
	}
	return network;
}

void network_close(struct network *network)
{
	if (!network)
		return;
	for (unsigned i = 0; i < network->count; i++)
		net_close(network->card[i].net);
	host_free(network);
}
