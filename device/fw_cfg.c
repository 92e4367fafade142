/*
 * fw_cfg.c - the port through which firmware asks the monitor about the machine.
 *
 * A read-only cabinet of numbered items, some of which are named files listed in
 * item 19h. The guest selects an item and reads it byte after byte; or it names a
 * 16-byte request in memory, big-endian like all of the newer interface, which is carried
 * out at once: select, then read or skip.
 *
 * The contents are the host's, made from the machine's configuration, and no state: a
 * saved machine is loaded into one that is configured alike. Not modelled: writing items
 * (a write request fails, a byte written to the data port is ignored); a request for more than
 * BEYOND_MOST zeroes behind an item's end, which would keep the machine waiting: it fails.
 *
 * Spec: QEMU docs/specs/fw_cfg.rst. Tested by test/device/fw_cfg.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/fw_cfg.h"

#include <errno.h>
#include <string.h>

#include "machine/vm.h"

enum { REGION_SELECT, REGION_DMA };
enum { OFF_SELECTOR, OFF_DATA };

#define DMA_PORTS  8
#define DMA_OFFSET 4

#define ID_TRADITIONAL 1u
#define ID_DMA         2u

/* Control word of a request; the item to select is in the upper half. */
#define DMA_ERROR  0x01u
#define DMA_READ   0x02u
#define DMA_SKIP   0x04u
#define DMA_SELECT 0x08u
#define DMA_WRITE  0x10u

#define BEYOND_MOST (1u << 20) /* bytes of one request that no item has */

#define REQUEST_BYTES 16
#define ENTRY_BYTES   64 /* of the directory */

static const char signature[] = "QEMU";
static const char dma_signature[] = "QEMU CFG";
static const uint8_t id[4] = { ID_TRADITIONAL | ID_DMA };

struct fw_cfg {
	struct device dev;
	uint16_t key;      /* selected */
	uint32_t offset;   /* of the next byte; may lie beyond the item's end */
	uint32_t dma_high; /* upper half of the next request's address */
	struct fw_cfg_item item[FW_CFG_ITEMS_MAX + 3];
	unsigned count;
	uint8_t directory[4 + FW_CFG_ITEMS_MAX * ENTRY_BYTES];
};

static uint32_t get_be32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void put_be(uint8_t *to, uint32_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static const struct fw_cfg_item *selected(const struct fw_cfg *f)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->item[i].key == f->key)
			return &f->item[i];
	return NULL;
}

/* The offset stops at the highest number: what has no end must not begin again. */
static void advance(struct fw_cfg *f, uint32_t by)
{
	f->offset = by > UINT32_MAX - f->offset ? UINT32_MAX : f->offset + by;
}

/* What is left of the selected item from the offset on; NULL and *bytes 0: nothing. */
static const uint8_t *rest(const struct fw_cfg *f, uint32_t *bytes)
{
	const struct fw_cfg_item *item = selected(f);

	*bytes = item && f->offset < item->size ? item->size - f->offset : 0;
	return *bytes ? (const uint8_t *)item->bytes + f->offset : NULL;
}

/* The next byte of the selected item; beyond its end they are zero. */
static uint8_t take_byte(struct fw_cfg *f)
{
	uint32_t left;
	const uint8_t *from = rest(f, &left);

	advance(f, 1);
	return left ? *from : 0;
}

static void select_item(struct fw_cfg *f, uint16_t key)
{
	f->key = key;
	f->offset = 0;
}

/* --- DMA --- */

/* false: `to` is not all memory, or zeroes beyond reason are asked for. */
static bool dma_read(struct fw_cfg *f, uint64_t to, uint32_t bytes)
{
	static const uint8_t zeroes[4096];
	uint32_t left, n;
	const uint8_t *from = rest(f, &left);

	if (bytes > left && bytes - left > BEYOND_MOST)
		return false;
	advance(f, bytes);
	if (left > bytes)
		left = bytes;
	if (left && device_dma_write(&f->dev, gpa(to), from, left))
		return false;
	for (uint32_t at = left; at < bytes; at += n) {
		n = bytes - at < sizeof(zeroes) ? bytes - at : sizeof(zeroes);
		if (device_dma_write(&f->dev, gpa(to + at), zeroes, n))
			return false;
	}
	return true;
}

static void dma_request(struct fw_cfg *f, uint64_t at)
{
	uint8_t request[REQUEST_BYTES], answer[4];
	uint32_t control, bytes;
	uint64_t to;
	bool done = true;

	if (device_dma_read(&f->dev, gpa(at), request, sizeof(request)))
		return;
	control = get_be32(request);
	bytes = get_be32(request + 4);
	to = (uint64_t)get_be32(request + 8) << 32 | get_be32(request + 12);
	if (control & DMA_SELECT)
		select_item(f, (uint16_t)(control >> 16));
	if (control & DMA_READ)
		done = dma_read(f, to, bytes);
	else if (control & DMA_WRITE)
		done = false;
	else if (control & DMA_SKIP)
		advance(f, bytes);
	put_be(answer, done ? 0 : DMA_ERROR, 4);
	device_dma_write(&f->dev, gpa(at), answer, sizeof(answer));
}

