/*
 * virtio.c - what all virtio devices have in common: status, features, queues, interrupts.
 *
 * The idea: a device's life is its status byte. Until FEATURES_OK the driver chooses features,
 * until DRIVER_OK it sets up queues, then it uses them; writing 0 starts over. What a
 * driver does out of order is ignored, and what breaks a ring ends in DEVICE_NEEDS_RESET, from
 * which only a reset leads out.
 *
 * Not modelled: legacy devices (before virtio 1.0), shared memory regions, the
 * administration queue.
 *
 * Spec: virtio 1.2, chapters 2, 3 and 6. Tested by test/device/virtio.c.
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "device/virtio_internal.h"
#include "machine/vm.h"

#define CORE_FEATURES                                                                              \
	(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED)
#define STATUS_BITS                                                                                \
	(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_FAILED)

#define VIRTIO_VENDOR      0x1af4
#define VIRTIO_DEVICE_BASE 0x1040 /* 4.1.2 */

#define ALARM_AGAIN (DEVICE_ALARMS - 1)
#define AGAIN_NS    1000u

static struct virtio *of(struct device *dev)
{
	return (struct virtio *)dev;
}

bool virtio_running(const struct virtio *v)
{
	return (v->status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) == STATUS_DRIVER_OK &&
	       pci_master(&v->pci);
}

/* --- Reset and status --- */

void virtio_queue_clear(struct virtio *v, struct virtio_queue *q)
{
	*q = (struct virtio_queue){
		.size = v->queue_size,
		.vector = PCI_NO_VECTOR,
		.avail_wrap = true, /* 2.8.1 */
		.used_wrap = true,
	};
}

static void forget(struct virtio *v)
{
	v->features = 0;
	v->feature_select = v->driver_feature_select = 0;
	v->config_vector = PCI_NO_VECTOR;
	v->queue_select = 0;
	v->status = v->isr = 0;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		virtio_queue_clear(v, &v->queue[i]);
	v->again = v->again_at = 0;
	device_alarm(&v->pci.dev, ALARM_AGAIN, ALARM_NONE);
}

void virtio_dev_reset(struct device *dev)
{
	struct virtio *v = of(dev);

	if (v->class->reset)
		v->class->reset(v);
	forget(v);
	v->generation = 0;
	pci_reset(&v->pci);
}

/* 3.1.1 step 5: is it a set of features that this device can work with? */
static bool acceptable(const struct virtio *v)
{
	return !(v->features & ~v->offered) && virtio_has(v, VIRTIO_F_VERSION_1);
}

/* A driver may have enabled queues already: now it is known which rings they are. */
static void check_queues(struct virtio *v)
{
	for (unsigned i = 0; i < v->queues; i++)
		v->queue[i].enabled &= virtio_queue_valid(v, &v->queue[i]);
}

static void start(struct virtio *v)
{
	if (v->class->start)
		v->class->start(v);
	for (unsigned i = 0; i < v->queues; i++)
		virtio_kick(v, i);
}

void virtio_set_status(struct virtio *v, uint8_t status)
{
	uint8_t before = v->status;

	if (status == 0) {
		if (v->class->reset)
			v->class->reset(v);
		forget(v);
		pci_intx(&v->pci, false);
		return;
	}
	status &= STATUS_BITS;
	if (status & STATUS_FEATURES_OK && !(before & STATUS_FEATURES_OK) && !acceptable(v))
		status &= (uint8_t)~STATUS_FEATURES_OK;
	status |= before; /* 2.1.1: the driver only ever sets bits */
	if (!(status & STATUS_FEATURES_OK))
		status &= (uint8_t)~STATUS_DRIVER_OK;
	v->status = status;
	if (status & ~before & STATUS_FEATURES_OK)
		check_queues(v);
	if (status & ~before & STATUS_DRIVER_OK)
		start(v);
}

void virtio_kick(struct virtio *v, unsigned q)
{
	if (q >= v->queues || !v->queue[q].enabled || !virtio_running(v) || !v->class->notify)
		return;
	v->turn = VIRTIO_TURN;
	v->class->notify(v, q);
}

/* --- Turns --- */

void virtio_again(struct virtio *v, unsigned q)
{
	v->again |= UINT64_C(1) << q;
	if (v->again_at)
		return;
	v->again_at = device_now(&v->pci.dev) + AGAIN_NS;
	device_alarm(&v->pci.dev, ALARM_AGAIN, v->again_at);
}

