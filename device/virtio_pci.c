/*
 * virtio_pci.c - the PCI transport: where a driver finds the registers of a virtio device.
 *
 * One memory BAR holds everything, a page for each structure, and vendor capabilities in
 * configuration space say so. The last capability is a window onto the BAR for software that
 * cannot map it: a BIOS in real mode.
 *
 *	0000 common configuration	3000 notifications, 4 bytes a queue
 *	1000 ISR			4000 MSI-X table
 *	2000 device configuration	5000 MSI-X pending bits
 *
 * Not modelled: legacy and transitional devices, notification data, shared memory.
 *
 * Spec: virtio 1.2, 4.1. Tested by test/device/virtio.c.
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <string.h>

#include "device/pci_internal.h"
#include "device/virtio_internal.h"
#include "machine/vm.h"

#define BAR 0
enum {
	AT_COMMON = 0x0000,
	AT_ISR = 0x1000,
	AT_DEVICE = 0x2000,
	AT_NOTIFY = 0x3000,
	AT_MSIX_TABLE = 0x4000,
	AT_MSIX_PBA = 0x5000,
	BAR_BYTES = 0x8000,
};
#define PAGE_OF(off)      ((off) & ~UINT64_C(0xfff))
#define NOTIFY_MULTIPLIER 4u

/* struct virtio_pci_cap, 4.1.4: offsets, and the structures' types. */
enum { CAP_LEN = 2, CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12, CAP_MORE = 16 };
enum { TYPE_COMMON = 1, TYPE_NOTIFY = 2, TYPE_ISR = 3, TYPE_DEVICE = 4, TYPE_PCI = 5 };

/* --- Interrupts --- */

void virtio_interrupt(struct virtio *v, uint16_t vector, uint8_t isr)
{
	if (pci_msix_enabled(&v->pci)) {
		pci_msix_send(&v->pci, vector);
		return;
	}
	v->isr |= isr;
	pci_intx(&v->pci, true);
}

static uint8_t take_isr(struct virtio *v)
{
	uint8_t isr = v->isr;

	v->isr = 0;
	pci_intx(&v->pci, false);
	return isr;
}

/* --- Common configuration, 4.1.4.3 --- */

/* X(name, offset, bytes), ascending and without gaps. */
#define COMMON(X)                                                                                  \
	X(DEVICE_FEATURE_SELECT, 0x00, 4)                                                          \
	X(DEVICE_FEATURE, 0x04, 4)                                                                 \
	X(DRIVER_FEATURE_SELECT, 0x08, 4)                                                          \
	X(DRIVER_FEATURE, 0x0c, 4)                                                                 \
	X(CONFIG_VECTOR, 0x10, 2)                                                                  \
	X(NUM_QUEUES, 0x12, 2)                                                                     \
	X(DEVICE_STATUS, 0x14, 1)                                                                  \
	X(CONFIG_GENERATION, 0x15, 1)                                                              \
	X(QUEUE_SELECT, 0x16, 2)                                                                   \
	X(QUEUE_SIZE, 0x18, 2)                                                                     \
	X(QUEUE_VECTOR, 0x1a, 2)                                                                   \
	X(QUEUE_ENABLE, 0x1c, 2)                                                                   \
	X(QUEUE_NOTIFY_OFF, 0x1e, 2)                                                               \
	X(QUEUE_DESC, 0x20, 8)                                                                     \
	X(QUEUE_DRIVER, 0x28, 8)                                                                   \
	X(QUEUE_DEVICE, 0x30, 8)                                                                   \
	X(QUEUE_NOTIFY_DATA, 0x38, 2)                                                              \
	X(QUEUE_RESET, 0x3a, 2)
enum common {
#define X(name, offset, bytes) name,
	COMMON(X)
#undef X
};
static const struct {
	uint8_t off, bytes;
} common[] = {
#define X(name, offset, bytes) { offset, bytes },
	COMMON(X)
#undef X
};
#define COMMON_COUNT (sizeof(common) / sizeof(common[0]))
#define COMMON_BYTES 0x3c

