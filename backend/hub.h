/*
 * hub.h - the switch that virtual machines plug into: a thread behind a Unix socket.
 *
 * Peers are SOCK_SEQPACKET connections; one message is one frame after its struct net_header.
 * It learns who is where from source addresses, sends to that peer or to all others,
 * and waits for nobody: a peer that does not read loses frames.
 *
 * Tested by test/unit/switch.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_HUB_H
#define BACKEND_HUB_H

#include "host/fail.h"

struct hub;

#define HUB_PEERS_MAX 64

/* Serves the listening socket, which is the hub's from here on, also on failure. `path` outlives
 * the hub, and is for messages. */
struct hub *hub_start(int listener, const char *path, struct fail *why);
/* Disconnects everybody and ends the thread. NULL is allowed. */
void hub_stop(struct hub *hub);

#endif
