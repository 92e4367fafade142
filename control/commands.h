/*
 * commands.h - one function a verb of the command line; each returns the exit status.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_COMMANDS_H
#define CONTROL_COMMANDS_H

int command_run(int argc, char **argv);
int command_image(int argc, char **argv);

#endif
