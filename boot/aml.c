/*
 * aml.c - writes ACPI machine language.
 *
 * Constants and containers, and the little code that answers which interrupt controllers the
 * guest has chosen.
 *
 * Spec: ACPI 6.4 sections 20.2.1-20.2.5 (encoding), 6.4.2 (small resource items),
 * 6.4.3 (large ones), 6.1.5 (EISA ids). Tested by test/unit/acpi.c.
 * SPDX-License-Identifier: MIT
 */
#include "boot/aml.h"

enum {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_QWORD = 0x0e,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_METHOD = 0x14,
	AML_EXT = 0x5b,
	AML_ARG0 = 0x68,
	AML_STORE = 0x70,
	AML_IF = 0xa0,
	AML_RETURN = 0xa4,
	AML_EXT_DEVICE = 0x82,
};

enum {
	RESOURCE_IRQ = 0x22,
	RESOURCE_IO = 0x47,
	RESOURCE_END = 0x79,
	RESOURCE_MEMORY32 = 0x86,
	RESOURCE_DWORD = 0x87,
	RESOURCE_WORD = 0x88,
	RESOURCE_QWORD = 0x8a,
};

/* Address space descriptors, 6.4.3.5. */
enum { SPACE_MEMORY = 0, SPACE_PORTS = 1, SPACE_BUSES = 2 };
#define WINDOW_FIXED 0x0c /* a producer whose ends cannot move */
#define WINDOW_WRITE 0x01 /* memory: read and write, not cacheable */
#define WINDOW_PORTS 0x03 /* ports: the entire range */

static void name_string(struct blob *b, const char *name)
{
	blob_put(b, name, strlen(name));
}

size_t aml_scope(struct blob *b, const char *name)
{
	blob_le(b, AML_SCOPE, 1);
	size_t mark = b->used;
	name_string(b, name);
	return mark;
}

size_t aml_device(struct blob *b, const char *name)
{
	blob_le(b, AML_EXT, 1);
	blob_le(b, AML_EXT_DEVICE, 1);
	size_t mark = b->used;
	name_string(b, name);
	return mark;
}

size_t aml_package(struct blob *b, uint8_t count)
{
	blob_le(b, AML_PACKAGE, 1);
	size_t mark = b->used;
	blob_le(b, count, 1);
	return mark;
}

size_t aml_method(struct blob *b, const char *name, uint8_t arguments)
{
	blob_le(b, AML_METHOD, 1);
	size_t mark = b->used;
	name_string(b, name);
	blob_le(b, arguments, 1);
	return mark;
}

size_t aml_if(struct blob *b)
{
	blob_le(b, AML_IF, 1);
	return b->used;
}

void aml_object(struct blob *b, const char *name)
{
	name_string(b, name);
}

void aml_return(struct blob *b, const char *name)
{
	blob_le(b, AML_RETURN, 1);
	name_string(b, name);
}

void aml_store_arg0(struct blob *b, const char *name)
{
	blob_le(b, AML_STORE, 1);
	blob_le(b, AML_ARG0, 1);
	name_string(b, name);
}

/* The length counts its own bytes: one for up to 63, else 4 bits and further bytes. */
static unsigned length_encode(size_t contents, uint8_t out[4])
{
	if (contents + 1 < 64) {
		out[0] = (uint8_t)(contents + 1);
		return 1;
	}
	unsigned bytes = contents + 2 < 0x1000 ? 2 : contents + 3 < 0x100000 ? 3 : 4;
	size_t length = contents + bytes;
	out[0] = (uint8_t)((bytes - 1) << 6 | (length & 0xf));
	put_le(out + 1, length >> 4, bytes - 1);
	return bytes;
}

void aml_close(struct blob *b, size_t mark)
{
	uint8_t length[4] = { 0 };

	if (b->full)
		return;
	size_t contents = b->used - mark;
	unsigned bytes = length_encode(contents, length);
	blob_put(b, length, bytes); /* makes room */
	if (b->full)
		return;
	memmove(b->bytes + mark + bytes, b->bytes + mark, contents);
	memcpy(b->bytes + mark, length, bytes);
}

void aml_name(struct blob *b, const char *name)
{
	blob_le(b, AML_NAME, 1);
	name_string(b, name);
}

