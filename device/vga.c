/*
 * vga.c - VGA adapter, as far as text needs it: registers, planes, and what they show.
 *
 * Video memory is four planes of 64 KiB that share their addresses: here one 32-bit word an
 * address, a byte of it a plane. The CPU's byte goes through the graphics controller, which
 * spreads, rotates, combines and masks it over the planes; in text mode even addresses
 * reach plane 0 (characters) and odd ones plane 1 (attributes), while fonts lie in plane 2.
 * The CRT controller counts characters from the start address and finds them there.
 *
 * Input status 1 comes from virtual time, so that software waiting for retrace sees it.
 *
 * Not modelled: graphics (the planes work, nobody draws them), fonts and palette (kept, but the
 * terminal has its own), panning, split screen, the retrace interrupt, display memory
 * addresses above 64 KiB, VBE.
 *
 * Spec: IBM PS/2 Hardware Interface Technical Reference, "Video subsystem".
 * Tested by test/device/vga.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/vga.h"

#include <errno.h>
#include <string.h>

#include "device/bytes.h"
#include "machine/vm.h"

enum { REGION_PORTS, REGION_MEMORY };

/* Offsets of the ports from 3b0h. Those at 3bxh and 3dxh are the same registers; bit 0 of the
 * miscellaneous output register says which of the two answer. */
enum port {
	PORT_CRTC_INDEX_MONO = 0x04,
	PORT_CRTC_DATA_MONO = 0x05,
	PORT_STATUS_MONO = 0x0a,
	PORT_ATTRIBUTE = 0x10,
	PORT_ATTRIBUTE_READ = 0x11,
	PORT_MISC_WRITE = 0x12, /* read: input status 0 */
	PORT_SEQUENCER_INDEX = 0x14,
	PORT_SEQUENCER_DATA = 0x15,
	PORT_DAC_MASK = 0x16,
	PORT_DAC_READ_INDEX = 0x17, /* read: DAC state */
	PORT_DAC_WRITE_INDEX = 0x18,
	PORT_DAC_DATA = 0x19,
	PORT_FEATURE_READ = 0x1a,
	PORT_MISC_READ = 0x1c,
	PORT_GRAPHICS_INDEX = 0x1e,
	PORT_GRAPHICS_DATA = 0x1f,
	PORT_CRTC_INDEX = 0x24,
	PORT_CRTC_DATA = 0x25,
	PORT_STATUS = 0x2a, /* write: feature control */
	PORT_COUNT = 0x30,
};

/* clang-format off */
#define MISC_COLOR 0x01

enum { SEQ_RESET, SEQ_CLOCKING, SEQ_MAP_MASK, SEQ_FONTS, SEQ_MODE, SEQ_COUNT };
#define CLOCKING_OFF    0x20
#define MODE_SEQUENTIAL 0x04 /* 0: odd/even */
#define MODE_CHAIN4     0x08

enum {
	GFX_SET_RESET, GFX_ENABLE_SET_RESET, GFX_COMPARE, GFX_ROTATE, GFX_READ_MAP, GFX_MODE,
	GFX_MISC, GFX_DONT_CARE, GFX_BIT_MASK, GFX_COUNT,
};
#define GFX_MODE_COMPARE  0x08 /* read mode 1 */
#define GFX_MODE_ODD_EVEN 0x10
#define GFX_MISC_GRAPHICS 0x01

enum {
	CRTC_COLUMNS = 0x01, CRTC_OVERFLOW = 0x07, CRTC_MAX_SCAN = 0x09, CRTC_CURSOR_START = 0x0a,
	CRTC_CURSOR_END = 0x0b, CRTC_START_HIGH = 0x0c, CRTC_START_LOW = 0x0d,
	CRTC_CURSOR_HIGH = 0x0e, CRTC_CURSOR_LOW = 0x0f, CRTC_RETRACE_END = 0x11,
	CRTC_LINES = 0x12, CRTC_OFFSET = 0x13, CRTC_UNDERLINE = 0x14, CRTC_MODE = 0x17,
	CRTC_COUNT = 0x19,
};
#define CRTC_PROTECT      0x80 /* of RETRACE_END: registers 0 to 7 */
#define OVERFLOW_COMPARE  0x10 /* the bit of OVERFLOW that is never protected */
#define CURSOR_OFF        0x20
#define SCAN_LINES        0x1f
#define UNDERLINE_DWORD   0x40
#define CRTC_MODE_BYTE    0x40

