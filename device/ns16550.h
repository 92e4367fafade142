/*
 * ns16550.h - universal asynchronous receiver/transmitter with FIFOs (NS 16550A).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_NS16550_H
#define DEVICE_NS16550_H

#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"
#include "machine/backend.h"

struct vm;
struct device;

struct ns16550_config {
	const char *id; /* "uart0" */
	uint16_t ports; /* first of eight */
	unsigned gsi;
	uint32_t clock_hz; /* of the baud generator: 1843200 on a PC */
	bool out2_gates;   /* OUT 2 switches the interrupt line, as on a PC's card */
	bool rts_holds;    /* the far end waits with its bytes while RTS is not asserted, as a */
			   /* terminal with hardware flow control does */
	struct char_backend backend; /* copied */
};

/*
 * Adds the UART to `vm`; received bytes go to device_post() on *out (which may be NULL).
 * 0; -ENOMEM; -EEXIST when a port is taken.
 */
int ns16550_create(struct vm *vm, const struct ns16550_config *config, struct device **out,
		   struct fail *why);

#endif
