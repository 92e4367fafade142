/*
 * disks.c - --disk words: their grammar, and opening what they name (see disks.h).
 *
 * Tested by test/api/image.
 * SPDX-License-Identifier: MIT
 */
#include "control/disks.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "host/host.h"
#include "host/order.h"

struct disks {
	struct disk_word words[PC_DISKS];
	struct blk *blk[PC_DISKS];
	unsigned count;

	struct host_mutex *lock; /* of what follows */
	struct vm *vm;
	unsigned stalled; /* disks that wait for room */
};

/* What may follow the file's name. `value`: one of a list, in the order of its enum. */
static const struct {
	const char *name, *values[4];
	size_t offset; /* in struct disk_word: of an int-sized enum, or of a bool (no values) */
} suboptions[] = {
	{"format",    { "probe", "raw", "qcow2" },       offsetof(struct disk_word, options.format)  },
	{ "cache",    { "writeback", "none", "unsafe" }, offsetof(struct disk_word, options.cache)   },
	{ "aio",      { "auto", "io_uring", "threads" }, offsetof(struct disk_word, options.aio)     },
	{ "readonly", { NULL },                          offsetof(struct disk_word, options.readonly)},
	{ "overlay",  { NULL },                          offsetof(struct disk_word, options.overlay) },
};
#define SUBOPTIONS (sizeof(suboptions) / sizeof(suboptions[0]))

static int take_value(struct disk_word *d, size_t i, const char *value, struct fail *why)
{
	if (!suboptions[i].values[0]) {
		if (*value)
			return fail(why, -EINVAL, "--disk: %s takes no value", suboptions[i].name);
		*(bool *)((char *)d + suboptions[i].offset) = true;
		return 0;
	}
	for (unsigned v = 0; suboptions[i].values[v]; v++) {
		if (*value == '=' && strcmp(value + 1, suboptions[i].values[v]) == 0) {
			*(unsigned *)((char *)d + suboptions[i].offset) = v;
			return 0;
		}
	}
	return fail(why, -EINVAL, "--disk: %s%s is not one of: %s %s %s", suboptions[i].name, value,
		    suboptions[i].values[0], suboptions[i].values[1], suboptions[i].values[2]);
}

static int take_serial(struct disk_word *d, const char *text, struct fail *why)
{
	if (strlen(text) >= sizeof(d->serial))
		return fail(why, -EINVAL, "--disk: a serial number has at most 20 letters");
	strcpy(d->serial, text);
	return 0;
}

/* *given: a bit for each word that was there before. */
static int take(struct disk_word *d, const char *word, unsigned *given, struct fail *why)
{
	size_t length = strcspn(word, "="), i = 0;
	bool serial = strncmp(word, "serial=", 7) == 0;

	if (!*word)
		return fail(why, -EINVAL,
			    "--disk: nothing follows a comma (one in a file's name is doubled)");
	while (i < SUBOPTIONS && (strlen(suboptions[i].name) != length ||
				  memcmp(suboptions[i].name, word, length) != 0))
		i++;
	if (i == SUBOPTIONS && !serial)
		return fail(why, -EINVAL,
			    "--disk: what is '%s'? One of format= readonly overlay cache= aio= "
			    "serial=, and a comma in a file's name is doubled",
			    word);
	if (*given & 1u << i)
		return fail(why, -EINVAL, "--disk: %.*s is given twice", (int)length, word);
	*given |= 1u << i;
	return serial ? take_serial(d, word + 7, why) : take_value(d, i, word + length, why);
}

/* The text up to a single comma; a double one stands for one. Returns what follows the comma; NULL:
 * there is none. */
static const char *split(const char *text, char *word, size_t room)
{
	size_t n = 0;

	for (; *text; text++) {
		if (*text == ',' && *++text != ',') {
			word[n] = '\0';
			return text;
		}
		if (n + 1 < room)
			word[n++] = *text;
	}
	word[n] = '\0';
	return NULL;
}