#define ATTR_MODE  0x10
#define ATTR_COUNT 0x15
#define ATTR_INDEX 0x1f
#define ATTR_SHOWN 0x20 /* of the index: the palette belongs to the screen, which is on */
#define ATTR_MODE_BLINK 0x08

#define STATUS0_SENSE   0x10 /* a monitor is there */
#define STATUS_BLANK    0x01
#define STATUS_RETRACE  0x08
/* clang-format on */

/* 720x400 at 70 Hz: 449 lines of 31.78 us, of which 400 are seen, and 25.4 us of each. */
#define LINE_NS       31778u
#define LINE_SEEN_NS  25422u
#define FRAME_LINES   449u
#define LINES_SEEN    400u
#define RETRACE_FIRST 412u
#define RETRACE_LINES 2u

#define PLANE_BYTES 65536u
#define DAC_BYTES   768u

struct vga {
	struct device dev;
	struct vga_config config;
	uint32_t memory[PLANE_BYTES]; /* bits 0-7: plane 0, ... */
	uint32_t latch;
	uint8_t misc, feature;
	uint8_t seq_index, seq[SEQ_COUNT];
	uint8_t gfx_index, gfx[GFX_COUNT];
	uint8_t crtc_index, crtc[CRTC_COUNT];
	uint8_t attr_index, attr[ATTR_COUNT];
	bool attr_data; /* the next write to 3c0h is data */
	uint8_t dac[DAC_BYTES], dac_mask;
	uint16_t dac_next; /* byte of dac[] */
	bool dac_reading;  /* the last index was written to 3c7h */
	bool told;         /* the backend knows that the picture changed */
};

static void changed(struct vga *v)
{
	if (v->told)
		return;
	v->told = true;
	if (v->config.backend.changed)
		v->config.backend.changed(v->config.backend.arg);
}

/* --- Memory --- */

/* Offset into display memory of offset `off` from a0000h; false: not decoded there. */
static bool decode(const struct vga *v, uint32_t *off)
{
	static const struct {
		uint32_t first, bytes;
	} map[4] = {
		{0,        0x20000},
		{ 0,       0x10000},
		{ 0x10000, 0x8000 },
		{ 0x18000, 0x8000 },
	};
	unsigned select = v->gfx[GFX_MISC] >> 2 & 3;

	*off -= map[select].first; /* wraps when below */
	if (*off >= map[select].bytes)
		return false;
	*off &= PLANE_BYTES - 1;
	return true;
}

/* A byte for each of the planes in the low four bits. */
static uint32_t spread_bits(uint8_t planes)
{
	uint32_t all = 0;

	for (unsigned i = 0; i < 4; i++)
		all |= planes >> i & 1 ? UINT32_C(0xff) << (8 * i) : 0;
	return all;
}

static uint32_t spread(uint8_t byte)
{
	return byte * UINT32_C(0x01010101);
}

/* Logical function of register 3, with what was last read. */
static uint32_t combine(const struct vga *v, uint32_t value)
{
	switch (v->gfx[GFX_ROTATE] >> 3 & 3) {
	case 1: return value & v->latch;
	case 2: return value | v->latch;
	case 3: return value ^ v->latch;
	default: return value;
	}
}

