/*
 * run.c - `trapeze run`: builds the machine, runs it, turns its end into an exit status.
 *
 * Exit statuses are a promise (trapeze.1): 0, 1, 2, 3, 4, and under --debug-exit what the
 * guest asked for.
 *
 * Tested by test/api/cli.
 * SPDX-License-Identifier: MIT
 */
#include "control/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "board/engines.h"
#include "board/pc.h"
#include "control/console.h"
#include "control/disks.h"
#include "control/options.h"
#include "control/perf_map.h"
#include "control/stats.h"

static const struct {
	const char *word;
	int status;
} endings[] = {
	[VM_NONE] = {"none",        1},
          [VM_POWEROFF] = { "poweroff",   0},
	[VM_RESET] = { "reset",      0},
          [VM_DEBUG_EXIT] = { "debug-exit", 0},
	[VM_CRASHED] = { "crashed",    3},
          [VM_STUCK] = { "stuck",      1},
	[VM_QUIT] = { "quit",       0},
          [VM_STOP_AT] = { "stop-at",    0},
	[VM_HALTED] = { "halted",     4},
};

/* "FILE@ADDRESS" to its parts; the copy is freed by command_run(). */
static int split_flat(const char *text, struct pc_config *config, struct fail *why)
{
	char *copy, *at;

	if (!text)
		return 0;
	copy = strdup(text);
	if (!copy)
		return fail(why, -ENOMEM, "no memory");
	config->flat = copy;
	at = strrchr(copy, '@');
	if (!at)
		return 0;
	*at = '\0';
	return options_parse_size(at + 1, &config->flat_at); /* checked with the options */
}

/* What the run needs of its engine; each planned switch must be possible, too. */
static int choose_engine(const struct run_options *o, struct pc_config *config, struct fail *why)
{
	bool exact = o->counted || o->stop_at != UINT64_MAX;
	unsigned needed = (exact ? ENGINE_COUNTED : 0) | (o->cpus > 1 ? ENGINE_THREADS : 0);
	const struct engine_ops *engine;

	engine = strcmp(o->engine, "auto") ? engine_find(o->engine) : engine_auto(needed, why);
	if (!engine || engine->probe(why) < 0)
		return why->code;
	config->engine = engine;
	config->cpu = o->cpu ? cpu_model_find(o->cpu) : NULL;
	if (exact && !(engine->caps & ENGINE_COUNTED))
		return fail(why, -EINVAL, "engine %s does not count instructions, as --%s needs",
			    engine->name, o->counted ? "counted" : "stop-at");
	for (unsigned i = 0; i < o->switches; i++) {
		const struct switch_point *p = &o->switch_to[i];

		if (p->to->probe(why) < 0)
			return why->code;
		if (o->counted && !(p->to->caps & ENGINE_COUNTED))
			return fail(why, -EINVAL,
				    "--switch: engine %s does not count instructions, "
				    "as --counted needs",
				    p->to->name);
		if (p->instruction != UINT64_MAX && !(engine->caps & ENGINE_COUNTED))
			return fail(why, -EINVAL,
				    "--switch: engine %s does not count instructions; to leave it, "
				    "give a time",
				    engine->name);
		engine = p->to;
		/* What a guest was offered, every engine has to be able to do. */
		config->no_kvm_services |= engine->hypercalls && !engine->hypercalls();
		/* Every engine has to be able to show the CPU. */
		if (!o->cpu && engine->cpu_model)
			config->cpu = engine->cpu_model(why);
	}
	return 0;
}

static int configure(const struct run_options *o, struct pc_config *config, struct fail *why)
{
	*config = (struct pc_config){
		.memory = o->memory,
		.pages = o->pages,
		.vcpus = (unsigned)o->cpus,
		.kernel = o->kernel,
		.initrd = o->initrd,
		.append = o->append,
		.flat_at = PC_FLAT_DEFAULT,
		.firmware = o->firmware,
		.boot_menu = o->boot_menu,
		.serial_screen = o->display == CONSOLE_serial,
		.counted = o->counted,
		.slice = o->slice,
		.engine_options = o->engine_options,
		.stop_at = o->stop_at,
		.no_reboot = o->no_reboot,
		.debug_exit = o->debug_exit,
		.trace = o->trace,
		.net = o->net.text,
		.nets = o->net.count,
		.vsock = o->vsock,
		.share = o->share.text,
		.shares = o->share.count,
		.port = o->port.text,
		.ports = o->port.count,
	};
	if (choose_engine(o, config, why))
		return why->code;
	return split_flat(o->flat, config, why);
}