int disk_word_parse(struct disk_word *d, const char *text, struct fail *why)
{
	unsigned given = 0;
	char word[256];
	int err = 0;

	*d = (struct disk_word){ .path = "" };
	text = split(text, d->path, sizeof(d->path));
	if (!d->path[0])
		return fail(why, -EINVAL, "--disk: needs the name of a file");
	while (!err && text) {
		text = split(text, word, sizeof(word));
		err = take(d, word, &given, why);
	}
	if (!err && d->options.readonly && d->options.overlay)
		err = fail(why, -EINVAL, "--disk: readonly and overlay exclude each other");
	return err;
}

int disk_word_peek(const char *text, struct fail *why)
{
	uint8_t head[1024];
	struct disk_word d;
	uint64_t bytes;
	int fd, err = disk_word_parse(&d, text, why);

	if (err)
		return err;
	if (access(d.path, F_OK) != 0)
		return -ENOENT;
	fd = file_open(d.path, false, &bytes, why);
	if (fd < 0)
		return fd;
	err = file_read(fd, 0, head, sizeof(head));
	close(fd);
	if (err)
		return fail(why, err, "%s: %s", d.path, strerror(-err));
	/* A bzImage's header magic (Linux boot protocol), an ELF file's. */
	if (memcmp(head + 0x202, "HdrS", 4) == 0 || memcmp(head, "\177ELF", 4) == 0)
		return fail(why, -EINVAL, "%s is a kernel, not a disk: give it as --kernel FILE",
			    d.path);
	return 0;
}

/* A disk waits for room, or does no longer. Disk's thread. */
static void stalled(void *arg, bool waits)
{
	struct disks *disks = arg;

	host_mutex_lock(disks->lock);
	disks->stalled += waits ? 1 : -1u;
	if (disks->vm && waits) {
		vm_pause(disks->vm);
		host_warn(
			"the guest is paused; it goes on when there is room (Ctrl-A c or SIGCONT: "
			"look now)");
	} else if (disks->vm) {
		vm_resume(disks->vm);
	}
	host_mutex_unlock(disks->lock);
}

void disks_connect(struct disks *disks, struct vm *vm)
{
	host_mutex_lock(disks->lock);
	disks->vm = vm;
	for (unsigned i = 0; vm && i < disks->stalled; i++)
		vm_pause(vm);
	host_mutex_unlock(disks->lock);
}

void disks_retry(void *arg)
{
	struct disks *disks = arg;

	for (unsigned i = 0; i < disks->count; i++)
		blk_retry(disks->blk[i]);
}

struct disks *disks_open(const struct run_options *options, struct pc_config *config,
			 struct fail *why)
{
	struct disks *disks = host_alloc(sizeof(*disks));

	if (disks)
		disks->lock = host_mutex_in_order(ORDER_USER);
	if (!disks || !disks->lock) {
		host_free(disks);
		fail(why, -ENOMEM, "no memory");
		return NULL;
	}
	for (unsigned i = 0; i < options->disk.count; i++) {
		struct disk_word *d = &disks->words[i];

		if (disk_word_parse(d, options->disk.text[i], why)) /* checked with the options */
			break;
		d->options.path = d->path;
		d->options.on_enospc = strcmp(options->on_enospc, "report") == 0 ? BLK_ENOSPC_REPORT
										 : BLK_ENOSPC_STOP;
		d->options.stalled = stalled;
		d->options.stalled_arg = disks;
		disks->blk[i] = blk_open(&d->options, why);
		if (!disks->blk[i])
			break;
		config->disk[i] = (struct pc_disk){ .blk = disks->blk[i],
						    .serial = d->serial[0] ? d->serial : NULL };
		config->disks = disks->count = i + 1;
		config->identity = disks->words[0].path;
	}
	if (disks->count == options->disk.count)
		return disks;
	disks_close(disks, NULL);
	return NULL;
}

int disks_close(struct disks *disks, struct fail *why)
{
	int err = 0;

	for (unsigned i = 0; disks && i < disks->count; i++) {
		int e = blk_close(disks->blk[i], err ? NULL : why);

		err = err ? err : e;
	}
	if (disks)
		host_mutex_free(disks->lock);
	host_free(disks);
	return err;
}