/* What the CPU's byte becomes on the four planes, before the map mask. */
static uint32_t written(const struct vga *v, uint8_t byte)
{
	unsigned by = v->gfx[GFX_ROTATE] & 7;
	uint8_t rotated = (uint8_t)(byte >> by | byte << (8 - by));
	uint32_t set = spread_bits(v->gfx[GFX_SET_RESET]), value, mask;

	mask = spread(v->gfx[GFX_BIT_MASK]);
	switch (v->gfx[GFX_MODE] & 3) {
	case 0: {
		uint32_t enable = spread_bits(v->gfx[GFX_ENABLE_SET_RESET]);

		value = combine(v, (spread(rotated) & ~enable) | (set & enable));
		break;
	}
	case 1: return v->latch;
	case 2: value = combine(v, spread_bits(byte)); break;
	default:
		mask &= spread(rotated);
		value = set;
		break;
	}
	return (value & mask) | (v->latch & ~mask);
}

static void memory_write(struct vga *v, uint32_t off, uint8_t byte)
{
	uint8_t planes = v->seq[SEQ_MAP_MASK];
	uint32_t mask;

	if (!decode(v, &off))
		return;
	if (v->seq[SEQ_MODE] & MODE_CHAIN4) {
		planes &= (uint8_t)(1u << (off & 3));
		off &= ~3u;
	} else if (!(v->seq[SEQ_MODE] & MODE_SEQUENTIAL)) {
		planes &= off & 1 ? 0xa : 0x5;
		off &= ~1u;
	}
	mask = spread_bits(planes);
	v->memory[off] = (v->memory[off] & ~mask) | (written(v, byte) & mask);
	changed(v);
}

static uint8_t memory_read(struct vga *v, uint32_t off)
{
	unsigned plane = v->gfx[GFX_READ_MAP] & 3;
	uint32_t differs;

	if (!decode(v, &off))
		return 0xff;
	if (v->seq[SEQ_MODE] & MODE_CHAIN4) {
		plane = off & 3;
		off &= ~3u;
	} else if (v->gfx[GFX_MODE] & GFX_MODE_ODD_EVEN) {
		plane = (plane & 2) | (off & 1);
		off &= ~1u;
	}
	v->latch = v->memory[off];
	if (!(v->gfx[GFX_MODE] & GFX_MODE_COMPARE))
		return (uint8_t)(v->latch >> (8 * plane));
	differs =
		(v->latch ^ spread_bits(v->gfx[GFX_COMPARE])) & spread_bits(v->gfx[GFX_DONT_CARE]);
	differs |= differs >> 16;
	return (uint8_t) ~(differs | differs >> 8);
}

/* --- Registers --- */

static uint8_t read_status(struct vga *v)
{
	uint64_t in_frame = device_now(&v->dev) % ((uint64_t)LINE_NS * FRAME_LINES);
	unsigned line = (unsigned)(in_frame / LINE_NS);
	uint8_t status = 0;

	v->attr_data = false;
	if (line >= LINES_SEEN || in_frame % LINE_NS >= LINE_SEEN_NS)
		status |= STATUS_BLANK;
	if (line - RETRACE_FIRST < RETRACE_LINES)
		status |= STATUS_RETRACE;
	return status;
}

static uint8_t read_dac(struct vga *v)
{
	uint8_t value = v->dac[v->dac_next];

	v->dac_next = (uint16_t)((v->dac_next + 1) % DAC_BYTES);
	return value;
}

static uint8_t element(const uint8_t *array, unsigned count, unsigned index)
{
	return index < count ? array[index] : 0;
}

/* The other address of the CRT controller is the one that answers: `off` is not a register. */
static bool other_address(const struct vga *v, unsigned off)
{
	bool color = v->misc & MISC_COLOR;

	return off < PORT_ATTRIBUTE ? color : off >= PORT_CRTC_INDEX - 4 && !color;
}

