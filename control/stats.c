/*
 * stats.c - writes --stats (see stats.h; the members are described in trapeze.1).
 *
 * SPDX-License-Identifier: MIT
 */
#include "control/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "save/save.h"

int stats_open(struct stats_file *f, const char *path, struct fail *why)
{
	f->path = path;
	f->fd = -1;
	f->host_start_ns = host_monotonic_ns();
	f->cpu_start_ns = host_cpu_ns();
	if (!path)
		return 0;
	if (strcmp(path, "-") == 0) {
		f->standard = true;
		f->path = "standard output";
		f->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
		return f->fd < 0 ? fail(why, -errno, "%s: %s", f->path, strerror(errno)) : 0;
	}
	f->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	f->created = f->fd >= 0;
	if (f->fd < 0 && errno == EEXIST)
		f->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (f->fd < 0)
		return fail(why, -errno, "%s: cannot write: %s", path, strerror(errno));
	return 0;
}

static json_t *exits_object(const struct vm *vm)
{
	json_t *exits = json_object();

	for (unsigned r = 0; r < EXIT_REASON_COUNT; r++) {
		uint64_t n = 0;

		for (unsigned i = 0; i < vm->vcpus; i++)
			n += vm->vcpu[i]->exits[r];
		json_object_set_new(exits, exit_name((enum exit_reason)r),
				    json_integer((json_int_t)n));
	}
	return exits;
}

static void add_figure(void *arg, const char *part, const char *name, uint64_t value)
{
	json_t *o = arg, *in = part ? json_object_get(o, part) : o;

	if (!in) {
		in = json_object();
		json_object_set_new(o, part, in);
	}
	value += (uint64_t)json_integer_value(json_object_get(in, name)); /* other vCPUs' */
	json_object_set_new(in, name, json_integer((json_int_t)value));
}

static void set_figures(json_t *o, const struct vm *vm)
{
	json_t *figures;

	if (!vm->engine->figures)
		return;
	figures = json_object();
	for (unsigned i = 0; i < vm->vcpus; i++)
		vm->engine->figures(vm->vcpu[i], add_figure, figures);
	json_object_set_new(o, vm->engine->figures_name, figures);
}

static json_t *hash_string(struct vm *vm)
{
	struct save_hash hash = save_hash(vm);
	char text[33];

	snprintf(text, sizeof(text), "%016llx%016llx", (unsigned long long)hash.high,
		 (unsigned long long)hash.low);
	return json_string(text);
}

static json_t *stats_object(const struct stats_file *f, struct vm *vm, const char *ended)
{
	json_t *o = json_object();
	uint64_t instructions = 0;

	for (unsigned i = 0; i < vm->vcpus; i++)
		instructions += *vm->vcpu[i]->retired;
	json_object_set_new(o, "engine", json_string(vm->engine->name));
	json_object_set_new(o, "ended", json_string(ended));
	json_object_set_new(o, "instructions", json_integer((json_int_t)instructions));
	json_object_set_new(o, "engine_switches", json_integer((json_int_t)vm->switches.done));
	json_object_set_new(o, "exits", exits_object(vm));
	set_figures(o, vm);
	json_object_set_new(o, "guest_seconds", json_real((double)clock_now(&vm->clock) / 1e9));
	json_object_set_new(o, "host_seconds",
			    json_real((double)(host_monotonic_ns() - f->host_start_ns) / 1e9));
	json_object_set_new(o, "host_cpu_seconds",
			    json_real((double)(host_cpu_ns() - f->cpu_start_ns) / 1e9));
	if (vm->clock.source == CLOCK_SOURCE_COUNTED)
		json_object_set_new(o, "state_hash", hash_string(vm));
	return o;
}

static int write_text(struct stats_file *f, const char *text, struct fail *why)
{
	struct iovec line[2] = {
		{(void *)text, strlen(text)},
                { "\n",        1           }
	};
	ssize_t all = (ssize_t)line[0].iov_len + 1;
	struct stat st;

	if (!f->standard && fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    ftruncate(f->fd, 0) != 0)
		return fail(why, -errno, "%s: cannot truncate: %s", f->path, strerror(errno));
	errno = EIO;
	if (writev(f->fd, line, 2) != all)
		return fail(why, -errno, "%s: cannot write: %s", f->path, strerror(errno));
	f->created = false;
	return 0;
}

int stats_write(struct stats_file *f, struct vm *vm, const char *ended, struct fail *why)
{
	json_t *o;
	char *text;
	int err;

	if (f->fd < 0)
		return 0;
	o = stats_object(f, vm, ended);
	text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	json_decref(o);
	if (!text)
		return fail(why, -ENOMEM, "%s: no memory for the statistics", f->path);
	err = write_text(f, text, why);
	free(text);
	return err;
}

void stats_close(struct stats_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	if (f->created) /* and nothing came of it */
		unlink(f->path);
	f->created = false;
}
