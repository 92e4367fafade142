/*
 * p9.h - a directory of the host that a guest shares, as the device sees it: 9P messages.
 *
 * A request is one message of the guest, copied out of its memory, and room for the answer. The
 * device owns both; it submits, and is called back on the backend's thread when the answer is
 * there. The callback does no more than device_ring(): guest-visible work happens on the vCPU's.
 *
 * Everything in a message is the guest's: any bytes. Who may see which file is the backend's
 * business.
 *
 * Spec: 9P2000.L. Tested by test/unit/p9.c, test/device/virtio_9p.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_P9_H
#define MACHINE_P9_H

#include <stddef.h>
#include <stdint.h>

#define P9_HEADER       7u           /* size[4] type[1] tag[2] */
#define P9_ERROR_BYTES  11u          /* the least room for an answer: an Rlerror */
#define P9_MESSAGE_MOST (512u << 10) /* bytes, either way */
#define P9_SAVED_LEAST  8u
#define P9_TAG_MOST     31u /* letters of a mount tag */

/* Untouched by its owner from submit() until `done`. */
struct p9_request {
	const uint8_t *in;
	size_t in_bytes; /* P9_HEADER .. P9_MESSAGE_MOST */
	uint8_t *out;
	size_t out_room;  /* P9_ERROR_BYTES .. P9_MESSAGE_MOST */
	size_t out_bytes; /* of the answer */
	/* Backend's thread. */
	void (*done)(struct p9_request *request);
	void *arg; /* the owner's */

	struct p9_request *next; /* the backend's */
};

/* A backend, copied into the device. vCPU thread, device lock held. */
struct p9_backend {
	/* Requests are answered in the order in which they come. */
	void (*submit)(void *arg, struct p9_request *request);
	/* Returns when every `done` has returned. */
	void (*drain)(void *arg);
	/* The guest's driver is gone, and with it every fid. Nothing is in flight. */
	void (*reset)(void *arg);
	/* For a saved machine, nothing is in flight: what the guest has open, as at most `room`
	 * bytes (P9_SAVED_LEAST at least; returns how many), and the same again: what is not there
	 * any more answers with errors from then on. Bytes loaded are hostile. */
	size_t (*save)(void *arg, void *to, size_t room);
	void (*load)(void *arg, const void *from, size_t bytes);
	void *arg;
};

#endif
