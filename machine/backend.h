/*
 * backend.h - what a device is connected to on the host, as the device sees it.
 *
 * A backend never touches a device: what it receives it hands to device_post(), so
 * that outside input enters through the machine's one gate. What it may post is
 * limited by credit that the device grants, so that nothing is lost in between.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_BACKEND_H
#define MACHINE_BACKEND_H

#include <stddef.h>

/*
 * The far end of a serial line. Both are called on the vCPU thread with the device
 * lock held, and must not wait; either may be NULL. Input is bytes, posted to the
 * device in any portions up to the credit; bytes beyond the credit may be dropped.
 */
struct char_backend {
	/* The guest sent these. */
	void (*write)(void *arg, const void *data, size_t bytes);
	/* The device can take `bytes` more than were granted before (at first: none).
	 * Called already while the device is being created. */
	void (*room)(void *arg, size_t bytes);
	void *arg;
};

#endif
