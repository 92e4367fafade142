/*
 * port.c - a backend thread's door to its device (see port.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "backend/port.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "machine/device.h"

int port_open(struct port *port, struct fail *why)
{
	port->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (port->wake < 0)
		return fail(why, -errno, "no event counter: %s", strerror(errno));
	return 0;
}

void port_close(struct port *port)
{
	if (port->wake >= 0)
		close(port->wake);
	port->wake = -1;
}

void port_wake(struct port *port)
{
	uint64_t one = 1;

	if (write(port->wake, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable */
}

void port_stop(struct port *port)
{
	atomic_store(&port->stop, true);
	port_wake(port);
}

void port_room(struct port *port, size_t bytes)
{
	atomic_fetch_add(&port->credit, bytes);
	if (atomic_load(&port->lacking) && atomic_exchange(&port->lacking, false))
		port_wake(port);
}

void port_woken(struct port *port)
{
	uint64_t count;

	if (read(port->wake, &count, sizeof(count)) < 0)
		return; /* nobody woke it: fine */
}

bool port_lacks(struct port *port, size_t bytes)
{
	if (atomic_load(&port->credit) >= bytes)
		return false;
	atomic_store(&port->lacking, true);
	return atomic_load(&port->credit) < bytes;
}

bool port_post(struct port *port, const void *message, size_t bytes)
{
	/* Only this thread takes credit away. */
	if (atomic_load(&port->credit) < bytes)
		return false;
	atomic_fetch_sub(&port->credit, bytes);
	if (device_post(port->dev, message, bytes) == 0)
		return true;
	atomic_fetch_add(&port->credit, bytes);
	return false;
}

bool port_tell(struct port *port, const void *message, size_t bytes)
{
	return device_post(port->dev, message, bytes) == 0;
}
