/*
 * console.h - the guest's serial line, or its virtio console, or its screen and keyboard, on this
 * process's standard input and output.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_CONSOLE_H
#define CONTROL_CONSOLE_H

#include <stdbool.h>

#include "board/pc.h"
#include "host/fail.h"

struct console;

/* X(name): what of the guest the terminal is. */
#define CONSOLE_KINDS(X)                                                                           \
	X(none)                                                                                    \
	X(text)                                                                                    \
	X(serial)                                                                                  \
	X(hvc0)
enum console_kind {
#define X(name) CONSOLE_##name,
	CONSOLE_KINDS(X)
#undef X
};

/* Blocks the signals it will take (call before any other thread starts) and, on a terminal,
 * enters raw mode. NULL and *why on failure. */
struct console *console_open(enum console_kind kind, struct fail *why);
/* Sets what the board connects its serial port, screen and keyboard to, and where what the
 * guest prints by hypercall goes. */
void console_connect(struct console *c, struct pc_config *config);
/* Ctrl-A c and SIGCONT call it, from the console's thread: what stands still for its user goes on. */
void console_continue(struct console *c, void (*go_on)(void *arg), void *arg);
/* Starts the threads: keystrokes go to the serial port or the keyboard, quit keys and signals
 * to the machine. */
int console_start(struct console *c, struct pc *pc, struct fail *why);
/* Standard input is a terminal: somebody may press Ctrl-A x. */
bool console_interactive(const struct console *c);
/* Joins the thread and restores the terminal. Call before the machine is closed. */
void console_stop(struct console *c);
/* The signal that ended the run, or 0. */
int console_signal(const struct console *c);
void console_close(struct console *c);

#endif
