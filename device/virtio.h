/*
 * virtio.h - what a virtio device gives, and what it gets.
 *
 * The core (virtio.c and virtio_pci.c) does the transport, feature negotiation, split
 * and packed rings, indirect tables, event indexes and interrupts. A device is one file:
 * a struct that begins with struct virtio, a struct virtio_class, a field table that begins
 * with VIRTIO_FIELDS, and device_ops that contain VIRTIO_DEVICE_OPS.
 *
 * Chains. virtio_pop() reads each descriptor once, checks that every byte is RAM (writable RAM
 * where the device writes) and gives a struct virtio_chain: guest addresses that the guest can no
 * longer change. Data is moved with virtio_get() and virtio_put() (checked copies) or, where
 * a host call wants pointers, virtio_iov(); what was written through pointers is told with
 * virtio_wrote(), so that dirty tracking and watched code pages hear of it. The guest may
 * change *data* at any time: copy a header in, then look at the copy.
 *
 * A driver that breaks a ring gets DEVICE_NEEDS_RESET, and virtio_pop() finds nothing
 * until it resets the device. A device does the same with virtio_needs_reset().
 *
 * A chain that is kept between two entries (a disk's request in flight) is state: it must be
 * in the device's field table, and is forgotten in reset. Devices that can, leave
 * the buffer in the ring until they need it.
 *
 * A turn - one entry into the device - is bounded: after VIRTIO_TURN chains virtio_pop() finds
 * nothing, and the queue is notified again a little later in virtual time. So a driver on another
 * CPU that keeps a ring full does not keep the device lock. A device whose chains are long does the
 * same earlier, by virtio_again().
 *
 * Everything with the device lock held. Spec: virtio 1.2. Tested by test/device/virtio.c, virtio_rings.c, virtio_broken.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_H
#define DEVICE_VIRTIO_H

#include <sys/uio.h>

#include "device/pci.h"
#include "device/virtio_fields.h"

#define VIRTIO_QUEUES_MAX     64
#define VIRTIO_QUEUE_SIZE_MAX 256
#define VIRTIO_SEGMENTS_MAX   256  /* of one chain */
#define VIRTIO_TURN           1024 /* chains in one entry */

/* Device IDs, section 5. */
enum virtio_id {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_ENTROPY = 4,
	VIRTIO_ID_9P = 9,
	VIRTIO_ID_VSOCK = 19,
};

/* Reserved feature bits, section 6. The core offers these by itself; a device offers 0-23, 50-63.
 */
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX     (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1     (UINT64_C(1) << 32)
#define VIRTIO_F_RING_PACKED   (UINT64_C(1) << 34)
#define VIRTIO_F_RING_RESET    (UINT64_C(1) << 40)

struct virtio;

/* What a device gives. Any entry may be NULL. */
struct virtio_class {
	uint16_t id;         /* enum virtio_id */
	uint32_t class_code; /* PCI class, as in struct pci_identity */
	/* The driver wrote DRIVER_OK: queues may be used from now on. `features` are final. */
	void (*start)(struct virtio *v);
	/* The driver made buffers available in queue `q` (or just enabled it late). */
	void (*notify)(struct virtio *v, unsigned q);
	/* Power-on and device reset (status = 0): forget chains in flight, go back to first state.
	 * Called before the core forgets the queues; nothing may be pushed. */
	void (*reset)(struct virtio *v);
	/* Device-specific configuration space, `config_bytes` long: off + size lie inside. Without
	 * config_read, the bytes of v->config are given. */
	uint64_t (*config_read)(struct virtio *v, unsigned off, unsigned size);
	void (*config_write)(struct virtio *v, unsigned off, unsigned size, uint64_t value);
	/* The driver reset queue q (RING_RESET): forget its chains. Offered when not NULL. */
	void (*queue_reset)(struct virtio *v, unsigned q);
	/* As in device_ops; alarm 3 is the core's. */
	void (*alarm)(struct device *dev, unsigned which, uint64_t now);
	void (*input)(struct device *dev, const void *data, size_t bytes);
	/* Fields were loaded, the core's part is checked and rebuilt: check and rebuild. 0 or -E*.
	 */
	int (*loaded)(struct virtio *v, struct fail *why);
	/* Host resources go; the struct itself is freed by the core. */
	void (*destroy)(struct virtio *v);
};

/* One virtqueue. Private to the core, but its rows are in every device's field table. */
struct virtio_queue {
	uint64_t desc, driver, device; /* guest addresses of the three areas */
	uint16_t size;                 /* what the driver chose; 0 before that: the most */
	uint16_t vector;               /* MSI-X; PCI_NO_VECTOR: none */
	bool enabled;
	uint16_t avail; /* split: next avail entry; packed: next descriptor */
	uint16_t used;  /* split: next used entry; packed: next descriptor to mark used */
	bool avail_wrap, used_wrap; /* packed: ring wrap counters */

	/* Not state: of what was pushed and not yet flushed; nothing between two entries. */
	uint16_t used_new;                /* chains */
	uint16_t first_slot, first_flags; /* packed: the flags that are written last */
	uint16_t old_used;                /* packed: where `used` was */
	bool old_wrap;
};

struct virtio {
	struct pci_function pci; /* first: and in it struct device */
	const struct virtio_class *class;
	uint64_t offered;    /* features, the core's own included */
	uint8_t window;      /* offset of the configuration access capability */
	unsigned queues;     /* how many this device has */
	uint16_t queue_size; /* the most the driver may choose */
	uint8_t *config;     /* device-specific configuration space: config_bytes long */
	unsigned config_bytes;
	unsigned turn;     /* chains that may be popped before this entry ends */
	uint64_t bells_at; /* where notifications ring; 0: nowhere */

	/* State. */
	uint64_t features; /* what the driver accepted */
	uint32_t feature_select, driver_feature_select;
	uint16_t config_vector, queue_select;
	uint8_t status, isr, generation;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
	uint64_t again;    /* queues to be notified again: a bit for each */
	uint64_t again_at; /* virtual ns; 0: none is */
};

/* The core's entries of device_ops; a device adds type, state, state_version. */
#define VIRTIO_DEVICE_OPS                                                                          \
	.reset = virtio_dev_reset, .read = virtio_dev_read, .write = virtio_dev_write,             \
	.alarm = virtio_dev_alarm, .input = virtio_dev_input, .loaded = virtio_dev_loaded,         \
	.destroy = virtio_dev_destroy
void virtio_dev_reset(struct device *dev);
void virtio_dev_alarm(struct device *dev, unsigned which, uint64_t now);
void virtio_dev_input(struct device *dev, const void *data, size_t bytes);
uint64_t virtio_dev_read(struct device *dev, unsigned region, uint64_t off, unsigned size);
void virtio_dev_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		      uint64_t value);
int virtio_dev_loaded(struct device *dev, struct fail *why);
void virtio_dev_destroy(struct device *dev);

