/*
 * order.c - is the order of locks kept? (see host/order.h)
 *
 * One bit for each place in the order that the thread holds: none at or above the new one may be
 * set.
 *
 * Tested by test/unit/gate.c.
 * SPDX-License-Identifier: MIT
 */
#include "host/order.h"

#include <stdlib.h>

#include "host/host.h"

#ifdef TRAPEZE_DEBUG
atomic_bool host_order_checked = true;
#else
atomic_bool host_order_checked;
#endif

static _Thread_local unsigned held;

static const char *const texts[] = {
#define X(name, text) (text),
	HOST_ORDERS(X)
#undef X
};

static bool checked(void)
{
	return __builtin_expect(atomic_load_explicit(&host_order_checked, memory_order_relaxed),
				false);
}

void host_order_begin(enum host_order what)
{
	unsigned later;

	if (!checked())
		return;
	later = held >> what;
	if (later) {
		host_warn("locks out of order: %s, while the thread has %s", texts[what],
			  texts[what + (unsigned)__builtin_ctz(later)]);
		abort();
	}
	held |= 1u << what;
}

void host_order_end(enum host_order what)
{
	if (checked())
		held &= ~(1u << what);
}