void aml_integer(struct blob *b, uint64_t v)
{
	static const uint8_t op[] = { AML_BYTE, AML_WORD, AML_DWORD, AML_QWORD };

	if (v <= 1) {
		blob_le(b, v ? AML_ONE : AML_ZERO, 1);
		return;
	}
	unsigned log = v <= 0xff ? 0 : v <= 0xffff ? 1 : v <= 0xffffffff ? 2 : 3;
	blob_le(b, op[log], 1);
	blob_le(b, v, 1u << log);
}

void aml_string(struct blob *b, const char *text)
{
	blob_le(b, AML_STRING, 1);
	blob_put(b, text, strlen(text) + 1);
}

static unsigned hex_digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits and four hex digits, as a big-endian number. */
void aml_eisa_id(struct blob *b, const char *id)
{
	unsigned letters = 0, digits = 0;
	uint8_t raw[5] = { AML_DWORD };

	for (unsigned i = 0; i < 3; i++)
		letters = letters << 5 | (unsigned)(id[i] - 0x40);
	for (unsigned i = 3; i < 7; i++)
		digits = digits << 4 | hex_digit(id[i]);
	raw[1] = (uint8_t)(letters >> 8);
	raw[2] = (uint8_t)letters;
	raw[3] = (uint8_t)(digits >> 8);
	raw[4] = (uint8_t)digits;
	blob_put(b, raw, sizeof(raw));
}

void aml_resources_open(struct aml_resources *r)
{
	r->bytes = (struct blob){ .bytes = r->room, .size = sizeof(r->room) };
}

void aml_resource_io(struct aml_resources *r, uint16_t port, uint8_t count)
{
	blob_le(&r->bytes, RESOURCE_IO, 1);
	blob_le(&r->bytes, 1, 1); /* decodes 16 bits */
	blob_le(&r->bytes, port, 2);
	blob_le(&r->bytes, port, 2);
	blob_le(&r->bytes, 1, 1); /* alignment */
	blob_le(&r->bytes, count, 1);
}

void aml_resource_irq(struct aml_resources *r, uint8_t irq)
{
	blob_le(&r->bytes, RESOURCE_IRQ, 1);
	blob_le(&r->bytes, 1u << irq, 2);
}

void aml_resource_memory32(struct aml_resources *r, uint32_t base, uint32_t bytes)
{
	blob_le(&r->bytes, RESOURCE_MEMORY32, 1);
	blob_le(&r->bytes, 9, 2);
	blob_le(&r->bytes, 1, 1); /* writable */
	blob_le(&r->bytes, base, 4);
	blob_le(&r->bytes, bytes, 4);
}

static void window(struct aml_resources *r, uint8_t tag, uint8_t space, uint8_t flags,
		   uint64_t first, uint64_t last)
{
	unsigned width = tag == RESOURCE_WORD ? 2 : tag == RESOURCE_DWORD ? 4 : 8;

	blob_le(&r->bytes, tag, 1);
	blob_le(&r->bytes, 3 + 5 * width, 2);
	blob_le(&r->bytes, space, 1);
	blob_le(&r->bytes, WINDOW_FIXED, 1);
	blob_le(&r->bytes, flags, 1);
	blob_le(&r->bytes, 0, width); /* granularity */
	blob_le(&r->bytes, first, width);
	blob_le(&r->bytes, last, width);
	blob_le(&r->bytes, 0, width); /* translation */
	blob_le(&r->bytes, last - first + 1, width);
}

void aml_resource_buses(struct aml_resources *r, uint16_t first, uint16_t last)
{
	window(r, RESOURCE_WORD, SPACE_BUSES, 0, first, last);
}

void aml_resource_ports(struct aml_resources *r, uint16_t first, uint16_t last)
{
	window(r, RESOURCE_WORD, SPACE_PORTS, WINDOW_PORTS, first, last);
}

void aml_resource_window32(struct aml_resources *r, uint32_t first, uint32_t last)
{
	window(r, RESOURCE_DWORD, SPACE_MEMORY, WINDOW_WRITE, first, last);
}

void aml_resource_window64(struct aml_resources *r, uint64_t first, uint64_t last)
{
	window(r, RESOURCE_QWORD, SPACE_MEMORY, WINDOW_WRITE, first, last);
}

void aml_resources_close(struct blob *b, struct aml_resources *r)
{
	blob_le(&r->bytes, RESOURCE_END, 1);
	blob_le(&r->bytes, 0, 1); /* checksum 0: not used */
	if (r->bytes.full)
		b->full = true;
	blob_le(b, AML_BUFFER, 1);
	size_t mark = b->used;
	aml_integer(b, r->bytes.used);
	blob_put(b, r->room, r->bytes.used);
	aml_close(b, mark);
}
