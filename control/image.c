/*
 * image.c - `trapeze image`: the daily needs of disk images.
 *
 * Its words are one table; a verb takes those options whose column names it.
 *
 * Tested by test/api/image.
 * SPDX-License-Identifier: MIT
 */
#include "control/image.h"

#include <errno.h>
#include <string.h>

#include "control/commands.h"
#include "control/options.h"
#include "host/host.h"

enum { CREATE = 1, INFO = 2, CHECK = 4, CONVERT = 8 };

static const struct verb {
	const char *name;
	unsigned bit, names_least, names_most;
	int (*run)(const struct image_words *w, struct fail *why);
	const char *usage, *help;
} verbs[] = {
	{"create",   CREATE,  1, 2, image_create,  "create [OPTION]... FILE SIZE",
         "make an empty image; with --backing, SIZE may be left out"                                 },
	{ "info",    INFO,    1, 1, image_info,    "info [--json] FILE",           "what an image is"},
	{ "check",   CHECK,   1, 1, image_check,   "check [--repair] FILE",
         "status 0: nothing is wrong; 1: errors; 3: only leaks, space that is lost"                  },
	{ "convert", CONVERT, 2, 2, image_convert, "convert [OPTION]... FROM TO",
         "copy an image and all below it into a new one"                                             },
};

static const struct word {
	const char *name, *takes, *help;
	unsigned verbs;
} words[] = {
	{"format",    "raw|qcow2", "of the new image (default qcow2)",                               CREATE | CONVERT},
	{ "backing",  "FILE",      "what the new image shows until it is written to; never changed",
         CREATE												      },
	{ "cluster",  "SIZE",      "unit of allocation of a qcow2 image: 512 to 2M (default 64K)",
         CREATE | CONVERT											    },
	{ "compress", "zlib|zstd", "compress the clusters of the new image",                         CONVERT         },
	{ "force",    NULL,        "replace a file that exists",                                     CREATE | CONVERT},
	{ "quiet",    NULL,        "no progress bar",						CONVERT         },
	{ "json",     NULL,        "for programs",						   INFO            },
	{ "repair",   NULL,        "correct the reference counts",                                   CHECK           },
};
#define WORDS (sizeof(words) / sizeof(words[0]))
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

const char *image_size_text(uint64_t bytes, char text[32])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB" };
	unsigned u = 0;
	double n = (double)bytes;

	for (; n >= 1024 && u < 5; u++)
		n /= 1024;
	snprintf(text, 32, u && n < 100 ? "%.3g %s" : "%.0f %s", n, units[u]);
	return text;
}

void image_help(FILE *to)
{
	fputs("usage: trapeze image VERB ...\n\n", to);
	for (size_t i = 0; i < VERBS; i++)
		fprintf(to, "  %-32s %s\n", verbs[i].usage, verbs[i].help);
	fputs("\nOptions:\n", to);
	for (size_t i = 0; i < WORDS; i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s %s", words[i].name,
			 words[i].takes ? words[i].takes : "");
		fprintf(to, "  %-32s %s\n", left, words[i].help);
	}
	fputs("\nA new image appears under its name when it is complete, or not at all.\n", to);
}

void image_list(FILE *to, const char *verb)
{
	for (size_t i = 0; i < VERBS; i++) {
		if (!verb)
			fprintf(to, "%s\n", verbs[i].name);
		else if (strcmp(verb, verbs[i].name) == 0) {
			for (size_t n = 0; n < WORDS; n++) {
				if (words[n].verbs & verbs[i].bit)
					fprintf(to, "--%s\n", words[n].name);
			}
		}
	}
}

static int store(struct image_words *w, const struct word *word, const char *value,
		 struct fail *why)
{
	bool good = true;

	switch (word->name[0]) {
	case 'f':
		if (word->takes) {
			w->format = strcmp(value, "raw") == 0 ? BLK_RAW : BLK_QCOW2;
			good = w->format == BLK_RAW || strcmp(value, "qcow2") == 0;
		} else {
			w->force = true;
		}
		break;
	case 'b': w->backing = value; break;
	case 'c':
		if (word->name[1] == 'l') {
			good = options_parse_size(value, &w->cluster) == 0 && w->cluster >= 512 &&
			       w->cluster <= 2 << 20 && !(w->cluster & (w->cluster - 1));
		} else {
			w->compress = value;
			good = strcmp(value, "zlib") == 0 || strcmp(value, "zstd") == 0;
		}
		break;
	case 'j': w->json = true; break;
	case 'q': w->quiet = true; break;
	case 'r': w->repair = true; break;
	}
	return good ? 0
		    : fail(why, -EINVAL, "--%s: '%s' is not %s", word->name, value, word->takes);
}

static const struct word *find_word(const struct verb *verb, const char *name, size_t length)
{
	for (size_t i = 0; i < WORDS; i++) {
		if ((words[i].verbs & verb->bit) && strlen(words[i].name) == length &&
		    memcmp(words[i].name, name, length) == 0)
			return &words[i];
	}
	return NULL;
}

/* One word of the command line, and its value; returns the words used, or -E*. */
static int parse_word(struct image_words *w, const struct verb *verb, int left, char **argv,
		      struct fail *why)
{
	const char *text = argv[0], *value = NULL;
	const struct word *word;
	size_t length;
	int used = 1, err;

	if (strncmp(text, "--", 2) != 0) {
		if (text[0] == '-')
			return fail(why, -EINVAL, "image %s: what is '%s'? Options start with --",
				    verb->name, text);
		if (w->count == verb->names_most)
			return fail(why, -EINVAL, "image %s: what is '%s'?", verb->name, text);
		w->names[w->count++] = text;
		return 1;
	}
	length = strcspn(text + 2, "=");
	word = find_word(verb, text + 2, length);
	if (!word)
		return fail(why, -EINVAL, "image %s: unknown option %s (see 'trapeze help image')",
			    verb->name, text);
	if (text[2 + length])
		value = text + 2 + length + 1;
	if (!word->takes && value)
		return fail(why, -EINVAL, "--%s takes no value", word->name);
	if (word->takes && !value) {
		if (left < 2)
			return fail(why, -EINVAL, "--%s needs a value: %s", word->name,
				    word->takes);
		value = argv[1];
		used = 2;
	}
	err = store(w, word, value, why);
	return err ? err : used;
}

static int parse(struct image_words *w, const struct verb *verb, int argc, char **argv,
		 struct fail *why)
{
	for (int i = 0; i < argc;) {
		int used = parse_word(w, verb, argc - i, argv + i, why);

		if (used < 0)
			return used;
		i += used;
	}
	if (w->count < verb->names_least)
		return fail(why, -EINVAL, "usage: trapeze image %s", verb->usage);
	return 0;
}

int command_image(int argc, char **argv)
{
	struct image_words w = { .count = 0 };
	struct fail why = { 0, "" };
	const struct verb *verb = NULL;
	int status;

	for (size_t i = 0; argc > 0 && i < VERBS; i++) {
		if (strcmp(verbs[i].name, argv[0]) == 0)
			verb = &verbs[i];
	}
	if (!verb) {
		host_warn(argc > 0 ? "image: there is no verb '%s' (see 'trapeze help image')"
				   : "image: what to do? create, info, check or convert%s",
			  argc > 0 ? argv[0] : "");
		return 2;
	}
	if (parse(&w, verb, argc - 1, argv + 1, &why)) {
		host_warn("%s", why.text);
		return 2;
	}
	status = verb->run(&w, &why);
	if (why.text[0])
		host_warn("%s", why.text);
	return status < 0 ? 1 : status;
}
