/*
 * tree.h - the CPU time of a process and everything below it. Test: the benchmark itself, and
 * tree.c's opening.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_TREE_H
#define BENCH_TREE_H

#include <sys/types.h>

/* Seconds of user and system time of `root`, its descendants, and those of them that ended and were
 * waited for. */
double tree_cpu(pid_t root);

#endif
