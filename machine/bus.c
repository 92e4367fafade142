/*
 * bus.c - port and MMIO look-up and access splitting (see bus.h).
 *
 * Ranges are kept sorted and disjoint, so a look-up is a binary search; the
 * claims are all made while the machine is built.
 *
 * Tested by test/unit/bus.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/bus.h"

#include <errno.h>
#include <string.h>

#include "machine/vm.h"

static int make_room(struct bus *bus)
{
	unsigned room = bus->room ? bus->room * 2 : 16;
	struct bus_range *more;

	if (bus->count < bus->room)
		return 0;
	more = host_alloc(room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (bus->ranges)
		memcpy(more, bus->ranges, bus->count * sizeof(*more));
	host_free(bus->ranges);
	bus->ranges = more;
	bus->room = room;
	return 0;
}

int bus_claim(struct bus *bus, struct device *dev, unsigned region, uint64_t first, uint64_t last,
	      struct fail *why)
{
	unsigned at = 0;

	if (last < first)
		return fail(why, -EINVAL, "%s: empty bus range", dev->id);
	while (at < bus->count && bus->ranges[at].last < first)
		at++;
	if (at < bus->count && bus->ranges[at].first <= last)
		return fail(why, -EEXIST, "%s: 0x%llx is already claimed by %s", dev->id,
			    (unsigned long long)first, bus->ranges[at].dev->id);
	if (make_room(bus))
		return fail(why, -ENOMEM, "%s: no memory for a bus range", dev->id);
	memmove(&bus->ranges[at + 1], &bus->ranges[at], (bus->count - at) * sizeof(bus->ranges[0]));
	bus->ranges[at] = (struct bus_range){ first, last, dev, region };
	bus->count++;
	return 0;
}

const struct bus_range *bus_find(const struct bus *bus, uint64_t addr)
{
	unsigned low = 0, high = bus->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;
		const struct bus_range *r = &bus->ranges[mid];

		if (addr < r->first)
			high = mid;
		else if (addr > r->last)
			low = mid + 1;
		else
			return r;
	}
	return NULL;
}

void bus_free(struct bus *bus)
{
	host_free(bus->ranges);
	memset(bus, 0, sizeof(*bus));
}

static uint64_t size_mask(unsigned size)
{
	return size >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << (size * 8)) - 1;
}

/* An access that lies in one range, or in none. */
static void access_one(const struct bus *bus, struct io_access *io)
{
	const struct bus_range *r = bus_find(bus, io->addr);
	uint64_t off;

	if (!r) {
		if (!io->write)
			io->data = size_mask(io->size);
		return;
	}
	off = io->addr - r->first;
	if (io->write)
		r->dev->ops->write(r->dev, r->region, off, io->size,
				   io->data & size_mask(io->size));
	else
		io->data =
			r->dev->ops->read(r->dev, r->region, off, io->size) & size_mask(io->size);
}

/* All of it is in the same range, or none of it is in any: its ends alone do not tell, a range
 * of one byte may lie between them. */
static bool in_one_range(const struct bus *bus, const struct io_access *io)
{
	const struct bus_range *first = bus_find(bus, io->addr);

	for (unsigned i = 1; i < io->size; i++) {
		if (first && io->addr + i <= first->last)
			continue;
		if (bus_find(bus, io->addr + i) != first)
			return false;
	}
	return true;
}

void bus_access_locked(const struct bus *bus, struct io_access *io)
{
	uint64_t data = 0;

	if (in_one_range(bus, io)) {
		access_one(bus, io);
		return;
	}
	for (unsigned i = 0; i < io->size; i++) {
		struct io_access byte = { io->addr + i, io->data >> (8 * i), 1, io->write };

		access_one(bus, &byte);
		data |= (byte.data & 0xff) << (8 * i);
	}
	if (!io->write)
		io->data = data;
}

void bus_access(struct vm *vm, struct bus *bus, struct io_access *io)
{
	host_mutex_lock(vm->lock);
	bus_access_locked(bus, io);
	host_mutex_unlock(vm->lock);
}

void bus_access_from(struct vcpu *vcpu, struct bus *bus, struct io_access *io)
{
	host_mutex_lock(vcpu->vm->lock);
	vcpu->vm->accessing = vcpu;
	bus_access_locked(bus, io);
	vcpu->vm->accessing = NULL;
	host_mutex_unlock(vcpu->vm->lock);
}
