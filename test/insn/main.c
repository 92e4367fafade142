/*
 * main.c - the loop of the instruction test: make cases, run them on both sides, compare.
 *
 * usage: insn [--engine interp|bt] [--seed N] [--first N] [--cases N] [--seconds N] [--show N]
 * [--verbose]
 *
 * --cases 0 goes on until a case fails (or --seconds have passed), with a random seed unless one is
 * given. A failing case is run again alone by `--seed S --first CASE --cases 1`. Called as insn-N
 * or insn-bt-N (make test does), the seed is N, the engine interp or bt. A host that cannot run the
 * native side skips (status 77).
 *
 * SPDX-License-Identifier: MIT
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/interp/bind.h"
#include "host/host.h"
#include "test/insn/insn.h"

#define BATCH     128
#define CASES     300000
#define KINDS     64 /* failures are told apart by mnemonic and what differs */
#define MNEMONICS (ZYDIS_MNEMONIC_MAX_VALUE + 1)

struct options {
	uint64_t seed, first, cases;
	unsigned show, seconds;
	bool verbose, translator;
};

static struct {
	struct {
		ZydisMnemonic mnemonic;
		uint8_t bits;
		const char *what;
		uint64_t count;
	} kind[KINDS];
	unsigned kinds, shown;
	uint64_t failures, cases, compared, endless, refused;
	uint64_t vectors[256];
	uint32_t seen[MNEMONICS];
} tally;

/* true: the first of its kind. */
static bool note_kind(const struct insn_case *c, const char *what)
{
	unsigned i;

	tally.failures++;
	for (i = 0; i < tally.kinds; i++)
		if (tally.kind[i].mnemonic == c->mnemonic && tally.kind[i].what == what) {
			tally.kind[i].count++;
			return false;
		}
	if (i < KINDS) {
		tally.kind[i].mnemonic = c->mnemonic;
		tally.kind[i].what = what;
		tally.kind[i].count = 1;
		tally.kinds++;
	}
	return true;
}

static void judge(const struct options *o, const struct insn_case *c, const struct outcome *native,
		  const struct outcome *guest)
{
	const char *what;

	tally.cases++;
	if (c->skip == SKIP_ALTOGETHER) {
		tally.endless++;
		return;
	}
	what = compare(c, native, guest);
	if (native->how == HOW_SYSCALL)
		tally.refused++;
	else
		tally.compared++;
	tally.seen[c->mnemonic]++;
	tally.vectors[guest->vector]++;
	if (what && note_kind(c, what) && tally.shown < o->show) {
		tally.shown++;
		printf("differs: %s\n", what);
		print_case(c, native, guest, o->verbose);
	} else if (o->verbose) {
		print_case(c, native, guest, true);
	}
}

static void run_batch(const struct options *o, struct native *n, struct guest *g, uint64_t first,
		      unsigned count)
{
	static struct outcome guest[BATCH];

	for (unsigned k = 0; k < count; k++) {
		struct insn_case *c = native_case(n, k);

		make_case(c, o->seed, first + k);
		guest_run(g, c, &guest[k]);
		if (guest[k].how == HOW_ENDLESS || at_skipped(c, &guest[k]))
			c->skip = SKIP_ALTOGETHER;
	}
	native_run(n, count);
	for (unsigned k = 0; k < count; k++)
		judge(o, native_case(n, k), native_outcome(n, k), &guest[k]);
}

/* Of the mnemonics that the interpreter knows, those that no case has had. */
static void print_coverage(bool list)
{
	static const struct bind_row *const tables[] = { interp_binds_integer, interp_binds_string,
							 interp_binds_control, interp_binds_system,
							 interp_binds_vector };
	bool bound[MNEMONICS] = { false };
	unsigned known = 0, seen = 0;

	for (unsigned t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct bind_row *r = tables[t]; r->mnemonic; r++)
			bound[r->mnemonic] = true;
	for (unsigned m = 0; m < MNEMONICS; m++) {
		known += bound[m];
		seen += bound[m] && tally.seen[m];
		if (list && bound[m] && !tally.seen[m])
			printf("never: %s\n", ZydisMnemonicGetString(m));
	}
	printf("%u of the interpreter's %u mnemonics\n", seen, known);
}