static uint8_t read_port(struct vga *v, unsigned off)
{
	if (other_address(v, off))
		return 0xff;
	switch (off) {
	case PORT_CRTC_INDEX_MONO:
	case PORT_CRTC_INDEX: return v->crtc_index;
	case PORT_CRTC_DATA_MONO:
	case PORT_CRTC_DATA: return element(v->crtc, CRTC_COUNT, v->crtc_index);
	case PORT_STATUS_MONO:
	case PORT_STATUS: return read_status(v);
	case PORT_ATTRIBUTE: return v->attr_index;
	case PORT_ATTRIBUTE_READ: return element(v->attr, ATTR_COUNT, v->attr_index & ATTR_INDEX);
	case PORT_MISC_WRITE: return STATUS0_SENSE;
	case PORT_SEQUENCER_INDEX: return v->seq_index;
	case PORT_SEQUENCER_DATA: return element(v->seq, SEQ_COUNT, v->seq_index);
	case PORT_DAC_MASK: return v->dac_mask;
	case PORT_DAC_READ_INDEX: return v->dac_reading ? 3 : 0;
	case PORT_DAC_WRITE_INDEX: return (uint8_t)(v->dac_next / 3);
	case PORT_DAC_DATA: return read_dac(v);
	case PORT_FEATURE_READ: return v->feature;
	case PORT_MISC_READ: return v->misc;
	case PORT_GRAPHICS_INDEX: return v->gfx_index;
	case PORT_GRAPHICS_DATA: return element(v->gfx, GFX_COUNT, v->gfx_index);
	default: return 0xff;
	}
}

static void write_crtc(struct vga *v, uint8_t value)
{
	unsigned i = v->crtc_index;

	if (i >= CRTC_COUNT)
		return;
	if (i <= CRTC_OVERFLOW && v->crtc[CRTC_RETRACE_END] & CRTC_PROTECT) {
		if (i != CRTC_OVERFLOW)
			return;
		value = (v->crtc[i] & ~OVERFLOW_COMPARE) | (value & OVERFLOW_COMPARE);
	}
	v->crtc[i] = value;
}

static void write_attribute(struct vga *v, uint8_t value)
{
	unsigned i = v->attr_index & ATTR_INDEX;

	if (!v->attr_data)
		v->attr_index = value & (ATTR_INDEX | ATTR_SHOWN);
	/* The colors belong to the screen while it is on. */
	else if (i < ATTR_COUNT && (i >= ATTR_MODE || !(v->attr_index & ATTR_SHOWN)))
		v->attr[i] = value;
	v->attr_data = !v->attr_data;
}

static void write_element(uint8_t *array, unsigned count, unsigned index, uint8_t value)
{
	if (index < count)
		array[index] = value;
}

static void write_dac_index(struct vga *v, uint8_t index, bool reading)
{
	v->dac_next = (uint16_t)(index * 3);
	v->dac_reading = reading;
}

static void write_dac(struct vga *v, uint8_t value)
{
	v->dac[v->dac_next] = value & 0x3f;
	v->dac_next = (uint16_t)((v->dac_next + 1) % DAC_BYTES);
}

static void write_port(struct vga *v, unsigned off, uint8_t value)
{
	if (other_address(v, off))
		return;
	switch (off) {
	case PORT_CRTC_INDEX_MONO:
	case PORT_CRTC_INDEX: v->crtc_index = value & 0x3f; break;
	case PORT_CRTC_DATA_MONO:
	case PORT_CRTC_DATA: write_crtc(v, value); break;
	case PORT_STATUS_MONO:
	case PORT_STATUS: v->feature = value; break;
	case PORT_ATTRIBUTE: write_attribute(v, value); break;
	case PORT_MISC_WRITE: v->misc = value; break;
	case PORT_SEQUENCER_INDEX: v->seq_index = value & 7; break;
	case PORT_SEQUENCER_DATA: write_element(v->seq, SEQ_COUNT, v->seq_index, value); break;
	case PORT_DAC_MASK: v->dac_mask = value; break;
	case PORT_DAC_READ_INDEX: write_dac_index(v, value, true); break;
	case PORT_DAC_WRITE_INDEX: write_dac_index(v, value, false); break;
	case PORT_DAC_DATA: write_dac(v, value); break;
	case PORT_GRAPHICS_INDEX: v->gfx_index = value & 15; break;
	case PORT_GRAPHICS_DATA: write_element(v->gfx, GFX_COUNT, v->gfx_index, value); break;
	default: return;
	}
	changed(v);
}

static uint8_t read_byte(struct device *dev, unsigned region, unsigned off)
{
	struct vga *v = (struct vga *)dev;

	return region == REGION_MEMORY ? memory_read(v, off) : read_port(v, off);
}

