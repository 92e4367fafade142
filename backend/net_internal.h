/*
 * net_internal.h - what the kinds of network share: the options, the door to the device.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_NET_INTERNAL_H
#define BACKEND_NET_INTERNAL_H

#include "backend/net.h"
#include "backend/port.h"

struct net;
struct host_thread;

struct net_kind {
	const char *name;
	const char *takes; /* what stands after "name:"; NULL: nothing */
	size_t bytes;      /* of its struct, which begins with struct net */
	/* One key=value that is not every card's. -ENOENT: no such key. May be NULL. */
	int (*option)(struct net *net, const char *key, const char *value, struct fail *why);
	/* Opens what the words name; the parts of the seam in net->seam. */
	int (*open)(struct net *net, struct fail *why);
	void (*run)(void *arg);         /* the thread; arg is the struct net */
	void (*close)(struct net *net); /* the thread has ended, or never began */
};

extern const struct net_kind net_user, net_tap, net_switch;

struct net {
	const struct net_kind *kind;
	const char *name; /* what stands after "kind:", or "" */
	char *words;      /* the text, cut up */
	struct net_card card;
	struct net_backend seam;
	struct port port;
	struct host_thread *thread;
	atomic_uint accepts; /* enum net_offload: the guest's */
};

/* A message with a frame, as it is posted. */
struct net_message {
	struct net_input input;
	uint8_t frame[NET_FRAME_MOST];
};
_Static_assert(offsetof(struct net_message, frame) == sizeof(struct net_input),
	       "header and frame are one piece");

/* Where a header with its frame behind it is received; NET_RECEIVED_MOST bytes. */
#define NET_RECEIVED_MOST (sizeof(struct net_header) + NET_FRAME_MOST)
static inline void *net_received(struct net_message *m)
{
	return (uint8_t *)m + offsetof(struct net_message, input.header);
}

/* Posts m's frame of `bytes` bytes. false: no credit. The thread's. */
bool net_post(struct net *net, struct net_message *m, size_t bytes);
/* The cable was pulled, or plugged in. The thread's. */
void net_link(struct net *net, bool up);

#endif
