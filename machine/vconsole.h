/*
 * vconsole.h - the ports of a virtio console, as the device sees what they lead to on the host.
 *
 * A port is a stream of bytes both ways. What comes in is posted, by credit; what goes out is
 * offered to the backend, which takes what it has room for and posts VCONSOLE_READY when it has
 * more.
 *
 * Spec: virtio 1.2, 5.3. Tested by test/device/virtio_console.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_VCONSOLE_H
#define MACHINE_VCONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VCONSOLE_PORTS_MAX 8  /* the console and seven others */
#define VCONSOLE_NAME_MOST 63 /* letters of a port's name */

/* What a port leads to. vCPU thread, device lock held; may not wait, but for a terminal to be read.
 */
struct vconsole_backend {
	/* The guest sent these. Returns how many were taken; the others are offered again after
	 * VCONSOLE_READY. */
	size_t (*write)(void *arg, const void *data, size_t bytes);
	/* The device can take `bytes` more of input than were granted before (at first: none). Also
	 * while the device is being created. May be NULL. */
	void (*room)(void *arg, size_t bytes);
	/* The guest has opened or closed the port, or a machine was loaded in which it is so. The
	 * backend posts whether somebody is at its end. May be NULL. */
	void (*opened)(void *arg, bool open);
	void *arg;
};

enum vconsole_kind {
	VCONSOLE_DATA,  /* bytes follow: no more than there was room for */
	VCONSOLE_OPEN,  /* value: somebody is at the host's end, 1, or nobody, 0 */
	VCONSOLE_READY, /* it takes bytes again */
	VCONSOLE_SIZE,  /* port 0. value: columns; its terminal has `rows` */
};

/* What is posted to the device. */
struct vconsole_input {
	uint8_t port, kind;
	uint16_t value, rows;
};

#endif
