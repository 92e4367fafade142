/*
 * frames.c - frames on their way to a guest, TCP segments of one stream joined (see frames.h).
 *
 * Joined are neighbours in the queue: same headers but for identification, sequence number,
 * acknowledgement and window (the later one's are taken), each but the last of the same size,
 * and nothing that must be seen by itself (SYN, FIN, RST, URG, options that change).
 *
 * Spec: RFC 9293 (TCP); virtio 1.2, 5.1.6.4 (what the guest must then be told).
 * SPDX-License-Identifier: MIT
 */
#include "backend/frames.h"

#include <string.h>

#include "host/host.h"

#define FRAMES_MOST (4u << 20) /* bytes of memory; beyond it a wire's queue loses frames too */
#define JOINED_MOST 65000u     /* bytes of one joined frame */

enum { IP_AT = 14, TCP_AT = 34, ACK = 0x10, PSH = 0x08 };

void frames_init(struct frames *f)
{
	*f = (struct frames){ .tail = &f->first };
}

void frames_free(struct frames *f)
{
	while (f->first)
		frames_drop_first(f);
}

struct frame *frames_first(struct frames *f)
{
	return f->first;
}

void frames_drop_first(struct frames *f)
{
	struct frame *first = f->first;

	f->first = first->next;
	if (!f->first) {
		f->tail = &f->first;
		f->last = NULL;
	} else if (f->last == &first->next) {
		f->last = &f->first;
	}
	f->used -= sizeof(*first) + first->room;
	host_free(first);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* The sum of the words, folded. */
static uint16_t sum(const uint8_t *p, size_t bytes, uint32_t total)
{
	for (; bytes >= 2; p += 2, bytes -= 2)
		total += get16(p);
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)total;
}

/* Where the payload of a TCP segment that may be joined begins; 0: it may not. IPv4 without
 * options, not fragmented, with an acknowledgement, data, and no other flag than PSH. */
static size_t payload_of(const uint8_t *d, size_t bytes)
{
	size_t header;

	if (bytes < TCP_AT + 20 || get16(d + 12) != 0x0800 || d[IP_AT] != 0x45 || d[IP_AT + 9] != 6)
		return 0;
	if (get16(d + IP_AT + 2) != bytes - IP_AT || get16(d + IP_AT + 6) & 0x3fff)
		return 0;
	header = TCP_AT + 4u * (d[TCP_AT + 12] >> 4);
	if (header < TCP_AT + 20 || header >= bytes || (d[TCP_AT + 13] & ~PSH) != ACK)
		return 0;
	return header;
}

static bool follows(const struct frame *last, const uint8_t *d, size_t bytes, size_t payload)
{
	const uint8_t *a = last->data;
	size_t first = last->bytes - payload;

	if (payload_of(a, last->bytes) != payload || a[TCP_AT + 13] & PSH)
		return false;
	if (last->input.header.gso_type) { /* the last segment so far is a whole one */
		size_t step = last->input.header.gso_size;

		if (bytes - payload > step || first % step)
			return false;
	} else if (bytes - payload > first) {
		return false;
	}
	return last->bytes + bytes - payload <= JOINED_MOST && memcmp(a, d, IP_AT + 2) == 0 &&
	       memcmp(a + IP_AT + 8, d + IP_AT + 8, 2) == 0 &&    /* TTL, protocol */
	       memcmp(a + IP_AT + 12, d + IP_AT + 12, 12) == 0 && /* addresses and ports */
	       memcmp(a + TCP_AT + 20, d + TCP_AT + 20, payload - TCP_AT - 20) == 0 &&
	       get32(a + TCP_AT + 4) + (uint32_t)first == get32(d + TCP_AT + 4);
}

/* Makes room behind the last frame, twice what is needed: it is copied a few times at most. NULL:
 * there is none. */
static struct frame *grow_last(struct frames *f, size_t bytes)
{
	struct frame *last = *f->last, *grown;
	size_t room = 2 * bytes < JOINED_MOST ? 2 * bytes : JOINED_MOST;

	if (bytes <= last->room)
		return last;
	if (f->used + room - last->room > FRAMES_MOST)
		return NULL;
	grown = host_alloc(sizeof(*grown) + room);
	if (!grown)
		return NULL;
	memcpy(grown, last, sizeof(*last) + last->bytes);
	f->used += room - last->room;
	grown->room = room;
	*f->last = grown;
	f->tail = &grown->next;
	host_free(last);
	return grown;
}

/* Appends the payload of `d`; makes a frame with gso_type of the last. */
static void join(struct frame *last, const uint8_t *d, size_t bytes, size_t payload)
{
	struct net_header *h = &last->input.header;

	if (h->gso_type == NET_GSO_NONE) { /* the first time */
		h->flags = NET_NEEDS_CSUM;
		h->gso_type = NET_GSO_TCPV4;
		h->gso_size = (uint16_t)(last->bytes - payload);
		h->hdr_len = (uint16_t)payload;
		h->csum_start = TCP_AT;
		h->csum_offset = 16;
	}
	memcpy(last->data + last->bytes, d + payload, bytes - payload);
	last->bytes += bytes - payload;
	last->input.bytes = (uint32_t)last->bytes;
	memcpy(last->data + TCP_AT + 8, d + TCP_AT + 8, 4); /* acknowledgement */
	last->data[TCP_AT + 13] |= d[TCP_AT + 13];
	memcpy(last->data + TCP_AT + 14, d + TCP_AT + 14, 2); /* window */
}

/* IP length and checksum; in TCP's field the pseudo-header's sum. */
static void finish_joined(struct frame *f)
{
	uint8_t *ip = f->data + IP_AT, *tcp = f->data + TCP_AT;

	put16(ip + 2, (unsigned)(f->bytes - IP_AT));
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~sum(ip, 20, 0));
	put16(tcp + 16, sum(ip + 12, 8, (uint32_t)(f->bytes - TCP_AT) + 6));
}

static bool try_join(struct frames *f, const uint8_t *data, size_t bytes)
{
	size_t payload = payload_of(data, bytes);
	struct frame *last;

	if (!f->last || !payload || !follows(*f->last, data, bytes, payload))
		return false;
	last = grow_last(f, (*f->last)->bytes + bytes - payload);
	if (!last)
		return false;
	join(last, data, bytes, payload);
	finish_joined(last);
	return true;
}

bool frames_add(struct frames *f, const uint8_t *data, size_t bytes, unsigned accepts)
{
	unsigned joins = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4;
	struct frame *frame;

	if (bytes < NET_FRAME_LEAST || bytes > NET_FRAME_MOST)
		return false;
	if ((accepts & joins) == joins && try_join(f, data, bytes))
		return true;
	if (f->used + sizeof(*frame) + bytes > FRAMES_MOST)
		return false;
	frame = host_alloc(sizeof(*frame) + bytes);
	if (!frame)
		return false;
	frame->bytes = frame->room = bytes;
	frame->input = (struct net_input){ .kind = NET_INPUT_FRAME, .bytes = (uint32_t)bytes };
	if (accepts & NET_OFFLOAD_CSUM)
		frame->input.header.flags = NET_DATA_VALID;
	memcpy(frame->data, data, bytes);
	*f->tail = frame;
	f->last = f->tail;
	f->tail = &frame->next;
	f->used += sizeof(*frame) + bytes;
	return true;
}
