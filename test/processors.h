/*
 * processors.h - on which of the host's processors threads run.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_PROCESSORS_H
#define TEST_PROCESSORS_H

#include <sched.h>
#include <sys/types.h>

#include "test/cmocka.h"

/* Thread `tid` (0: this one, and those that it then starts) gets the one with this number, from 0
 * on, of those that this thread may use, which it returns. */
static inline cpu_set_t processors_give(pid_t tid, unsigned number)
{
	cpu_set_t all, one;
	unsigned processor;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	number %= (unsigned)CPU_COUNT(&all);
	for (processor = 0; !CPU_ISSET(processor, &all) || number; processor++)
		number -= CPU_ISSET(processor, &all) != 0;
	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	sched_setaffinity(tid, sizeof(one), &one); /* which may have ended */
	return all;
}

/* This thread may use these again. */
static inline void processors_return(const cpu_set_t *all)
{
	assert_int_equal(sched_setaffinity(0, sizeof(*all), all), 0);
}

#endif
