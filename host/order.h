/*
 * order.h - the order in which a thread takes the machine's locks, and a check that it does.
 *
 * The idea: whoever waits for something holds only what comes before it, so no circle of threads
 * waits for each other. Two things that are no mutex have their places: a vCPU is inside
 * the gate, or somebody has closed it (machine/gate.h); both keep others waiting like a lock.
 *
 * The check costs a few instructions a lock, so it is on in MODE=debug, and where a test switches
 * it on. It ends the process: the order is ours to keep, no guest can break it.
 *
 * Tested by test/unit/gate.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef HOST_ORDER_H
#define HOST_ORDER_H

#include <stdatomic.h>
#include <stdbool.h>

/* clang-format off */
/* From the outermost to the innermost: X(name, text). */
#define HOST_ORDERS(X) \
	X(USER, "a lock of the machine's user, who calls the machine with it held") \
	X(BUS, "the bus, for a locked access to a device (machine/gate.h)") \
	X(DEVICE, "the device lock, vm->lock") \
	X(POSTED, "the posted-input lock (machine/post.c)") \
	X(WAKE, "vm->wake_lock") \
	X(INSIDE, "a vCPU's being inside the gate") \
	X(GATE, "the closed gate") \
	X(LAST, "a lock that is the last one: what host_mutex_new() gives")
/* clang-format on */

enum host_order {
#define X(name, text) ORDER_##name,
	HOST_ORDERS(X)
#undef X
};

struct host_mutex;
struct host_mutex *host_mutex_in_order(enum host_order order); /* NULL: no memory */

/* The calling thread is about to wait for it, and has it until end(). Not nested. */
void host_order_begin(enum host_order what);
void host_order_end(enum host_order what);

/* Set while no thread holds any of them. */
extern atomic_bool host_order_checked;

#endif