static void print_tally(const struct options *o)
{
	for (unsigned i = 0; i < tally.kinds; i++)
		printf("%8" PRIu64 " x %s: %s\n", tally.kind[i].count,
		       ZydisMnemonicGetString(tally.kind[i].mnemonic), tally.kind[i].what);
	printf("%" PRIu64 " compared, %" PRIu64 " endless, %" PRIu64 " system calls\n",
	       tally.compared, tally.endless, tally.refused);
	print_coverage(o->verbose);
	printf("exceptions:");
	for (unsigned v = 0; v < 256; v++)
		if (tally.vectors[v])
			printf(" %u: %" PRIu64, v, tally.vectors[v]);
	printf("\n%s - %" PRIu64 " cases seed %" PRIu64 "\n", tally.failures ? "not ok" : "ok",
	       tally.cases, o->seed);
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
		{"seed",     1, NULL, 's'},
                { "first",   1, NULL, 'f'},
		{ "cases",   1, NULL, 'c'},
                { "show",    1, NULL, 'n'},
		{ "seconds", 1, NULL, 't'},
                { "verbose", 0, NULL, 'v'},
		{ "engine",  1, NULL, 'e'},
                { NULL,      0, NULL, 0  }
	};
	const char *name = strrchr(argv[0], '-');
	bool seeded = false;
	int ch;

	*o = (struct options){ .seed = 1, .cases = CASES, .show = 5 };
	o->translator = strstr(argv[0], "insn-bt") != NULL;
	if (name && name[1] >= '0' && name[1] <= '9')
		o->seed = strtoull(name + 1, NULL, 0);
	while ((ch = getopt_long(argc, argv, "", names, NULL)) >= 0) {
		switch (ch) {
		case 's':
			o->seed = strtoull(optarg, NULL, 0);
			seeded = true;
			break;
		case 'f': o->first = strtoull(optarg, NULL, 0); break;
		case 'c': o->cases = strtoull(optarg, NULL, 0); break;
		case 'n': o->show = (unsigned)strtoul(optarg, NULL, 0); break;
		case 't': o->seconds = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'v': o->verbose = true; break;
		case 'e': o->translator = strcmp(optarg, "bt") == 0; break;
		default: exit(2);
		}
	}
	if (!o->cases && !seeded)
		host_random(&o->seed, 4);
}

int main(int argc, char **argv)
{
	struct options o;
	struct native *n;
	struct guest *g;
	char why[NATIVE_WHY];
	uint64_t stop;

	parse(argc, argv, &o);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("engine %s seed %" PRIu64 "\n", o.translator ? "bt" : "interp", o.seed);
	if (o.translator) /* what it translates is 64-bit code */
		case_mix = (struct mix){ .long_mode = 88, .blocks = 35 };
	generate_init();
	stop = host_monotonic_ns() + o.seconds * UINT64_C(1000000000);
	n = native_open(BATCH, why);
	if (!n) {
		printf("skip - %" PRIu64 " cases seed %" PRIu64 ": %s\n", o.cases, o.seed, why);
		return 77;
	}
	g = guest_open(o.translator);
	for (uint64_t done = 0; !o.cases || done < o.cases;) {
		uint64_t left = o.cases ? o.cases - done : BATCH;

		run_batch(&o, n, g, o.first + done, left < BATCH ? (unsigned)left : BATCH);
		done += left < BATCH ? left : BATCH;
		if (!o.cases && tally.failures)
			break;
		if (o.seconds && host_monotonic_ns() > stop)
			break;
	}
	print_tally(&o);
	guest_close(g);
	native_close(n);
	return tally.failures != 0;
}
