/*
 * net.h - what a virtual network card is plugged into on the host, by name.
 *
 *	user[,forward=PROTO:[ADDRESS:]PORT:[ADDRESS:]PORT]...  the user's own network, without
 *privilege tap:NAME                                              a tap interface of the host
 *	switch:SOCKET                                         other virtual machines
 *
 * The seam to the device is machine/net.h. Spec of the words: docs/trapeze.1.
 * Tested by test/unit/net.c, test/guest/network.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_NET_H
#define BACKEND_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"
#include "machine/net.h"

struct device;
struct net;

#define NET_QUEUES_MAX 8

/* What every kind of network takes: ,mac=... ,mtu=... ,queues=... */
struct net_card {
	uint8_t mac[6];
	bool mac_given;
	uint16_t mtu;    /* 0: nothing is said to the guest */
	unsigned queues; /* pairs */
};

/* Checks `text` and opens what it names. NULL and *why: -EINVAL: the text; else the host's. */
struct net *net_open(const char *text, struct fail *why);
/* Checks the text only. */
int net_check(const char *text, struct fail *why);
struct net_card net_card(const struct net *net);
struct net_backend net_backend(struct net *net);
/* Frames go to `dev` from here on. */
int net_start(struct net *net, struct device *dev, struct fail *why);
/* Joins the threads; call before the device is gone. NULL is allowed. */
void net_close(struct net *net);

/* A locally administered address: the same for card `id` of the machine that `machine` names,
 * plugged into the same, whatever options follow that in `words`. */
void net_mac_from(const char *machine, const char *id, const char *words, uint8_t mac[6]);

#endif
