/*
 * options.c - the option table of `trapeze run` and its parser (see options.h).
 *
 * --name VALUE and --name=VALUE are the same. An option given twice is an error:
 * which one was meant is a guess, and a monitor should not guess.
 *
 * SPDX-License-Identifier: MIT
 */
#include "control/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "board/engines.h"
#include "board/firmware.h"
#include "control/console.h"
#include "control/disks.h"
#include "control/options_lists.h"
#include "machine/vm.h"

enum kind {
	KIND_FLAG,
	KIND_TEXT,
	KIND_FILE,
	KIND_MAY, /* --name or --name=FILE; the former is "" */
	KIND_SIZE,
	KIND_MEMORY,
	KIND_COUNT,
	KIND_TRACE,
	KIND_DISPLAY,
	KIND_SWITCH,
	KIND_LIST,
	KIND_TORTURE,
	KIND_IRQCHIP,
};

struct option {
	const char *name;
	enum kind kind;
	const char *takes; /* for help */
	const char *help;
	size_t offset; /* in struct run_options */
};

#define OPTION_MOST 32 /* letters of a name */
#define AT(member)  offsetof(struct run_options, member)
/* clang-format off */
static const struct option run_table[] = {
	{ "engine",     KIND_TEXT,  "auto|kvm|bt|interp", "what executes guest code (default auto: the best this host can run)", AT(engine) },
	{ "kernel",     KIND_FILE,  "FILE",          "Linux bzImage, ELF with a PVH note, or multiboot kernel", AT(kernel) },
	{ "initrd",     KIND_FILE,  "FILE",          "initial RAM disk, or the multiboot module", AT(initrd) },
	{ "append",     KIND_TEXT,  "TEXT",          "the kernel's command line", AT(append) },
	{ "flat",       KIND_FILE,  "FILE[@ADDRESS]", "a binary without a header, started at ADDRESS (default 0x7c00)", AT(flat) },
	{ "firmware",   KIND_FILE,  "FILE",          "BIOS image, started when there is no kernel (Debian's SeaBIOS: " FIRMWARE_DEFAULT ")", AT(firmware) },
	{ "boot-menu",  KIND_FLAG,  NULL,            "the firmware waits a moment for Esc, which opens its boot menu", AT(boot_menu) },
	{ "display",    KIND_DISPLAY, "serial|hvc0|text|none", "what this terminal is: the serial port (default), the virtio console, the VGA text screen and the keyboard, or nothing", AT(display) },
	{ "memory",     KIND_MEMORY, "SIZE[,shared|,hugepages[=reserved]]", "guest memory: 16K, 512M, 2G (default 512M); in a file that others can map; of the host's 2 MiB pages, transparent or reserved ones", AT(memory) },
	{ "cpus",       KIND_COUNT, "N",             "virtual CPUs, 1 to 64 (default 1)", AT(cpus) },
	{ "cpu",        KIND_TEXT,  "MODEL",         "CPU model shown to the guest (default: the best the engine can)", AT(cpu) },
	{ "switch",     KIND_SWITCH, "LIST",         "change engines on the way: ENGINE@INSTRUCTION or ENGINE@TIME (250ms, 3s), comma-separated", AT(switch_to) },
	{ "irqchip",    KIND_IRQCHIP, "auto|user|split", "who runs the local APICs on engine kvm: this program, or the kernel (default auto)", AT(engine_options.irqchip) },
	{ "code-cache", KIND_SIZE,  "SIZE",          "memory for code, decoded and translated: 1M to 1G (default 256M)", AT(engine_options.code_cache) },
	{ "torture",    KIND_TORTURE, "LIST",        "for tests: make rare cases of translation common: hot,no-link,kick,no-tlb,flush,evict,invalidate", AT(engine_options.torture) },
	{ "no-reboot",  KIND_FLAG,  NULL,            "end when the guest resets, instead of restarting it", AT(no_reboot) },
	{ "debug-exit", KIND_FLAG,  NULL,            "a write of V to port 0xf4 ends the run with status (V << 1) | 1", AT(debug_exit) },
	{ "counted",    KIND_FLAG,  NULL,            "virtual time from retired instructions: runs repeat exactly", AT(counted) },
	{ "slice",      KIND_COUNT, "N",             "instructions between two looks at the outside world; counted, with several CPUs: of a turn of each", AT(slice) },
	{ "stop-at",    KIND_COUNT, "INSTRUCTIONS",  "end after exactly this many retired instructions", AT(stop_at) },
	{ "debugcon",   KIND_FILE,  "FILE",          "write what the firmware prints on port 0x402", AT(debugcon) },
	{ "disk",       KIND_LIST,  "FILE[,...]",    "a disk: raw or qcow2 image; ,readonly ,overlay ,format=raw|qcow2 and others follow the name; several times for several", AT(disk) },
	{ "on-enospc",  KIND_TEXT,  "stop|report",   "when the host's disk is full the guest is paused until there is room (default), or gets an error", AT(on_enospc) },
	{ "net",        KIND_LIST,  "user|tap:NAME|switch:SOCKET[,...]", "a network card and what it is plugged into; several times for several; none: no card", AT(net) },
	{ "vsock",      KIND_FILE,  "SOCKET[,cid=N]", "the guest's AF_VSOCK sockets, as Unix sockets of the host", AT(vsock) },
	{ "share",      KIND_LIST,  "DIR:TAG[,readonly]", "a directory for the guest to mount (-t 9p) by its tag; several times for several", AT(share) },
	{ "port",       KIND_LIST,  "NAME=socket:PATH|file:FILE", "a named port of a virtio console (/dev/virtio-ports/NAME), as a Unix socket to connect to, or a file; several times for several", AT(port) },
	{ "stats",      KIND_FILE,  "FILE",          "write statistics of the run as JSON; - is standard output", AT(stats) },
	{ "perf-map",   KIND_MAY,   "[=FILE]",       "write where translated code lies, for perf(1): into /tmp/perf-PID.map unless told", AT(perf_map) },
	{ "trace",      KIND_TRACE, "LIST",          "trace to standard error: exits,irq,devices,exceptions,boot,translate", AT(trace) },
};
/* clang-format on */
#define RUN_OPTIONS (sizeof(run_table) / sizeof(run_table[0]))

