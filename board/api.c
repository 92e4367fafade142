/*
 * api.c - include/trapeze.h: opening, memory, running, counts, saving.
 *
 * A thin coat: it turns the public types into the machine's own, and checks what a caller
 * can get wrong. Nothing below knows that it exists.
 *
 * Not offered yet: input to the serial port.
 *
 * Spec: include/trapeze.h. Tested by test/unit/api.c, test/api/four-guests.
 * SPDX-License-Identifier: MIT
 */
#include "board/api.h"

#include <errno.h>
#include <string.h>

#include "board/engines.h"
#include "board/pc.h"
#include "board/version.h"
#include "machine/hypercall.h"
#include "save/save.h"

_Static_assert(TRAPEZE_CALL_VERSION == HYPERCALL_VERSION && TRAPEZE_CALL_PRINT == HYPERCALL_PRINT &&
		       TRAPEZE_CALL_EXIT == HYPERCALL_EXIT && TRAPEZE_CALL_YIELD == HYPERCALL_YIELD,
	       "the hypercall numbers are hypercall.h's");
_Static_assert(sizeof(((struct trapeze_error *)0)->text) == sizeof(((struct fail *)0)->text),
	       "a sentence fits");

int api_error(struct trapeze_error *error, const struct fail *why)
{
	if (error) {
		error->code = why->code;
		memcpy(error->text, why->text, sizeof(error->text));
	}
	return why->code;
}

const char *trapeze_version(void)
{
	return TRAPEZE_VERSION;
}

/* Runs of an exact length are what this interface is made of: auto is an engine that counts. */
static const struct engine_ops *find_engine(const char *name, struct fail *why)
{
	const struct engine_ops *engine;

	if (!name || strcmp(name, "auto") == 0)
		return engine_auto(ENGINE_COUNTED, why);
	engine = engine_find(name);
	if (!engine)
		fail(why, -ENOENT, "there is no engine '%s'", name);
	else if (engine->probe(why) < 0)
		engine = NULL;
	return engine;
}

static void print(void *arg, const char *text, size_t bytes)
{
	const struct trapeze *t = arg;

	if (t->config.print)
		t->config.print(t->config.arg, text, bytes);
}

static void serial(void *arg, const void *text, size_t bytes)
{
	const struct trapeze *t = arg;

	if (t->config.serial)
		t->config.serial(t->config.arg, text, bytes);
}

static int open_pc(struct trapeze *t, const struct engine_ops *engine, struct fail *why)
{
	struct pc_config config = {
		.engine = engine,
		.vcpus = t->config.cpus ? t->config.cpus : 1,
		.counted = t->config.counted,
		.no_reboot = true,
		.serial = {.write = serial, .arg = t},
	};

	config.net = t->config.net;
	while (config.net && config.net[config.nets])
		config.nets++;
	t->pc = pc_open(&config, why);
	t->config.net = NULL; /* not kept */
	if (!t->pc)
		return why->code;
	t->vm = t->pc->vm;
	return 0;
}

static int open_bare(struct trapeze *t, const struct engine_ops *engine, struct fail *why)
{
	struct vm_config config = {
		.engine = engine,
		.vcpus = 1,
		.counted = t->config.counted,
	};

	t->vm = vm_open(&config, why);
	return t->vm ? 0 : why->code;
}

static int open_machine(struct trapeze *t, struct fail *why)
{
	const struct engine_ops *engine = find_engine(t->config.engine, why);
	int err;

	if (!engine)
		return why->code;
	if (t->config.cpus > VCPUS_MAX || (t->config.cpus > 1 && !t->config.pc))
		return fail(why, -EINVAL, "a machine has 1 to %d CPUs, without a PC's chips one",
			    VCPUS_MAX);
	if (t->config.net && !t->config.pc)
		return fail(why, -EINVAL, "a network needs the PC's bus");
	err = t->config.pc ? open_pc(t, engine, why) : open_bare(t, engine, why);
	if (err)
		return err;
	t->vm->hooks = (struct vm_hooks){ .print = print, .arg = t };
	t->vm->halt_ends = true;
	t->vm->storm_ends = true;
	vm_input_ended(t->vm); /* there is no way in but a network */
	return 0;
}

struct trapeze *trapeze_open(const struct trapeze_config *config, struct trapeze_error *error)
{
	struct trapeze *t = host_alloc(sizeof(*t));
	struct fail why;

	if (!t) {
		fail(&why, -ENOMEM, "no memory for a virtual machine");
		api_error(error, &why);
		return NULL;
	}
	t->config = *config;
	if (open_machine(t, &why)) {
		api_error(error, &why);
		trapeze_close(t);
		return NULL;
	}
	t->config.engine = NULL; /* not kept */
	return t;
}

void trapeze_close(struct trapeze *t)
{
	if (!t)
		return;
	if (t->pc)
		pc_close(t->pc);
	else
		vm_close(t->vm);
	host_free(t);
}

int trapeze_add_memory(struct trapeze *t, uint64_t at, uint64_t bytes, void *host, int readonly,
		       struct trapeze_error *error)
{
	struct fail why;

