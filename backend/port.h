/*
 * port.h - a backend thread's door to its device: messages by credit, and a way to be woken.
 *
 * The device grants credit (port_room, vCPU thread); the thread spends it with each message.
 * A thread that lacks credit says so with port_lacks(), and finds `wake` readable
 * when there is more: it leaves its input where it is until then.
 *
 * Tested by test/unit/net.c and test/unit/vsock.c, under MODE=tsan too.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_PORT_H
#define BACKEND_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "host/fail.h"

struct device;

struct port {
	struct device *dev; /* set before the thread starts */
	int wake;           /* eventfd, to poll for reading; -1: not open */
	atomic_size_t credit;
	atomic_bool lacking;
	atomic_bool stop; /* the thread is to end */
};

int port_open(struct port *port, struct fail *why);
void port_close(struct port *port);

/* Any thread: makes `wake` readable. */
void port_wake(struct port *port);
/* Any thread: asks the port's thread to end. */
void port_stop(struct port *port);
/* vCPU thread: the device has room for more. */
void port_room(struct port *port, size_t bytes);

/* The thread's: takes what made `wake` readable away. */
void port_woken(struct port *port);
/* true: there is no credit for `bytes`, and `wake` will tell of more. */
bool port_lacks(struct port *port, size_t bytes);
/* Posts against credit. false: not now. */
bool port_post(struct port *port, const void *message, size_t bytes);
/* Posts what needs no credit: few and small messages. false: the machine's queue is full. */
bool port_tell(struct port *port, const void *message, size_t bytes);

#endif