/* What a device says of itself. */
struct virtio_config {
	const char *id; /* outlives the device */
	uint64_t features;
	unsigned queues;
	uint16_t queue_size; /* 0: VIRTIO_QUEUE_SIZE_MAX; a power of two */
	void *config;        /* lives in the device's struct; changes by virtio_config_changed() */
	unsigned config_bytes; /* at most 4096 */
	uint8_t devfn;         /* or PCI_ANY_SLOT */
};

/* Adds the device to bus and machine. v is the first member of a host_alloc()ed struct, which
 * belongs to the machine from here on, also when this fails. */
int virtio_add(struct pci_host *host, struct virtio *v, const struct virtio_class *class,
	       const struct device_ops *ops, const struct virtio_config *config, struct fail *why);

struct virtio_segment {
	uint64_t at; /* guest-physical */
	uint32_t bytes;
};

/* One request: what the device reads, then what it writes. */
struct virtio_chain {
	uint16_t id;      /* split: head index; packed: buffer ID */
	uint16_t slots;   /* packed: descriptors it takes in the ring; split: 1 */
	uint16_t in, out; /* segments: `in` that the device reads, then `out` it writes */
	uint64_t in_bytes, out_bytes;
	struct virtio_segment segment[VIRTIO_SEGMENTS_MAX];
};

/* DRIVER_OK is set, the device is not broken and the driver accepted `feature` (a mask). */
bool virtio_running(const struct virtio *v);
static inline bool virtio_has(const struct virtio *v, uint64_t feature)
{
	return (v->features & feature) == feature;
}

/* Takes the next available chain of queue q. false: none (the driver will notify when there is), or
 * the ring is broken (the device needs a reset now), or the queue is not enabled, or this turn has
 * been long enough (the core will notify). */
bool virtio_pop(struct virtio *v, unsigned q, struct virtio_chain *chain);
/* Puts back the chain popped last (then the one before): the next pop gives it again. */
void virtio_unpop(struct virtio *v, unsigned q, const struct virtio_chain *chain);
/* Is there something to pop? Asks for a notification when not. */
bool virtio_waiting(struct virtio *v, unsigned q);

/* Notifies queue q again, a little later: for a device that has done enough in one entry. */
void virtio_again(struct virtio *v, unsigned q);

/* Copies from what the device reads (at byte `off` of it) or to what it writes. Returns the bytes
 * moved: fewer than n where the chain ends. */
size_t virtio_get(struct virtio *v, const struct virtio_chain *c, uint64_t off, void *to, size_t n);
size_t virtio_put(struct virtio *v, const struct virtio_chain *c, uint64_t off, const void *from,
		  size_t n);
/* Host pointers of bytes [off, off + n) of the readable or (out) writable part. Returns how many
 * entries were filled, at most `room`; less than asked for is covered when room or the chain ends.
 */
unsigned virtio_iov(struct virtio *v, const struct virtio_chain *c, bool out, uint64_t off,
		    uint64_t n, struct iovec *iov, unsigned room);
/* Bytes [off, off + n) of the writable part were written through pointers. */
void virtio_wrote(struct virtio *v, const struct virtio_chain *c, uint64_t off, uint64_t n);

/* The segments of a chain that stays between two entries, as members of the device's field table:
 * `room` of each array, zeros behind the last; and the chain of them again, its id, slots, in and
 * out being filled in. */
void virtio_keep(const struct virtio_chain *c, uint64_t *at, uint32_t *bytes, unsigned room);
void virtio_kept(struct virtio_chain *c, const uint64_t *at, const uint32_t *bytes);

/* Gives the chain back, `written` bytes of it filled. The driver sees it, and is interrupted if it
 * wants to be, at virtio_flush(): several chains that belong together become visible at once. */
void virtio_push(struct virtio *v, unsigned q, const struct virtio_chain *chain, uint32_t written);
void virtio_flush(struct virtio *v, unsigned q);

/* Configuration space changed: bumps the generation and interrupts. */
void virtio_config_changed(struct virtio *v);
/* The driver broke the protocol. */
void virtio_needs_reset(struct virtio *v, const char *reason);

#endif
