/*
 * offload.c - finishing frames in software (see offload.h).
 *
 * A segment is the frame's headers with the lengths, the IP identification, the sequence number
 * and the checksums changed, and a slice of its payload.
 *
 * Not done: IPv6 extension headers, IP options that a fragment would drop, tunnels:
 * a frame with those is not what any of our senders asks to have cut up.
 *
 * Tested by test/unit/offload.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/offload.h"

#include <string.h>

enum {
	ETHER_HEADER = 14,
	VLAN_HEADER = 4,
	IPV6_HEADER = 40,
	UDP_HEADER = 8,
	TCP_LEAST = 20,
};
enum { TYPE_IPV4 = 0x0800, TYPE_VLAN = 0x8100, TYPE_IPV6 = 0x86dd };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };

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

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value & 0xffff);
}

/* RFC 1071: the sum of the big-endian words, an odd last byte being a high one. Added as the host's
 * words, and turned round once at the end, which gives the same (its section 2 (B)). */
static uint32_t sum(uint32_t start, const uint8_t *p, size_t bytes)
{
	uint64_t total = 0;
	uint32_t word;

	for (; bytes >= sizeof(word); p += sizeof(word), bytes -= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		total += word;
	}
	word = 0;
	memcpy(&word, p, bytes);
	total += word;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return start + __builtin_bswap16((uint16_t)total);
}

static uint16_t fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

bool offload_checksum(struct net_header *header, uint8_t *frame, size_t bytes)
{
	size_t start = header->csum_start, at = start + header->csum_offset;

	if (!(header->flags & NET_NEEDS_CSUM))
		return true;
	if (start >= bytes || at + 2 > bytes)
		return false;
	/* The field holds the pseudo-header's sum: it is summed with the rest. A result of 0 would
	 * mean "no checksum" in UDP; its other form means the same number. */
	put16(frame + at, fold(sum(0, frame + start, bytes - start)));
	if (get16(frame + at) == 0)
		put16(frame + at, 0xffff);
	header->flags &= (uint8_t)~NET_NEEDS_CSUM;
	return true;
}

/* Where the headers of a frame are. */
struct layout {
	size_t ip, l4, payload; /* offsets */
	bool v6, udp;
};

static bool find_ip(const uint8_t *frame, size_t bytes, struct layout *l, uint8_t *protocol)
{
	size_t at = ETHER_HEADER;
	unsigned type;

	if (bytes < ETHER_HEADER + VLAN_HEADER)
		return false;
	type = get16(frame + at - 2);
	if (type == TYPE_VLAN) {
		at += VLAN_HEADER;
		type = get16(frame + at - 2);
	}
	l->ip = at;
	l->v6 = type == TYPE_IPV6;
	if (l->v6) {
		l->l4 = at + IPV6_HEADER;
		if (bytes < l->l4)
			return false;
		*protocol = frame[at + 6];
		return true;
	}
	if (type != TYPE_IPV4 || bytes < at + 20 || frame[at] >> 4 != 4)
		return false;
	l->l4 = at + 4u * (frame[at] & 15);
	*protocol = frame[at + 9];
	return l->l4 >= at + 20 && l->l4 <= bytes;
}

static bool find_layout(const struct net_header *header, const uint8_t *frame, size_t bytes,
			struct layout *l)
{
	unsigned type = header->gso_type & ~NET_GSO_ECN;
	uint8_t protocol;

	if (!find_ip(frame, bytes, l, &protocol))
		return false;
	l->udp = type == NET_GSO_UDP_L4;
	if (protocol != (l->udp ? PROTOCOL_UDP : PROTOCOL_TCP))
		return false;
	if (type != NET_GSO_UDP_L4 && l->v6 != (type == NET_GSO_TCPV6))
		return false;
	if (bytes < l->l4 + (l->udp ? UDP_HEADER : TCP_LEAST))
		return false;
	l->payload = l->l4 + (l->udp ? UDP_HEADER : 4u * (frame[l->l4 + 12] >> 4));
	return l->payload >= l->l4 + UDP_HEADER && l->payload < bytes &&
	       (l->udp || l->payload >= l->l4 + TCP_LEAST);
}

/* The IP header for `bytes` of layer 4, which is segment number `index`. */
static void finish_ip(uint8_t *ip, const struct layout *l, size_t bytes, unsigned index)
{
	size_t header = l->l4 - l->ip;

	if (l->v6) {
		put16(ip + 4, (unsigned)bytes);
		return;
	}
	put16(ip + 2, (unsigned)(header + bytes));
	put16(ip + 4, get16(ip + 4) + index);
	put16(ip + 10, 0);
	put16(ip + 10, fold(sum(0, ip, header)));
}

static void finish_l4(uint8_t *out, const struct layout *l, size_t bytes)
{
	uint8_t *l4 = out + l->l4, *field = l4 + (l->udp ? 6 : 16);
	const uint8_t *ip = out + l->ip;
	uint32_t total = (uint32_t)bytes + (l->udp ? PROTOCOL_UDP : PROTOCOL_TCP);

	total = l->v6 ? sum(total, ip + 8, 32) : sum(total, ip + 12, 8);
	if (l->udp)
		put16(l4 + 4, (unsigned)bytes);
	put16(field, 0);
	put16(field, fold(sum(total, l4, bytes)));
	if (l->udp && get16(field) == 0)
		put16(field, 0xffff);
}

/* The TCP header of the segment at `off` of the payload. */
static void finish_tcp(uint8_t *tcp, size_t off, bool first, bool last)
{
	put32(tcp + 4, get32(tcp + 4) + (uint32_t)off);
	if (!first)
		tcp[13] &= (uint8_t)~TCP_CWR;
	if (!last)
		tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
}

bool offload_finish(struct net_header *header, uint8_t *frame, size_t bytes, uint8_t *scratch,
		    offload_emit *emit, void *arg)
{
	size_t step = header->gso_size;
	unsigned index = 0;
	struct layout l;

	if (header->gso_type == NET_GSO_NONE) {
		if (!offload_checksum(header, frame, bytes))
			return false;
		emit(arg, frame, bytes);
		return true;
	}
	/* Nobody's segments are smaller; one frame must not become a storm of thousands. */
	if (step < 48 || bytes > NET_FRAME_MOST || !find_layout(header, frame, bytes, &l))
		return false;
	for (size_t off = 0, end = bytes - l.payload; off < end; off += step, index++) {
		size_t part = end - off < step ? end - off : step;

		memcpy(scratch, frame, l.payload);
		memcpy(scratch + l.payload, frame + l.payload + off, part);
		finish_ip(scratch + l.ip, &l, l.payload - l.l4 + part, index);
		if (!l.udp)
			finish_tcp(scratch + l.l4, off, off == 0, off + part == end);
		finish_l4(scratch, &l, l.payload - l.l4 + part);
		emit(arg, scratch, l.payload + part);
	}
	return true;
}
