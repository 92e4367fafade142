/*
 * offload.h - finishing frames in software: checksums and segmentation.
 *
 * Everything in header and frame is a guest's: lengths are taken from the frame itself and
 * checked, never believed.
 *
 * Spec: virtio 1.2, 5.1.6.2; RFC 1071 (checksum); RFC 9293, RFC 768. Tested by test/unit/offload.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_OFFLOAD_H
#define BACKEND_OFFLOAD_H

#include <stdbool.h>

#include "machine/net.h"

/* Stores the checksum that NEEDS_CSUM asks for and clears the flag. false: it points outside. */
bool offload_checksum(struct net_header *header, uint8_t *frame, size_t bytes);

/*
 * Gives the frame to `emit` in segments that need nothing more, at most 64 KiB in all; a frame
 * without gso_type as one, its checksum finished (in place). `scratch`: NET_FRAME_MOST bytes.
 * false: not what gso_type says it is; nothing was emitted.
 */
typedef void offload_emit(void *arg, const uint8_t *frame, size_t bytes);
bool offload_finish(struct net_header *header, uint8_t *frame, size_t bytes, uint8_t *scratch,
		    offload_emit *emit, void *arg);

#endif