static struct virtio_queue *selected(struct virtio *v)
{
	return v->queue_select < v->queues ? &v->queue[v->queue_select] : NULL;
}

static uint64_t queue_get(struct virtio *v, enum common reg)
{
	const struct virtio_queue *q = selected(v);

	if (!q)
		return 0; /* a size of 0: there is no such queue */
	switch (reg) {
	case QUEUE_SIZE: return q->size;
	case QUEUE_VECTOR: return q->vector;
	case QUEUE_ENABLE: return q->enabled;
	case QUEUE_NOTIFY_OFF: return v->queue_select;
	case QUEUE_DESC: return q->desc;
	case QUEUE_DRIVER: return q->driver;
	case QUEUE_DEVICE: return q->device;
	default: return 0;
	}
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static uint64_t common_get(struct virtio *v, enum common reg)
{
	switch (reg) {
	case DEVICE_FEATURE_SELECT: return v->feature_select;
	case DEVICE_FEATURE: return feature_word(v->offered, v->feature_select);
	case DRIVER_FEATURE_SELECT: return v->driver_feature_select;
	case DRIVER_FEATURE: return feature_word(v->features, v->driver_feature_select);
	case CONFIG_VECTOR: return v->config_vector;
	case NUM_QUEUES: return v->queues;
	case DEVICE_STATUS: return v->status;
	case CONFIG_GENERATION: return v->generation;
	case QUEUE_SELECT: return v->queue_select;
	default: return queue_get(v, reg);
	}
}

static void accept_features(struct virtio *v, uint32_t word)
{
	unsigned shift = 32 * v->driver_feature_select;

	if (v->driver_feature_select > 1 || v->status & STATUS_FEATURES_OK)
		return;
	v->features &= ~((uint64_t)UINT32_MAX << shift);
	v->features |= ((uint64_t)word << shift);
}

static uint16_t vector_of(const struct virtio *v, uint64_t value)
{
	return value < v->pci.msix_vectors ? (uint16_t)value : PCI_NO_VECTOR;
}

static void enable_queue(struct virtio *v, struct virtio_queue *q)
{
	if (!virtio_queue_valid(v, q)) {
		device_trace(&v->pci.dev, "queue %u cannot have %u entries", v->queue_select,
			     q->size);
		return;
	}
	q->enabled = true;
	virtio_kick(v, v->queue_select);
}

static void reset_queue(struct virtio *v, struct virtio_queue *q)
{
	if (!virtio_has(v, VIRTIO_F_RING_RESET))
		return;
	v->class->queue_reset(v, v->queue_select);
	virtio_queue_clear(v, q);
}

static void queue_set(struct virtio *v, struct virtio_queue *q, enum common reg, uint64_t value)
{
	if (reg == QUEUE_VECTOR)
		q->vector = vector_of(v, value);
	else if (reg == QUEUE_RESET && value == 1)
		reset_queue(v, q);
	if (q->enabled) /* 4.1.4.3.2: set up before it is enabled */
		return;
	switch (reg) {
	case QUEUE_SIZE: q->size = (uint16_t)value; break;
	case QUEUE_DESC: q->desc = value; break;
	case QUEUE_DRIVER: q->driver = value; break;
	case QUEUE_DEVICE: q->device = value; break;
	case QUEUE_ENABLE:
		if (value == 1)
			enable_queue(v, q);
		break;
	default: break;
	}
}

static void common_set(struct virtio *v, enum common reg, uint64_t value)
{
	switch (reg) {
	case DEVICE_FEATURE_SELECT: v->feature_select = (uint32_t)value; break;
	case DRIVER_FEATURE_SELECT: v->driver_feature_select = (uint32_t)value; break;
	case DRIVER_FEATURE: accept_features(v, (uint32_t)value); break;
	case CONFIG_VECTOR: v->config_vector = vector_of(v, value); break;
	case DEVICE_STATUS: virtio_set_status(v, (uint8_t)value); break;
	case QUEUE_SELECT: v->queue_select = (uint16_t)value; break;
	default:
		if (selected(v))
			queue_set(v, selected(v), reg, value);
	}
}

static uint64_t bits(unsigned bytes)
{
	return bytes >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << (8 * bytes)) - 1;
}