	if ((uintptr_t)host & PAGE_MASK)
		fail(&why, -EINVAL, "host memory at %p does not begin at a page", host);
	else if (mem_add(t->vm, gpa(at), bytes, host, readonly, &why) == 0)
		return 0;
	return api_error(error, &why);
}

static int not_memory(uint64_t at, uint64_t bytes, struct trapeze_error *error)
{
	struct fail why;

	fail(&why, -EFAULT, "guest-physical 0x%llx, %llu bytes: not all of it is memory",
	     (unsigned long long)at, (unsigned long long)bytes);
	return api_error(error, &why);
}

int trapeze_read(struct trapeze *t, uint64_t at, void *to, size_t bytes,
		 struct trapeze_error *error)
{
	return mem_read(&t->vm->mem, gpa(at), to, bytes) ? not_memory(at, bytes, error) : 0;
}

int trapeze_write(struct trapeze *t, uint64_t at, const void *from, size_t bytes,
		  struct trapeze_error *error)
{
	return mem_load(&t->vm->mem, gpa(at), from, bytes) ? not_memory(at, bytes, error) : 0;
}

int trapeze_gpa_to_host(struct trapeze *t, uint64_t at, uint64_t bytes, void **host,
			struct trapeze_error *error)
{
	*host = mem_host(&t->vm->mem, gpa(at), bytes);
	return *host ? 0 : not_memory(at, bytes, error);
}

/* Which request of the machine is which public reason; the rest are trouble. */
static const struct {
	bool known;
	enum trapeze_reason reason;
} reasons[] = {
	[VM_NONE] = {true,   TRAPEZE_BUDGET  },
          [VM_POWEROFF] = { true,  TRAPEZE_POWEROFF},
	[VM_RESET] = { true,  TRAPEZE_RESET   },
          [VM_DEBUG_EXIT] = { true,  TRAPEZE_EXITED  },
	[VM_CRASHED] = { true,  TRAPEZE_SHUTDOWN},
          [VM_QUIT] = { true,  TRAPEZE_STOPPED },
	[VM_HALTED] = { true,  TRAPEZE_HALTED  },
          [VM_STUCK] = { false, TRAPEZE_BUDGET  },
	[VM_STORM] = { true,  TRAPEZE_STORM   },
};

const char *trapeze_reason_name(enum trapeze_reason reason)
{
	static const char *const names[] = {
		[TRAPEZE_BUDGET] = "budget",     [TRAPEZE_EXITED] = "exited",
		[TRAPEZE_HALTED] = "halted",     [TRAPEZE_SHUTDOWN] = "shutdown",
		[TRAPEZE_POWEROFF] = "poweroff", [TRAPEZE_RESET] = "reset",
		[TRAPEZE_STOPPED] = "stopped",   [TRAPEZE_STORM] = "storm",
	};

	return (unsigned)reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "?";
}

int trapeze_run(struct trapeze *t, uint64_t instructions, struct trapeze_end *end,
		struct trapeze_error *error)
{
	uint64_t before = trapeze_instructions(t);
	struct fail why = { 0, "the engine cannot go on" };
	int status = 0;
	enum vm_request request = vm_run(t->vm, instructions, &status, &why);

	*end = (struct trapeze_end){
		.reason = reasons[request].reason,
		.status = request == VM_DEBUG_EXIT ? status : 0,
		.instructions = trapeze_instructions(t) - before,
	};
	if (reasons[request].known)
		return 0;
	why.code = -EIO;
	return api_error(error, &why);
}

void trapeze_stop(struct trapeze *t)
{
	vm_request(t->vm, VM_QUIT, 0);
}

uint64_t trapeze_instructions(const struct trapeze *t)
{
	return vm_retired(t->vm);
}

uint64_t trapeze_entries(const struct trapeze *t)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->vm->vcpus; i++)
		sum += t->vm->vcpu[i]->entries;
	return sum;
}

unsigned trapeze_exit_reasons(void)
{
	return EXIT_REASON_COUNT;
}

const char *trapeze_exit_name(unsigned reason)
{
	return reason < EXIT_REASON_COUNT ? exit_name((enum exit_reason)reason) : NULL;
}

uint64_t trapeze_exit_count(const struct trapeze *t, unsigned reason)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->vm->vcpus && reason < EXIT_REASON_COUNT; i++)
		sum += t->vm->vcpu[i]->exits[reason];
	return sum;
}

int trapeze_save(struct trapeze *t, int (*write)(void *arg, const void *data, size_t bytes),
		 void *arg, struct trapeze_error *error)
{
	struct save_sink sink = { .write = write, .arg = arg };
	struct fail why;

	return save_machine(t->vm, &sink, &why) ? api_error(error, &why) : 0;
}

int trapeze_load(struct trapeze *t, const void *data, size_t bytes, struct trapeze_error *error)
{
	struct fail why;

	return save_load(t->vm, data, bytes, &why) ? api_error(error, &why) : 0;
}

int trapeze_hash(struct trapeze *t, uint64_t hash[2], struct trapeze_error *error)
{
	struct save_hash h = save_hash(t->vm);
	struct fail why;

	hash[0] = h.low;
	hash[1] = h.high;
	if (h.low || h.high)
		return 0;
	fail(&why, -ENOMEM, "no memory to take a hash");
	return api_error(error, &why);
}
