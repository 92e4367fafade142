/*
 * console.h - the guest's serial line on this process's standard input and output.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_CONSOLE_H
#define CONTROL_CONSOLE_H

#include <stdbool.h>

#include "board/pc.h"
#include "host/fail.h"

struct console;

/* Blocks the signals it will take (call before any other thread starts) and, on a terminal,
 * enters raw mode. NULL and *why on failure. */
struct console *console_open(struct fail *why);
/* What the board connects its serial port to. */
struct char_backend console_backend(struct console *c);
/* Where what the guest prints by hypercall goes: to the same place. */
struct vm_hooks console_hooks(struct console *c);
/* Starts the input thread: keystrokes go to `uart`, quit keys and signals to `vm`. */
int console_start(struct console *c, struct vm *vm, struct device *uart, struct fail *why);
/* Standard input is a terminal: somebody may press Ctrl-A x. */
bool console_interactive(const struct console *c);
/* Joins the thread and restores the terminal. Call before the machine is closed. */
void console_stop(struct console *c);
/* The signal that ended the run, or 0. */
int console_signal(const struct console *c);
void console_close(struct console *c);

#endif
