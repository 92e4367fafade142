/*
 * virtio_fields.h - the rows of the virtio core in a device's field table.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_FIELDS_H
#define DEVICE_VIRTIO_FIELDS_H

/* clang-format off */
#define VIRTIO_QUEUE_FIELD(type, v, member) FIELD_EACH(type, v.queue, member, 1)
/* Rows for the field table of `type`, whose first member is `struct virtio v`. */
#define VIRTIO_FIELDS(type, v)                                                                     \
	PCI_FIELDS(type, v.pci),                                                                   \
	FIELD(type, v.features, 1),                                                                \
	FIELD(type, v.feature_select, 1),                                                          \
	FIELD(type, v.driver_feature_select, 1),                                                   \
	FIELD(type, v.config_vector, 1),                                                           \
	FIELD(type, v.queue_select, 1),                                                            \
	FIELD(type, v.status, 1),                                                                  \
	FIELD(type, v.isr, 1),                                                                     \
	FIELD(type, v.generation, 1),                                                              \
	FIELD(type, v.again, 1),                                                                   \
	FIELD(type, v.again_at, 1),                                                                \
	VIRTIO_QUEUE_FIELD(type, v, desc),                                                         \
	VIRTIO_QUEUE_FIELD(type, v, driver),                                                       \
	VIRTIO_QUEUE_FIELD(type, v, device),                                                       \
	VIRTIO_QUEUE_FIELD(type, v, size),                                                         \
	VIRTIO_QUEUE_FIELD(type, v, vector),                                                       \
	VIRTIO_QUEUE_FIELD(type, v, enabled),                                                      \
	VIRTIO_QUEUE_FIELD(type, v, avail),                                                        \
	VIRTIO_QUEUE_FIELD(type, v, used),                                                         \
	VIRTIO_QUEUE_FIELD(type, v, avail_wrap),                                                   \
	VIRTIO_QUEUE_FIELD(type, v, used_wrap)
/* clang-format on */

#endif