/* The part of register `i` that an access at `off` covers: where in the register, where in the
 * access, how many bytes. */
static bool overlap(unsigned i, unsigned off, unsigned size, unsigned *in, unsigned *from,
		    unsigned *bytes)
{
	unsigned first = common[i].off > off ? common[i].off : off;
	unsigned end = common[i].off + common[i].bytes;

	if (end > off + size)
		end = off + size;
	if (first >= end)
		return false;
	*in = first - common[i].off;
	*from = first - off;
	*bytes = end - first;
	return true;
}

static uint64_t common_read(struct virtio *v, unsigned off, unsigned size)
{
	uint64_t value = 0;
	unsigned in, from, bytes;

	for (unsigned i = 0; i < COMMON_COUNT; i++) {
		if (overlap(i, off, size, &in, &from, &bytes))
			value |= (common_get(v, i) >> (8 * in) & bits(bytes)) << (8 * from);
	}
	return value;
}

static void common_write(struct virtio *v, unsigned off, unsigned size, uint64_t value)
{
	unsigned in, from, bytes;

	for (unsigned i = 0; i < COMMON_COUNT; i++) {
		uint64_t mask, old;

		if (!overlap(i, off, size, &in, &from, &bytes))
			continue;
		mask = bits(bytes) << (8 * in);
		old = bytes < common[i].bytes ? common_get(v, i) & ~mask : 0;
		common_set(v, i, old | (value >> (8 * from) << (8 * in) & mask));
	}
}

/* --- Device configuration --- */

static uint64_t config_read(struct virtio *v, unsigned off, unsigned size)
{
	uint64_t value = 0;

	if (off + size > v->config_bytes) {
		for (unsigned i = 0; i < size && off + i < v->config_bytes; i++)
			value |= config_read(v, off + i, 1) << (8 * i);
		return value;
	}
	if (v->class->config_read)
		return v->class->config_read(v, off, size);
	memcpy(&value, v->config + off, size);
	return value;
}

static void config_write(struct virtio *v, unsigned off, unsigned size, uint64_t value)
{
	if (v->class->config_write && off + size <= v->config_bytes)
		v->class->config_write(v, off, size, value);
}

/* --- Notifications that need not leave the guest --- */

static void place_bells(struct virtio *v, uint64_t at, bool on)
{
	for (unsigned q = 0; q < v->queues; q++)
		device_bell(&v->pci.dev, gpa(at + NOTIFY_MULTIPLIER * q), on);
}

static void remapped(struct pci_function *fn)
{
	struct virtio *v = (struct virtio *)fn;
	uint64_t at;

	if (!pci_bar_mapped(fn, BAR, AT_NOTIFY, &at))
		at = 0;
	if (at == v->bells_at)
		return;
	if (v->bells_at)
		place_bells(v, v->bells_at, false);
	v->bells_at = at;
	if (at)
		place_bells(v, at, true);
}

/* --- The BAR --- */

uint64_t virtio_dev_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct virtio *v = (struct virtio *)dev;
	unsigned in = (unsigned)(off & 0xfff);

	(void)region;
	switch (PAGE_OF(off)) {
	case AT_COMMON: return in < COMMON_BYTES ? common_read(v, in, size) : 0;
	case AT_ISR: return in == 0 ? take_isr(v) : 0;
	case AT_DEVICE: return config_read(v, in, size);
	default: return 0;
	}
}