void virtio_dev_alarm(struct device *dev, unsigned which, uint64_t now)
{
	struct virtio *v = of(dev);
	uint64_t queues = v->again;

	v->turn = VIRTIO_TURN;
	if (which != ALARM_AGAIN) {
		v->class->alarm(dev, which, now);
		return;
	}
	v->again = v->again_at = 0;
	for (unsigned q = 0; q < v->queues; q++) {
		if (queues >> q & 1)
			virtio_kick(v, q);
	}
}

void virtio_dev_input(struct device *dev, const void *data, size_t bytes)
{
	of(dev)->turn = VIRTIO_TURN;
	if (of(dev)->class->input)
		of(dev)->class->input(dev, data, bytes);
}

void virtio_needs_reset(struct virtio *v, const char *reason)
{
	if (v->status & STATUS_NEEDS_RESET)
		return;
	device_trace(&v->pci.dev, "needs a reset: %s", reason);
	v->status |= STATUS_NEEDS_RESET;
	if (v->status & STATUS_DRIVER_OK)
		virtio_interrupt(v, v->config_vector, ISR_CONFIG);
}

void virtio_config_changed(struct virtio *v)
{
	v->generation++;
	if (v->status & STATUS_DRIVER_OK)
		virtio_interrupt(v, v->config_vector, ISR_CONFIG);
}

/* --- State --- */

bool virtio_queue_valid(const struct virtio *v, const struct virtio_queue *q)
{
	if (q->size == 0 || q->size > v->queue_size)
		return false;
	return virtio_has(v, VIRTIO_F_RING_PACKED) || !(q->size & (q->size - 1));
}

static bool queue_possible(const struct virtio *v, const struct virtio_queue *q)
{
	if (!q->enabled)
		return true;
	if (!(v->status & STATUS_FEATURES_OK))
		return q->size > 0 && q->size <= v->queue_size && !q->avail && !q->used;
	if (!virtio_queue_valid(v, q))
		return false;
	return !virtio_has(v, VIRTIO_F_RING_PACKED) || (q->avail < q->size && q->used < q->size);
}

static bool possible(const struct virtio *v)
{
	if (v->status & ~(STATUS_BITS | STATUS_NEEDS_RESET) || v->isr & ~(ISR_QUEUE | ISR_CONFIG))
		return false;
	if (v->status & STATUS_FEATURES_OK ? !acceptable(v) : v->status & STATUS_DRIVER_OK)
		return false;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		if (!queue_possible(v, &v->queue[i]) || (i >= v->queues && v->queue[i].enabled))
			return false;
	}
	return v->again_at < CLOCK_END && !v->again == !v->again_at &&
	       (v->queues == 64 || !(v->again >> v->queues));
}

int virtio_dev_loaded(struct device *dev, struct fail *why)
{
	struct virtio *v = of(dev);
	int err = pci_loaded(&v->pci, why);

	if (err)
		return err;
	if (!possible(v))
		return fail(why, -EINVAL, "%s: the saved virtio state is not a possible one",
			    dev->id);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		v->queue[i].used_new = 0;
	v->turn = VIRTIO_TURN;
	device_alarm(dev, ALARM_AGAIN, v->again_at ? v->again_at : ALARM_NONE);
	return v->class->loaded ? v->class->loaded(v, why) : 0;
}

void virtio_dev_destroy(struct device *dev)
{
	struct virtio *v = of(dev);

	if (v->class->destroy)
		v->class->destroy(v);
	host_free(v);
}

/* --- Making one --- */

int virtio_add(struct pci_host *host, struct virtio *v, const struct virtio_class *class,
	       const struct device_ops *ops, const struct virtio_config *config, struct fail *why)
{
	struct pci_identity identity = {
		.vendor = VIRTIO_VENDOR,
		.device = (uint16_t)(VIRTIO_DEVICE_BASE + class->id),
		.subsystem_vendor = VIRTIO_VENDOR,
		.subsystem = (uint16_t)(VIRTIO_DEVICE_BASE + class->id),
		.class_code = class->class_code,
		.revision = 1,
		.pin = 1,
	};

	assert(config->queues >= 1 && config->queues <= VIRTIO_QUEUES_MAX);
	assert(config->queue_size <= VIRTIO_QUEUE_SIZE_MAX &&
	       !(config->queue_size & (config->queue_size - 1)));
	v->class = class;
	v->offered = config->features | CORE_FEATURES;
	if (class->queue_reset)
		v->offered |= VIRTIO_F_RING_RESET;
	v->queues = config->queues;
	v->queue_size = config->queue_size ? config->queue_size : VIRTIO_QUEUE_SIZE_MAX;
	v->config = config->config;
	v->config_bytes = config->config_bytes;
	virtio_pci_describe(v);
	return pci_add(host, &v->pci, ops, config->id, &identity, config->devfn, why);
}