static void write_byte(struct device *dev, unsigned region, unsigned off, uint8_t value)
{
	struct vga *v = (struct vga *)dev;

	if (region == REGION_MEMORY)
		memory_write(v, off, value);
	else
		write_port(v, off, value);
}

static uint64_t vga_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	return bytes_read(dev, region, off, size, read_byte);
}

static void vga_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		      uint64_t value)
{
	bytes_write(dev, region, off, size, value, write_byte);
}

/* --- Power on: mode 3, 80 columns by 25 rows of 9 by 16 dots --- */

static const uint8_t mode3_seq[SEQ_COUNT] = { 0x03, 0x00, 0x03, 0x00, 0x02 };
static const uint8_t mode3_gfx[GFX_COUNT] = { [GFX_MODE] = 0x10, 0x0e, 0x00, 0xff };
static const uint8_t mode3_crtc[CRTC_COUNT] = { 0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf,
						0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00,
						0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f,
						0x96, 0xb9, 0xa3, 0xff };
static const uint8_t mode3_attr[ATTR_COUNT] = { 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14,
						0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
						0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00 };
#define MODE3_MISC  0x67
#define MODE3_BLANK UINT32_C(0x0720) /* a space, light grey on black */

/* The 64 colors of the attribute controller: two bits for each of red, green and blue. */
static void reset_dac(struct vga *v)
{
	memset(v->dac, 0, sizeof(v->dac));
	for (unsigned i = 0; i < 64; i++)
		for (unsigned c = 0; c < 3; c++)
			v->dac[i * 3 + c] =
				(uint8_t)((i >> (2 - c) & 1) * 0x2a + (i >> (5 - c) & 1) * 0x15);
	v->dac_mask = 0xff;
	v->dac_next = 0;
	v->dac_reading = false;
}

static void vga_reset(struct device *dev)
{
	struct vga *v = (struct vga *)dev;

	for (unsigned i = 0; i < PLANE_BYTES; i++)
		v->memory[i] = MODE3_BLANK;
	v->latch = 0;
	v->misc = MODE3_MISC;
	v->feature = 0;
	v->seq_index = v->gfx_index = v->crtc_index = 0;
	memcpy(v->seq, mode3_seq, sizeof(v->seq));
	memcpy(v->gfx, mode3_gfx, sizeof(v->gfx));
	memcpy(v->crtc, mode3_crtc, sizeof(v->crtc));
	memcpy(v->attr, mode3_attr, sizeof(v->attr));
	v->attr_index = ATTR_SHOWN;
	v->attr_data = false;
	reset_dac(v);
	changed(v);
}

/* --- Looking --- */

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Where in a plane the character with this count lies. */
static uint32_t cell_address(const struct vga *v, uint32_t count)
{
	if (v->crtc[CRTC_UNDERLINE] & UNDERLINE_DWORD)
		count = count << 2 | (count >> 14 & 3);
	else if (!(v->crtc[CRTC_MODE] & CRTC_MODE_BYTE))
		count = count << 1 | (count >> 15 & 1);
	return count & (PLANE_BYTES - 1);
}

static unsigned lines(const struct vga *v)
{
	uint8_t over = v->crtc[CRTC_OVERFLOW];

	return (v->crtc[CRTC_LINES] | (over & 0x02) << 7 | (over & 0x40) << 3) + 1u;
}

static uint32_t crtc_word(const struct vga *v, unsigned high)
{
	return (uint32_t)v->crtc[high] << 8 | v->crtc[high + 1];
}

static void look_for_cursor(const struct vga *v, struct vga_screen *s, uint32_t start,
			    uint32_t pitch)
{
	uint32_t at = crtc_word(v, CRTC_CURSOR_HIGH) - start;
	uint8_t first = v->crtc[CRTC_CURSOR_START];

	s->cursor_column = s->cursor_row = -1;
	if (first & CURSOR_OFF || (first & SCAN_LINES) > (v->crtc[CRTC_CURSOR_END] & SCAN_LINES))
		return;
	at &= PLANE_BYTES - 1;
	if (!pitch || at / pitch >= s->rows || at % pitch >= s->columns)
		return;
	s->cursor_row = (int)(at / pitch);
	s->cursor_column = (int)(at % pitch);
}