/* The register is big-endian: `value` comes as the little-endian CPU wrote it. */
static void write_dma(struct fw_cfg *f, unsigned off, unsigned size, uint64_t value)
{
	uint32_t half = __builtin_bswap32((uint32_t)value);

	if (size == 8) {
		dma_request(f, __builtin_bswap64(value));
	} else if (size == 4 && off == 0) {
		f->dma_high = half;
	} else if (size == 4 && off == 4) {
		uint64_t at = (uint64_t)f->dma_high << 32 | half;

		f->dma_high = 0;
		dma_request(f, at);
	}
}

/* --- Ports --- */

static uint64_t fw_cfg_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct fw_cfg *f = (struct fw_cfg *)dev;
	uint64_t value = 0;

	if (region == REGION_DMA) {
		for (unsigned i = 0; i < size; i++)
			value |= (uint64_t)(uint8_t)dma_signature[off + i] << (8 * i);
		return value;
	}
	return off == OFF_DATA && size == 1 ? take_byte(f) : 0;
}

static void fw_cfg_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			 uint64_t value)
{
	struct fw_cfg *f = (struct fw_cfg *)dev;

	if (region == REGION_DMA)
		write_dma(f, (unsigned)off, size, value);
	else if (off == OFF_SELECTOR && size == 2)
		select_item(f, (uint16_t)value);
}

static void fw_cfg_reset(struct device *dev)
{
	struct fw_cfg *f = (struct fw_cfg *)dev;

	select_item(f, FW_CFG_SIGNATURE);
	f->dma_high = 0;
}

/* --- State --- */

static const struct field fw_cfg_fields[] = { FIELD(fw_cfg, key, 1), FIELD(fw_cfg, offset, 1),
					      FIELD(fw_cfg, dma_high, 1), FIELD_END };

/* Any item may be selected, any offset reached. */
static int fw_cfg_loaded(struct device *dev, struct fail *why)
{
	(void)dev;
	(void)why;
	return 0;
}

static const struct device_ops fw_cfg_ops = {
	.type = "fw_cfg",
	.reset = fw_cfg_reset,
	.read = fw_cfg_read,
	.write = fw_cfg_write,
	.state = fw_cfg_fields,
	.state_version = 1,
	.loaded = fw_cfg_loaded,
};

/* --- Building --- */

static void add_item(struct fw_cfg *f, uint16_t key, const void *bytes, uint32_t size)
{
	f->item[f->count++] = (struct fw_cfg_item){ .key = key, .bytes = bytes, .size = size };
}

/* Gives each file a number and its line in the directory. */
static int add_items(struct fw_cfg *f, const struct fw_cfg_config *config, struct fail *why)
{
	uint32_t files = 0;

	if (config->count > FW_CFG_ITEMS_MAX)
		return fail(why, -EINVAL, "%s: more than %d items", config->id, FW_CFG_ITEMS_MAX);
	for (unsigned i = 0; i < config->count; i++) {
		const struct fw_cfg_item *item = &config->items[i];
		uint8_t *entry = f->directory + 4 + files * ENTRY_BYTES;
		uint16_t key = item->key;

		if (item->name && strlen(item->name) >= FW_CFG_NAME_MAX)
			return fail(why, -EINVAL, "%s: '%s' is too long a name", config->id,
				    item->name);
		if (item->name) {
			key = (uint16_t)(FW_CFG_FIRST_FILE + files++);
			put_be(entry, item->size, 4);
			put_be(entry + 4, key, 2);
			strcpy((char *)entry + 8, item->name);
		}
		add_item(f, key, item->bytes, item->size);
	}
	put_be(f->directory, files, 4);
	add_item(f, FW_CFG_SIGNATURE, signature, 4);
	add_item(f, FW_CFG_ID, id, sizeof(id));
	add_item(f, FW_CFG_DIRECTORY, f->directory, 4 + files * ENTRY_BYTES);
	return 0;
}

int fw_cfg_create(struct vm *vm, const struct fw_cfg_config *config, struct fail *why)
{
	struct fw_cfg *f = host_alloc(sizeof(*f));
	int err;

	if (!f)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	device_add(vm, &f->dev, &fw_cfg_ops, config->id);
	err = add_items(f, config, why);
	if (!err)
		err = device_claim_ports(&f->dev, REGION_SELECT, config->ports, 2, why);
	return err ? err
		   : device_claim_ports(&f->dev, REGION_DMA, (uint16_t)(config->ports + DMA_OFFSET),
					DMA_PORTS, why);
}
