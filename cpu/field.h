/*
 * field.h - how a struct says which of its members are state.
 *
 * A field table is the file format: names are stable for ever, `since` is the
 * state version that added the field. Save, load, migration, register dumps
 * and fuzzing all read the same table. Host handles and caches are never in it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CPU_FIELD_H
#define CPU_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct field {
	const char *name;
	uint32_t offset; /* bytes from the start of the struct */
	uint32_t count;  /* elements; 1 for a scalar */
	uint16_t width;  /* bytes an element: 1, 2, 4 or 8 */
	uint16_t since;  /* state version that added it */
	uint32_t stride; /* bytes from one element to the next */
	uint8_t boolean; /* the member is a bool: a loaded value above 1 is refused */
};

#define FIELD_IS_BOOL(type, member)                                                                \
	_Generic(((struct type *)0)->member, bool: 1, default: 0)
#define FIELD_MEMBER_SIZE(type, member) sizeof(((struct type *)0)->member)

/* FIELD(ns16550, ier, 1) */
#define FIELD(type, member, version)                                                               \
	{                                                                                          \
		#member, offsetof(struct type, member), 1, FIELD_MEMBER_SIZE(type, member),        \
			version, FIELD_MEMBER_SIZE(type, member), FIELD_IS_BOOL(type, member)      \
	}
/* FIELD_ARRAY(ns16550, rx_fifo, 1): one-dimensional array of 1, 2, 4 or 8 byte elements. */
#define FIELD_ARRAY(type, member, version)                                                         \
	{                                                                                          \
		#member, offsetof(struct type, member),                                            \
			FIELD_MEMBER_SIZE(type, member) / FIELD_MEMBER_SIZE(type, member[0]),      \
			FIELD_MEMBER_SIZE(type, member[0]), version,                               \
			FIELD_MEMBER_SIZE(type, member[0]), FIELD_IS_BOOL(type, member[0])         \
	}
/* FIELD_EACH(i8254, channel, count, 1): member `count` of every element of struct array `channel`. */
#define FIELD_EACH(type, array, member, version)                                                   \
	{                                                                                          \
		#array "." #member, offsetof(struct type, array[0].member),                        \
			FIELD_MEMBER_SIZE(type, array) / FIELD_MEMBER_SIZE(type, array[0]),        \
			FIELD_MEMBER_SIZE(type, array[0].member), version,                         \
			FIELD_MEMBER_SIZE(type, array[0]), FIELD_IS_BOOL(type, array[0].member)    \
	}
#define FIELD_END                                                                                  \
	{                                                                                          \
		NULL, 0, 0, 0, 0, 0, 0                                                              \
	}

#endif