/* Decimal, or hexadecimal after 0x; a leading zero means nothing. */
static int parse_number(const char *text, uint64_t *value, char **end)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, end, hex ? 16 : 10);
	return errno ? -EINVAL : 0;
}

int options_parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGTkmgt";
	unsigned shift = 0;
	char *end;
	uint64_t n;

	if (parse_number(text, &n, &end))
		return -EINVAL;
	if (*end) {
		const char *unit = strchr(units, *end);

		if (!unit || end[1])
			return -EINVAL;
		shift = 10 * (unsigned)((unit - units) % 4 + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -EINVAL;
	*bytes = n << shift;
	return 0;
}

/* SIZE[,shared|,hugepages[=reserved]] */
static int parse_memory(const char *text, struct run_options *o)
{
	size_t n = strcspn(text, ",");
	char size[32];

	if (n >= sizeof(size))
		return -EINVAL;
	memcpy(size, text, n);
	size[n] = '\0';
	text += n;
	if (strcmp(text, ",shared") == 0)
		o->pages = HOST_PAGES_SHARED;
	else if (strcmp(text, ",hugepages") == 0)
		o->pages = HOST_PAGES_TRANSPARENT;
	else if (strcmp(text, ",hugepages=reserved") == 0)
		o->pages = HOST_PAGES_RESERVED;
	else if (*text)
		return -EINVAL;
	return options_parse_size(size, &o->memory);
}

/* Where 0 stands for what it is unless told. */
static int parse_amount(const char *text, uint64_t *bytes)
{
	int err = options_parse_size(text, bytes);

	return err || *bytes == 0 ? -EINVAL : 0;
}

static int parse_count(const char *text, uint64_t *value)
{
	char *end;

	return parse_number(text, value, &end) || *end || *value == 0 ? -EINVAL : 0;
}

static const char *const topics[] = {
#define X(name) #name,
	TRACE_TOPICS(X)
#undef X
};

static const char *const tortures[] = {
#define X(name, typed) typed,
	TORTURES(X)
#undef X
};

static const char *const displays[] = {
#define X(name) [CONSOLE_##name] = #name,
	CONSOLE_KINDS(X)
#undef X
};

static int parse_display(const char *text, uint64_t *kind)
{
	for (*kind = 0; *kind < sizeof(displays) / sizeof(displays[0]); ++*kind)
		if (strcmp(displays[*kind], text) == 0)
			return 0;
	return -EINVAL;
}

static const char *const irqchips[] = {
#define X(name, typed) typed,
	IRQCHIPS(X)
#undef X
};

static int parse_irqchip(const char *text, enum irqchip *which)
{
	for (unsigned i = 0; i < sizeof(irqchips) / sizeof(irqchips[0]); i++) {
		if (strcmp(irqchips[i], text) == 0) {
			*which = (enum irqchip)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* A comma-separated list of words[0..count-1] to bits. */
static int parse_bits(const char *text, const char *const *words, unsigned count, unsigned *mask)
{
	while (*text) {
		size_t n = strcspn(text, ",");
		unsigned i;

		for (i = 0; i < count; i++) {
			if (strlen(words[i]) == n && memcmp(words[i], text, n) == 0)
				break;
		}
		if (i == count)
			return -EINVAL;
		*mask |= 1u << i;
		text += n;
		if (*text && !*++text)
			return -EINVAL; /* a comma at the end */
	}
	return *mask ? 0 : -EINVAL;
}

/* "10us", "250ms", "3s" or "0.5s" to ns. */
static int parse_time(const char *text, uint64_t *ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {
		{"ns",  1  },
                { "us", 1e3},
                { "ms", 1e6},
                { "s",  1e9}
	};
	char *end;
	double value = *text >= '0' && *text <= '9' ? strtod(text, &end) : -1;

	for (size_t i = 0; value >= 0 && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit))
			continue;
		value *= units[i].ns;
		*ns = (uint64_t)value;
		return value < (double)CLOCK_END ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int parse_point(const char *text, size_t bytes, struct switch_point *p)
{
	char word[64], *at;

	if (bytes >= sizeof(word))
		return -EINVAL;
	memcpy(word, text, bytes);
	word[bytes] = '\0';
	at = strchr(word, '@');
	if (!at)
		return -EINVAL;
	*at++ = '\0';
	p->to = engine_find(word);
	p->instruction = UINT64_MAX;
	if (!p->to)
		return -EINVAL;
	if (parse_count(at, &p->instruction) == 0)
		return 0;
	p->instruction = UINT64_MAX;
	return parse_time(at, &p->time_ns);
}

static int parse_switches(const char *text, struct run_options *o)
{
	while (*text) {
		size_t n = strcspn(text, ",");

		if (o->switches == SWITCHES_MAX ||
		    parse_point(text, n, &o->switch_to[o->switches++]))
			return -EINVAL;
		text += n;
		if (*text && !*++text)
			return -EINVAL; /* a comma at the end */
	}
	return o->switches ? 0 : -EINVAL;
}

/* What a value is not, when it cannot be read. */
static const char *const expected[] = {
#define X(name) " " #name
	[KIND_SIZE] = "a size above 0: a number of bytes, or one with K, M, G or T",
	[KIND_MEMORY] =
		"a size, as 512M or 2G, or one with ,shared, ,hugepages or ,hugepages=reserved",
	[KIND_COUNT] = "a number from 1 on",
	[KIND_SWITCH] = "a list like interp@1000000,kvm@2.5s of engines in this build",
	[KIND_TRACE] = "a comma-separated list out of:" TRACE_TOPICS(X),
	[KIND_DISPLAY] = "one of:" CONSOLE_KINDS(X),
#undef X
#define X(name, typed) " " typed
	[KIND_TORTURE] = "a comma-separated list out of:" TORTURES(X),
	[KIND_IRQCHIP] = "one of:" IRQCHIPS(X),
#undef X
};

static int add_to_list(struct option_list *list, const char *name, const char *value,
		       struct fail *why)
{
	if (list->count == OPTION_LIST_MAX)
		return fail(why, -EINVAL, "--%s is given more than %d times", name,
			    OPTION_LIST_MAX);
	list->text[list->count++] = value;
	return 0;
}

static int store(struct run_options *o, const struct option *option, const char *value,
		 struct fail *why)
{
	void *at = (char *)o + option->offset;
	int err = 0;

	switch (option->kind) {
	case KIND_FLAG: *(bool *)at = true; break;
	case KIND_TEXT:
	case KIND_FILE: *(const char **)at = value; break;
	case KIND_MAY: *(const char **)at = value ? value : ""; break;
	case KIND_SIZE: err = parse_amount(value, at); break;
	case KIND_MEMORY: err = parse_memory(value, o); break;
	case KIND_COUNT: err = parse_count(value, at); break;
	case KIND_LIST: return add_to_list(at, option->name, value, why);
	case KIND_TRACE: err = parse_bits(value, topics, TRACE_TOPIC_COUNT, at); break;
	case KIND_TORTURE: err = parse_bits(value, tortures, TORTURE_COUNT, at); break;
	case KIND_DISPLAY: err = parse_display(value, at); break;
	case KIND_IRQCHIP: err = parse_irqchip(value, at); break;
	case KIND_SWITCH: err = parse_switches(value, o); break;
	}
	if (err)
		return fail(why, -EINVAL, "--%s: '%s' is not %s", option->name, value,
			    expected[option->kind]);
	return 0;
}

static const struct option *find_option(const char *name, size_t length)
{
	for (size_t i = 0; i < RUN_OPTIONS; i++) {
		if (strlen(run_table[i].name) == length &&
		    memcmp(run_table[i].name, name, length) == 0)
			return &run_table[i];
	}
	return NULL;
}

/* How many letters to change, drop or add to make one word of the other (Levenshtein). */
static unsigned distance(const char *a, size_t length, const char *b)
{
	unsigned row[OPTION_MOST + 1];
	size_t n = strlen(b);

	for (size_t k = 0; k <= n; k++)
		row[k] = (unsigned)k;
	for (size_t i = 1; i <= length; i++) {
		unsigned before = row[0];

		row[0] = (unsigned)i;
		for (size_t k = 1; k <= n; k++) {
			unsigned best = before + (a[i - 1] != b[k - 1]);

			before = row[k];
			if (before + 1 < best)
				best = before + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			row[k] = best;
		}
	}
	return row[n];
}

/* -EINVAL, and which option may have been meant. */
static int unknown_option(const char *word, size_t length, struct fail *why)
{
	const char *nearest = NULL;
	unsigned least = 3;

	for (size_t i = 0; length < OPTION_MOST && i < RUN_OPTIONS; i++) {
		unsigned d = distance(word, length, run_table[i].name);

		if (d < least) {
			least = d;
			nearest = run_table[i].name;
		}
	}
	if (nearest)
		return fail(why, -EINVAL, "unknown option --%.*s; --%s is one", (int)length, word,
			    nearest);
	return fail(why, -EINVAL, "unknown option --%s (see 'trapeze help run')", word);
}

/* One option, with its value from the same word or the next. Returns the words used, or -E*. */
static int parse_one(struct run_options *o, bool *seen, int left, char **argv, struct fail *why)
{
	const char *word = argv[0] + 2, *value;
	size_t length = strcspn(word, "=");
	const struct option *option = find_option(word, length);
	int used = 1, err;

	if (!option)
		return unknown_option(word, length, why);
	if (seen[option - run_table] && option->kind != KIND_LIST)
		return fail(why, -EINVAL, "--%s is given twice", option->name);
	seen[option - run_table] = true;
	value = word[length] ? word + length + 1 : NULL;
	if (option->kind == KIND_FLAG && value)
		return fail(why, -EINVAL, "--%s takes no value", option->name);
	if (option->kind == KIND_MAY && value && !*value)
		return fail(why, -EINVAL, "--%s= needs a file's name", option->name);
	if (option->kind != KIND_FLAG && option->kind != KIND_MAY && !value) {
		/* A forgotten value; a file of such a name is written --stats=--name. */
		if (left < 2 || (option->kind == KIND_FILE && strncmp(argv[1], "--", 2) == 0))
			return fail(why, -EINVAL, "--%s needs a value: %s", option->name,
				    option->takes);
		value = argv[1];
		used = 2;
	}
	err = store(o, option, value, why);
	return err ? err : used;
}

static int check_together(const struct run_options *o, struct fail *why)
{
	uint64_t address;

	if (!o->kernel && !o->flat && !o->firmware)
		return fail(why, -EINVAL,
			    "nothing to run: give a disk image, --kernel FILE, --flat FILE or "
			    "--firmware FILE");
	if (o->kernel && o->flat)
		return fail(why, -EINVAL, "--kernel and --flat exclude each other");
	if (o->firmware && (o->kernel || o->flat))
		return fail(why, -EINVAL, "--firmware and --%s exclude each other",
			    o->kernel ? "kernel" : "flat");
	if (o->boot_menu && !o->firmware)
		return fail(why, -EINVAL, "--boot-menu needs --firmware");
	if (o->flat && strrchr(o->flat, '@') &&
	    options_parse_size(strrchr(o->flat, '@') + 1, &address))
		return fail(why, -EINVAL, "--flat: '%s' is not an address",
			    strrchr(o->flat, '@') + 1);
	if (o->flat && (o->initrd || o->append))
		return fail(why, -EINVAL, "--initrd and --append need --kernel");
	if (o->cpus < 1 || o->cpus > VCPUS_MAX)
		return fail(why, -EINVAL, "--cpus: from 1 to %d", VCPUS_MAX);
	if (o->memory < 16384 || o->memory % 4096)
		return fail(why, -EINVAL,
			    "--memory: at least 16K, and a multiple of 4K (it is %llu bytes)",
			    (unsigned long long)o->memory);
	if (o->engine_options.code_cache && (o->engine_options.code_cache < CODE_CACHE_LEAST ||
					     o->engine_options.code_cache > CODE_CACHE_MOST))
		return fail(why, -EINVAL, "--code-cache: from 1M to 1G");
	if (o->cpu && !cpu_model_find(o->cpu))
		return fail(why, -EINVAL, "--cpu: there is no CPU model '%s' (%s is the default)",
			    o->cpu, cpu_model_name(cpu_models[0]));
	if (strcmp(o->engine, "auto") != 0 && !engine_find(o->engine))
		return fail(why, -EINVAL,
			    "--engine: there is no engine '%s' (see 'trapeze engines')", o->engine);
	return options_check_lists(o, why);
}

/* A word that is no option: the disk image to boot from, before all other disks. Returns the words
 * used, or -E*. */
static int take_image(struct run_options *o, const char *word, struct fail *why)
{
	int err = o->image ? -EEXIST : disk_word_peek(word, why);

	if (err == -ENOENT || err == -EEXIST)
		return fail(why, -EINVAL,
			    "what is '%s'? %s start with --, a kernel is given as --kernel FILE, "
			    "and one disk image needs no option",
			    word, err == -ENOENT ? "There is no such file; options" : "Options");
	if (err)
		return err;
	if (o->disk.count == OPTION_LIST_MAX)
		return fail(why, -EINVAL, "--disk is given too often");
	memmove(o->disk.text + 1, o->disk.text, o->disk.count * sizeof(o->disk.text[0]));
	o->disk.text[0] = o->image = word;
	o->disk.count++;
	return 1;
}

int options_parse_run(struct run_options *o, int argc, char **argv, struct fail *why)
{
	bool seen[RUN_OPTIONS] = { false };
	int err;

	*o = (struct run_options){
		.engine = "auto",
		.memory = UINT64_C(512) << 20,
		.cpus = 1,
		.display = CONSOLE_serial,
		.on_enospc = "stop",
		.engine_options.irqchip = IRQCHIP_AUTO,
		.stop_at = UINT64_MAX,
	};
	for (int i = 0; i < argc;) {
		int used;

		if (strncmp(argv[i], "--", 2) == 0)
			used = parse_one(o, seen, argc - i, argv + i, why);
		else
			used = take_image(o, argv[i], why);
		if (used < 0)
			return used;
		i += used;
	}
	if (o->image && !seen[find_option("memory", 6) - run_table])
		o->memory = UINT64_C(1) << 30;
	err = options_settle_networks(o, why);
	if (err)
		return err;
	if (o->disk.count && !o->kernel && !o->flat && !o->firmware)
		o->firmware = FIRMWARE_DEFAULT; /* it boots what it finds there */
	return check_together(o, why);
}

void options_help_run(FILE *to)
{
	fputs("usage: trapeze run [OPTION]... IMAGE | --kernel FILE | --flat FILE | --firmware "
	      "FILE\n\n"
	      "IMAGE is a disk to boot from; then there is 1G of memory and a user network (none "
	      "with --counted) unless told otherwise.\n"
	      "Boots a machine; its serial port is this terminal. Ctrl-A x ends it, Ctrl-A h "
	      "helps.\n\n",
	      to);
	for (size_t i = 0; i < RUN_OPTIONS; i++) {
		const struct option *o = &run_table[i];
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->kind == KIND_MAY ? "" : " ",
			 o->takes ? o->takes : "");
		if (strlen(left) > 26)
			fprintf(to, "  %s\n  %-26s %s\n", left, "", o->help);
		else
			fprintf(to, "  %-26s %s\n", left, o->help);
	}
	fputs("\nExit status: 0 guest powered off (or reset under --no-reboot), 1 host failure,\n"
	      "2 wrong usage, 3 guest crashed (triple fault) under --no-reboot, 4 guest halted\n"
	      "for ever, and under --debug-exit what the guest asks.\n",
	      to);
}

void options_list_run(FILE *to)
{
	for (size_t i = 0; i < RUN_OPTIONS; i++)
		fprintf(to, "--%s\n", run_table[i].name);
}

void options_list_trace(FILE *to)
{
	for (size_t i = 0; i < TRACE_TOPIC_COUNT; i++)
		fprintf(to, "%s\n", topics[i]);
}
