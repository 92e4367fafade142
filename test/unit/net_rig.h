/*
 * net_rig.h - a network card without a guest: what a backend posts, the test reads.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_NET_RIG_H
#define TEST_UNIT_NET_RIG_H

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/net.h"
#include "host/host.h"
#include "machine/post.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

#define RIG_FRAMES  256
#define RIG_SECONDS 60

struct card {
	struct device dev;
	struct {
		size_t bytes;
		struct net_header header;
		uint8_t *data;
	} frame[RIG_FRAMES];
	unsigned frames, taken;
	unsigned links, announces;
	bool up;
	size_t sent; /* told by NET_INPUT_SENT */
	struct net_backend seam;
};

struct net_rig {
	struct vm *vm;
	struct card *card;
	struct net *net;
};

static inline void card_reset(struct device *dev)
{
	(void)dev;
}

static inline void card_input(struct device *dev, const void *data, size_t bytes)
{
	struct card *c = (struct card *)dev;
	struct net_input in;

	assert_true(bytes >= sizeof(in));
	memcpy(&in, data, sizeof(in));
	switch (in.kind) {
	case NET_INPUT_SENT: c->sent += in.bytes; return;
	case NET_INPUT_LINK:
		c->links++;
		c->up = in.up;
		return;
	case NET_INPUT_ANNOUNCE: c->announces++; return;
	}
	assert_int_equal(bytes, sizeof(in) + in.bytes);
	assert_true(c->frames < RIG_FRAMES);
	c->frame[c->frames].bytes = in.bytes;
	c->frame[c->frames].header = in.header;
	c->frame[c->frames].data = host_alloc(in.bytes);
	memcpy(c->frame[c->frames++].data, (const uint8_t *)data + sizeof(in), in.bytes);
	c->seam.room(c->seam.arg, bytes);
}

static inline void card_destroy(struct device *dev)
{
	struct card *c = (struct card *)dev;

	for (unsigned i = 0; i < c->frames; i++)
		host_free(c->frame[i].data);
	host_free(c);
}

static const struct field card_fields[] = { FIELD_END };

static const struct device_ops card_ops = {
	.type = "card",
	.reset = card_reset,
	.input = card_input,
	.state = card_fields,
	.destroy = card_destroy,
};

static inline void net_rig_open(struct net_rig *r, const char *words, unsigned accepts)
{
	struct fail why = { 0 };

	r->vm = fake_vm(false);
	r->card = host_alloc(sizeof(*r->card));
	device_add(r->vm, &r->card->dev, &card_ops, "net0");
	r->net = net_open(words, &why);
	if (!r->net)
		print_error("%s\n", why.text);
	assert_non_null(r->net);
	r->card->seam = net_backend(r->net);
	r->card->seam.room(r->card->seam.arg, 512 << 10);
	r->card->seam.accepts(r->card->seam.arg, accepts);
	assert_int_equal(net_start(r->net, &r->card->dev, &why), 0);
}

static inline void net_rig_close(struct net_rig *r)
{
	net_close(r->net);
	vm_close(r->vm);
}

static inline void net_rig_send(struct net_rig *r, const struct net_header *header,
				const void *frame, size_t bytes)
{
	r->card->seam.send(r->card->seam.arg, header, frame, bytes);
}

/* Lets input in; false when `*what` stays as it is for RIG_SECONDS. */
static inline bool net_rig_wait(struct net_rig *r, const unsigned *what, unsigned more_than)
{
	uint64_t end = host_monotonic_ns() + RIG_SECONDS * UINT64_C(1000000000);

	while (host_monotonic_ns() < end) {
		posted_take(r->vm);
		if (*what > more_than)
			return true;
		usleep(200);
	}
	return false;
}

#endif