void virtio_dev_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		      uint64_t value)
{
	struct virtio *v = (struct virtio *)dev;
	unsigned in = (unsigned)(off & 0xfff);

	(void)region;
	switch (PAGE_OF(off)) {
	case AT_COMMON: common_write(v, in, size, value); break;
	case AT_DEVICE: config_write(v, in, size, value); break;
	case AT_NOTIFY: virtio_kick(v, in / NOTIFY_MULTIPLIER); break;
	default: break;
	}
}

/* --- Configuration access capability, 4.1.4.9 --- */

/* The access that the driver described; false: it makes no sense. */
static bool window(const struct virtio *v, uint32_t *off, uint32_t *size)
{
	const uint8_t *cap = v->pci.config + v->window;

	memcpy(off, cap + CAP_OFFSET, sizeof(*off));
	memcpy(size, cap + CAP_LENGTH, sizeof(*size));
	return cap[CAP_BAR] == BAR && (*size == 1 || *size == 2 || *size == 4) &&
	       *off < BAR_BYTES && !(*off & (*size - 1));
}

static bool touches_data(const struct virtio *v, unsigned off, unsigned size)
{
	unsigned data = v->window + CAP_MORE;

	return off < data + 4u && data < off + size;
}

static void window_read(struct pci_function *fn, unsigned off, unsigned size)
{
	struct virtio *v = (struct virtio *)fn;
	uint32_t at, bytes, value;

	if (!touches_data(v, off, size) || !window(v, &at, &bytes))
		return;
	value = (uint32_t)pci_bar_read(fn, BAR, at, bytes);
	memcpy(fn->config + v->window + CAP_MORE, &value, bytes);
}

static void window_write(struct pci_function *fn, unsigned off, unsigned size)
{
	struct virtio *v = (struct virtio *)fn;
	uint32_t at, bytes, value;

	if (!touches_data(v, off, size) || !window(v, &at, &bytes))
		return;
	memcpy(&value, fn->config + v->window + CAP_MORE, sizeof(value));
	pci_bar_write(fn, BAR, at, bytes, value & bits(bytes));
}

static uint8_t structure(struct pci_function *fn, uint8_t type, uint32_t at, uint32_t bytes,
			 uint8_t more)
{
	uint8_t cap = pci_capability(fn, PCI_CAP_VENDOR, CAP_MORE + more);

	fn->first[cap + CAP_LEN] = (uint8_t)(CAP_MORE + more);
	fn->first[cap + CAP_TYPE] = type;
	fn->first[cap + CAP_BAR] = BAR;
	memcpy(fn->first + cap + CAP_OFFSET, &at, sizeof(at));
	memcpy(fn->first + cap + CAP_LENGTH, &bytes, sizeof(bytes));
	return cap;
}

void virtio_pci_describe(struct virtio *v)
{
	struct pci_function *fn = &v->pci;
	uint32_t multiplier = NOTIFY_MULTIPLIER;
	uint8_t cap;

	assert(v->config_bytes <= 4096);
	pci_bar(fn, BAR, PCI_BAR_MEM32, BAR_BYTES);
	structure(fn, TYPE_COMMON, AT_COMMON, COMMON_BYTES, 0);
	cap = structure(fn, TYPE_NOTIFY, AT_NOTIFY, NOTIFY_MULTIPLIER * v->queues, 4);
	memcpy(fn->first + cap + CAP_MORE, &multiplier, sizeof(multiplier));
	structure(fn, TYPE_ISR, AT_ISR, 1, 0);
	if (v->config_bytes)
		structure(fn, TYPE_DEVICE, AT_DEVICE, v->config_bytes, 0);
	v->window = structure(fn, TYPE_PCI, 0, 0, 4);
	fn->writable[v->window + CAP_BAR] = 0xff;
	memset(fn->writable + v->window + CAP_OFFSET, 0xff, 12);
	fn->configuring = window_read;
	fn->configured = window_write;
	fn->remapped = remapped;
	/* One vector for each queue and one for changes of configuration. */
	pci_msix(fn, BAR, AT_MSIX_TABLE, AT_MSIX_PBA, v->queues + 1);
}
