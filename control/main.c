/*
 * main.c - the command line's front door: a table of verbs.
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "board/engines.h"
#include "control/commands.h"
#include "control/image.h"
#include "control/options.h"
#include "board/version.h"
#include "host/host.h"

static int command_engines(int argc, char **argv);
static int command_version(int argc, char **argv);
static int command_help(int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"run",      command_run,     "boot a virtual machine"                           },
	{ "image",   command_image,   "create, look at, check and convert disk images"   },
	{ "engines", command_engines, "list the engines, whether usable, and the default"},
	{ "version", command_version, "print the version"                                },
	{ "help",    command_help,    "help on a command"                                },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int usage(FILE *to)
{
	fputs("usage: trapeze COMMAND [OPTION]...\n\n", to);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
	fputs("\n'trapeze help run' lists the options of run, 'trapeze help image' the verbs of "
	      "image.\n",
	      to);
	return to == stdout ? 0 : 2;
}

/* The words after a verb that takes none. */
static int no_words(const char *verb, int argc, char **argv)
{
	if (argc == 0)
		return 0;
	host_warn("%s: what is '%s'?", verb, argv[0]);
	return 2;
}

static int command_engines(int argc, char **argv)
{
	const struct engine_ops *best, *counts;

	if (no_words("engines", argc, argv))
		return 2;
	for (unsigned i = 0; engines[i]; i++) {
		struct fail why = { 0, "" };

		const char *what = engines[i]->probe(&why) < 0 ? "not usable" : "usable";

		printf("%-8s %s%s%s\n", engines[i]->name, what, why.text[0] ? ": " : "", why.text);
	}
	best = engine_auto(0, NULL);
	counts = engine_auto(ENGINE_COUNTED, NULL);
	if (best && counts && counts != best)
		printf("auto     takes %s; %s where instructions are counted\n", best->name,
		       counts->name);
	else if (best)
		printf("auto     takes %s\n", best->name);
	return 0;
}

static int command_version(int argc, char **argv)
{
	if (no_words("version", argc, argv))
		return 2;
	printf("trapeze %s\n", TRAPEZE_VERSION);
	return 0;
}

/* For the shell completion, a line each: commands, options of run, topics of --trace. */
static int list(int argc, char **argv)
{
	if (argc > 0 && strcmp(argv[0], "run") == 0) {
		options_list_run(stdout);
		return 0;
	}
	if (argc > 0 && strcmp(argv[0], "image") == 0) {
		image_list(stdout, argc > 1 ? argv[1] : NULL);
		return 0;
	}
	if (argc > 0 && strcmp(argv[0], "trace") == 0) {
		options_list_trace(stdout);
		return 0;
	}
	for (size_t i = 0; argc == 0 && i < COMMANDS; i++)
		puts(commands[i].name);
	return 0;
}

static int command_help(int argc, char **argv)
{
	const struct command *c;

	if (argc == 0)
		return usage(stdout);
	if (strcmp(argv[0], "--list") == 0)
		return list(argc - 1, argv + 1);
	c = find_command(argv[0]);
	if (!c) {
		host_warn("help: there is no command '%s'", argv[0]);
		return 2;
	}
	if (c->run == command_run)
		options_help_run(stdout);
	else if (c->run == command_image)
		image_help(stdout);
	else
		printf("usage: trapeze %s%s\n\n%s\n", c->name,
		       c->run == command_help ? " [COMMAND]" : "", c->help);
	return 0;
}

/* Started with one of them closed, the next file opened would take its number, and get what the
 * guest prints. The lowest free number is what open() gives. */
static bool open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	return fd >= 0 && close(fd) == 0;
}

static int dispatch(int argc, char **argv)
{
	const struct command *c;

	if (argc < 2)
		return usage(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return usage(stdout);
	if (strcmp(argv[1], "--version") == 0)
		return command_version(0, argv);
	c = find_command(argv[1]);
	if (!c) {
		host_warn("there is no command '%s' (see 'trapeze help')", argv[1]);
		return 2;
	}
	if (argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0))
		return command_help(1, argv + 1);
	return c->run(argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
	int status;

	if (!open_standard_files())
		return 1;
	/* A file that may not grow further (ulimit -f) is an error of the write like any other. */
	signal(SIGXFSZ, SIG_IGN);
	status = dispatch(argc, argv);
	/* What was asked for and could not be printed is a failure. */
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	host_warn("standard output: cannot write");
	return status ? status : 1;
}
