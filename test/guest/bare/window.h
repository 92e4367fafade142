/*
 * window.h - a page table of its own, for pages whose mappings change while several CPUs use them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_GUEST_WINDOW_H
#define TEST_GUEST_WINDOW_H

#include "cpus.h"

#define WINDOW (UINT64_C(1) << 39)

static uint64_t window_pdpt[512] __attribute__((aligned(PAGE)));
static uint64_t window_pd[512] __attribute__((aligned(PAGE)));
static uint64_t window_pt[512] __attribute__((aligned(PAGE)));
/* The first byte of each is its number. */
static uint8_t frames[2][PAGE] __attribute__((aligned(PAGE)));

/* What is behind the window's first page. */
static inline void map_frame(unsigned which)
{
	__atomic_store_n(&window_pt[0], (uint64_t)frames[which] | PTE_P | PTE_W, __ATOMIC_SEQ_CST);
}

/* Before other CPUs know of it. */
static inline void open_window(void)
{
	frames[1][0] = 1;
	window_pd[0] = (uint64_t)window_pt | PTE_P | PTE_W;
	window_pdpt[0] = (uint64_t)window_pd | PTE_P | PTE_W;
	flushed_page = (volatile uint8_t *)WINDOW;
	map_frame(0);
	pml4[1] = (uint64_t)window_pdpt | PTE_P | PTE_W;
}

#endif