void vga_look(struct device *vga, struct vga_screen *s)
{
	struct vga *v = (struct vga *)vga;
	uint32_t start = crtc_word(v, CRTC_START_HIGH), pitch = v->crtc[CRTC_OFFSET] * 2u;
	bool off = v->seq[SEQ_CLOCKING] & CLOCKING_OFF || !(v->attr_index & ATTR_SHOWN);

	v->told = false;
	s->graphics = v->gfx[GFX_MISC] & GFX_MISC_GRAPHICS;
	s->blink = v->attr[ATTR_MODE] & ATTR_MODE_BLINK;
	s->columns = off ? 0 : least(v->crtc[CRTC_COLUMNS] + 1u, VGA_COLUMNS_MAX);
	s->rows = lines(v) / ((v->crtc[CRTC_MAX_SCAN] & SCAN_LINES) + 1u);
	s->rows = off ? 0 : least(s->rows, VGA_ROWS_MAX);
	look_for_cursor(v, s, start, pitch);
	if (s->graphics) {
		s->columns = (v->crtc[CRTC_COLUMNS] + 1u) * 8;
		s->rows = lines(v);
		return;
	}
	for (unsigned y = 0; y < s->rows; y++)
		for (unsigned x = 0; x < s->columns; x++)
			s->cell[y * s->columns + x] =
				(uint16_t)v->memory[cell_address(v, start + y * pitch + x)];
}

/* --- State --- */

static const struct field vga_fields[] = {
	FIELD_ARRAY(vga, memory, 1), FIELD(vga, latch, 1),       FIELD(vga, misc, 1),
	FIELD(vga, feature, 1),      FIELD(vga, seq_index, 1),   FIELD_ARRAY(vga, seq, 1),
	FIELD(vga, gfx_index, 1),    FIELD_ARRAY(vga, gfx, 1),   FIELD(vga, crtc_index, 1),
	FIELD_ARRAY(vga, crtc, 1),   FIELD(vga, attr_index, 1),  FIELD_ARRAY(vga, attr, 1),
	FIELD(vga, attr_data, 1),    FIELD_ARRAY(vga, dac, 1),   FIELD(vga, dac_mask, 1),
	FIELD(vga, dac_next, 1),     FIELD(vga, dac_reading, 1), FIELD_END
};

static int vga_loaded(struct device *dev, struct fail *why)
{
	struct vga *v = (struct vga *)dev;

	if (v->seq_index > 7 || v->gfx_index > 15 || v->crtc_index > 0x3f ||
	    v->attr_index & ~(ATTR_INDEX | ATTR_SHOWN) || v->dac_next >= DAC_BYTES)
		return fail(why, -EINVAL, "%s: impossible index", dev->id);
	for (unsigned i = 0; i < DAC_BYTES; i++)
		if (v->dac[i] > 0x3f)
			return fail(why, -EINVAL, "%s: impossible color", dev->id);
	changed(v);
	return 0;
}

static const struct device_ops vga_ops = {
	.type = "vga",
	.reset = vga_reset,
	.read = vga_read,
	.write = vga_write,
	.state = vga_fields,
	.state_version = 1,
	.loaded = vga_loaded,
};

int vga_create(struct vm *vm, const struct vga_config *config, struct device **vga,
	       struct fail *why)
{
	struct vga *v = host_alloc(sizeof(*v));
	int err;

	if (!v)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	v->config = *config;
	device_add(vm, &v->dev, &vga_ops, config->id);
	*vga = &v->dev;
	err = device_claim_ports(&v->dev, REGION_PORTS, config->ports, PORT_COUNT, why);
	return err ? err
		   : device_claim_mmio(&v->dev, REGION_MEMORY, config->memory, VGA_MEMORY_BYTES,
				       why);
}