static void tell_halted(struct vcpu *vcpu)
{
	struct x86_state s;

	vcpu_get_state(vcpu, &s);
	host_warn("guest halted for ever: %s, RIP 0x%llx",
		  s.rflags & FLAG_IF ? "no timer is set and no input comes" : "interrupts are off",
		  (unsigned long long)s.rip);
}

static void debugcon_write(void *arg, const void *data, size_t bytes)
{
	fwrite(data, 1, bytes, arg);
}

/* What the firmware prints, a line at a time. */
static int open_debugcon(const char *path, FILE **file, struct pc_config *config, struct fail *why)
{
	if (!path)
		return 0;
	*file = fopen(path, "we");
	if (!*file)
		return fail(why, -errno, "%s: cannot write: %s", path, strerror(errno));
	setvbuf(*file, NULL, _IOLBF, BUFSIZ);
	config->debug = (struct char_backend){ .write = debugcon_write, .arg = *file };
	return 0;
}

static int finish(enum vm_request ended, int asked, struct console *console, struct pc *pc,
		  struct fail *why)
{
	int signo = console_signal(console);

	if (ended == VM_DEBUG_EXIT)
		return asked;
	if (ended == VM_CRASHED) {
		host_warn("the guest crashed (triple fault)");
		vcpu_dump(pc->vm->vcpu[pc->vm->blamed]);
	}
	if (ended == VM_HALTED)
		tell_halted(pc->vm->vcpu[0]);
	if (ended == VM_STUCK && asked)
		host_warn("%s", why->text);
	else if (ended == VM_STUCK) /* the reason is told already */
		vcpu_dump(pc->vm->vcpu[pc->vm->blamed]);
	if (ended == VM_QUIT && !signo)
		host_warn("ended by Ctrl-A x");
	if (signo) {
		host_warn("ended by signal %d (%s)", signo, strsignal(signo));
		return 1;
	}
	return endings[ended].status;
}

static int run_machine(struct pc *pc, const struct run_options *options, struct console *console,
		       struct disks *disks, struct stats_file *stats, struct fail *why)
{
	int asked = 0, status, err;
	enum vm_request ended;

	err = console_start(console, pc, why);
	if (err)
		return err;
	why->text[0] = '\0';
	/* On a terminal a halted guest waits for its user, as a real machine does. */
	pc->vm->halt_ends = pc->config.counted || !console_interactive(console);
	vm_plan_switches(pc->vm, options->switch_to, options->switches);
	disks_connect(disks, pc->vm);
	ended = vm_run(pc->vm, UINT64_MAX, &asked, why);
	disks_connect(disks, NULL);
	console_stop(console);
	status = finish(ended, asked, console, pc, why);
	err = stats_write(stats, pc->vm, endings[ended].word, why);
	return err ? err : status;
}

int command_run(int argc, char **argv)
{
	struct fail why = { 0, "" };
	struct run_options options;
	struct stats_file stats = { .fd = -1 };
	struct console *console = NULL;
	struct pc_config config = { 0 };
	struct pc *pc = NULL;
	struct disks *disks = NULL;
	FILE *debugcon = NULL;
	int status = -EINVAL;

	if (options_parse_run(&options, argc, argv, &why)) {
		host_warn("%s", why.text);
		return 2;
	}
	if (configure(&options, &config, &why) || stats_open(&stats, options.stats, &why) ||
	    open_debugcon(options.debugcon, &debugcon, &config, &why) ||
	    perf_map_open(options.perf_map, &config.engine_options, &why))
		goto out;
	disks = disks_open(&options, &config, &why);
	if (!disks)
		goto out;
	console = console_open((enum console_kind)options.display, &why);
	if (!console)
		goto out;
	console_connect(console, &config);
	console_continue(console, disks_retry, disks);
	pc = pc_open(&config, &why);
	if (pc)
		status = run_machine(pc, &options, console, disks, &stats, &why);
	console_stop(console);
out:
	if (status < 0)
		host_warn("%s", why.text);
	pc_close(pc);
	perf_map_close(&config.engine_options);
	if (disks_close(disks, &why)) {
		host_warn("%s", why.text);
		status = 1;
	}
	console_close(console);
	if (debugcon)
		fclose(debugcon);
	free((void *)config.flat);
	stats_close(&stats);
	return status < 0 ? 1 : status;
}
