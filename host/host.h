/*
 * host.h - everything the monitor asks of whatever it stands on.
 *
 * host/linux/ fills this with system calls, a later host/metal/ with page
 * tables and privileged instructions. Nothing below floor 3 calls libc for
 * memory, time or threads: it calls this. (memcpy, memset, memcmp and
 * snprintf are assumed everywhere.)
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/fail.h"

/* Zeroed memory, 64-byte aligned; NULL when there is none. Any thread. */
void *host_alloc(size_t bytes);
void host_free(void *p);

/*
 * Zeroed, page-aligned memory that costs host memory only when touched: guest
 * RAM and large tables. `bytes` is rounded up to pages; 2 MiB and more ask for huge pages,
 * so touching one byte may cost 2 MiB. NULL when refused.
 */
void *host_map(size_t bytes);
void host_unmap(void *p, size_t bytes);
/* RAM of a guest, in one piece. `at` is a multiple of 2 MiB; all zero, and costs host memory only
 * when touched. */
enum host_pages {
	HOST_PAGES_USUAL,       /* private, of 2 MiB where the host can and likes to */
	HOST_PAGES_SHARED,      /* a file, which another process can map, of small ones */
	HOST_PAGES_TRANSPARENT, /* as usual; refused by a host that never makes those of 2 MiB */
	HOST_PAGES_RESERVED,    /* of 2 MiB, from the host's pool; refused when it has too few */
};
struct host_ram {
	uint8_t *at; /* NULL: not open */
	size_t bytes;
	int fd; /* a file that is this memory; -1: it is private */
	bool huge; /* the host makes huge pages of it as it is touched */
};
/* 0; -ENOMEM or -ENOTSUP and a sentence. */
int host_ram_open(struct host_ram *ram, uint64_t bytes, enum host_pages pages, struct fail *why);
void host_ram_close(struct host_ram *ram);
/* What the host could give at most: memory and swap space, in bytes. */
uint64_t host_memory_bytes(void);
/* Gives the contents back to the host: the range, whole pages of host_map() or of a host_ram_open()
 * without HOST_PAGES_RESERVED, reads as zero afterwards. */
void host_discard(void *p, size_t bytes);

/* Executable memory, mapped twice so that no page is ever writable and
 * executable at one address (W^X). write_at and exec_at show the same bytes. The first one of a
 * process has its data and exec_at at the same place in every process, and so on. */
struct host_code {
	uint8_t *write_at;
	const uint8_t *exec_at;
	size_t bytes;
	uint8_t *data; /* data_bytes of plain memory that end where exec_at begins */
	size_t data_bytes;
	bool borrowed; /* write_at is another's */
};
int host_code_open(struct host_code *code, size_t bytes, size_t data_bytes, struct fail *why);
/* The same memory of `from` once more, to be executed elsewhere, with data of its own. Write while
 * `from` is open. */
int host_code_again(struct host_code *code, const struct host_code *from, struct fail *why);
/* Code [from, +bytes) is about to be written and executed: better in huge pages, where the host can.
 * Nobody else writes what is in the huge pages around it meanwhile. */
void host_code_dense(const struct host_code *code, size_t from, size_t bytes);
void host_code_close(struct host_code *code);

/*
 * A native fault (SIGFPE, SIGSEGV, SIGBUS, SIGILL) whose program counter lies inside
 * [code->exec_at, +bytes) resumes at `landing` with all registers as the faulting
 * instruction had them but RAX, which holds that program counter. Faults elsewhere reach the
 * handler that was installed before. Registering is per process, until host_code_close().
 */
int host_code_catch(const struct host_code *code, const void *landing, struct fail *why);
/* The signal the calling thread's last caught fault raised; cleared by reading. */
int host_code_caught(void);

/* Sets the GS base of the calling thread, for generated code. Nothing else uses it. */
void host_gs_base(const void *base);

/* Code that another thread has changed is executed as it is now: SDM vol. 3 8.1.3. */
void host_serialize(void);

/* Nanoseconds. monotonic: never steps. wall: since 1970-01-01 UTC.
 * cpu: processor time used by this process, user and system; thread_cpu: by this thread. */
uint64_t host_monotonic_ns(void);
/* Is the processor's time-stamp counter one for all CPUs, and of a constant rate? */
bool host_tsc_steady(void);
uint64_t host_wall_ns(void);
uint64_t host_cpu_ns(void);
uint64_t host_thread_cpu_ns(void);

/* Fills `buf` from the host's random source. Guests see it only through the gate. */
void host_random(void *buf, size_t bytes);

/* Locks and wake-ups. Opaque storage is allocated by _new (NULL: no memory). Who has such a lock
 * takes no other one: those that are taken around others have their order in host/order.h. */
struct host_mutex;
struct host_mutex *host_mutex_new(void);
void host_mutex_free(struct host_mutex *m);
void host_mutex_lock(struct host_mutex *m);
void host_mutex_unlock(struct host_mutex *m);

struct host_cond;
struct host_cond *host_cond_new(void);
void host_cond_free(struct host_cond *c);
/* Waits until signalled or until host_monotonic_ns() reaches `until_ns`
 * (UINT64_MAX: no limit); may wake early: re-test the condition. */
void host_cond_wait(struct host_cond *c, struct host_mutex *m, uint64_t until_ns);
void host_cond_signal(struct host_cond *c);
void host_cond_broadcast(struct host_cond *c);

/* Lets other threads run, if any waits for a processor. */
void host_yield(void);

struct host_thread;
struct host_thread *host_thread_start(void (*run)(void *arg), void *arg, const char *name);
void host_thread_join(struct host_thread *t);

/*
 * A thread that makes memory ready which will soon be touched: plain memory, or a part of generated
 * code as host_code_dense() does. Only hints, from any thread; NULL takes none. settle: forgets
 * them, and returns when none is being followed; before memory that was named goes away.
 */
struct host_ahead;
struct host_ahead *host_ahead_new(void);
void host_ahead_free(struct host_ahead *a);
void host_ahead_touch(struct host_ahead *a, void *p, size_t bytes);
/* Not if *late is above 1 when its turn comes. */
void host_ahead_touch_unless(struct host_ahead *a, void *p, size_t bytes, const uint8_t *late);
void host_ahead_dense(struct host_ahead *a, const struct host_code *code, size_t from,
		      size_t bytes);
void host_ahead_settle(struct host_ahead *a);
/* A table that ends at `end` is filled from its beginning, just now [at, +bytes). */
void host_ahead_filled(struct host_ahead *a, void *at, size_t bytes, const void *end);

/*
 * Bells: whoever rings does not wait, and rings before the bell is heard are one. A bell and a set of
 * them are descriptors (or -E* and a sentence), closed by host_bell_close(); so that a kernel can
 * ring, too. wait: blocks until a bell of the set is rung that nobody has taken; its name.
 */
int host_bells_open(struct fail *why);
int host_bell_open(int set, uint64_t name, struct fail *why);
uint64_t host_bells_wait(int set);
void host_bell_ring(int fd);
bool host_bell_take(int fd); /* false: it was not rung */
void host_bell_close(int fd);

/* Text to standard error as it is, in one write. */
void host_log(const char *text, size_t bytes);
/* Somebody else has left a line unfinished where host_log() goes: its next text begins a new one.
 * false: the line is finished. Any thread. */
void host_log_mid_line(bool unfinished);
/* Is it still? No longer after host_log(). Any thread. */
bool host_log_is_mid_line(void);
/* One line to standard error, prefixed "trapeze: ". */
__attribute__((format(printf, 1, 2))) void host_warn(const char *fmt, ...);

#endif
