/*
 * terminal.h - the user's terminal in raw mode, and always back.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_TERMINAL_H
#define CONTROL_TERMINAL_H

#include <stdbool.h>

/* Puts a terminal on standard input into raw mode; false: it is not a terminal. From then on
 * every way out of the process restores it: exit(), abort(), a crash, a fatal signal. Call
 * before any engine is opened: its fault handlers chain to these. */
bool terminal_raw(void);
void terminal_restore(void);
/* Raw again after the process was stopped and continued. */
void terminal_continue(void);

#endif
