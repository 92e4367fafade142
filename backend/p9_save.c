/*
 * p9_save.c - what a guest has open in a share, as bytes, for a saved machine.
 *
 * A descriptor cannot be saved; where it was can. Where the machine is loaded, each place is looked
 *up anew beneath the root of that share, and opened again if it was open. What is not there any
 * more (a file that was removed while it was open, too) stays a fid without a place: it can be
 * given up, and every other use is answered with ESTALE. Locks are not taken again.
 *
 *	size of a message [4]  fids left out for want of room [4]
 *	then each fid: number [4]  state [1]  flags of its open [4]
 *	               bytes its path has in common with the one before [2]  bytes that follow [2]
 *these
 *
 * In the order of the paths, so that few bytes follow. Loaded bytes are hostile: the worst they can
 *do is what a guest's own messages can.
 *
 * Spec: 9P2000.L. Tested by test/unit/p9_save.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/p9_internal.h"
#include "host/host.h"

#define KEPT_FLAGS (O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC)

enum { CLOSED, OPEN, GONE /* it has no name any more */ };

/* --- Saving --- */

static int by_path(const void *a, const void *b)
{
	const struct p9_fid *x = *(struct p9_fid *const *)a, *y = *(struct p9_fid *const *)b;
	int order = strcmp(x->place.path, y->place.path);

	return order ? order : (x->number > y->number) - (x->number < y->number);
}

static struct p9_fid **sorted(struct p9 *s)
{
	struct p9_fid **list = host_alloc((s->fids + 1) * sizeof(struct p9_fid *));
	unsigned n = 0;

	for (unsigned i = 0; list && i < P9_BUCKETS; i++) {
		for (struct p9_fid *f = s->bucket[i]; f; f = f->next)
			list[n++] = f;
	}
	if (list)
		qsort(list, n, sizeof(struct p9_fid *), by_path);
	return list;
}

static size_t in_common(const char *a, const char *b)
{
	size_t n = 0;

	while (a[n] && a[n] == b[n])
		n++;
	return n;
}

static bool is_there(struct p9 *s, const struct p9_fid *f)
{
	struct stat here, there;
	struct p9_place place;
	bool same = p9_lookup(s, f->place.path, &place) == 0 && fstat(place.at, &there) == 0 &&
		    fstat(f->place.at, &here) == 0 && here.st_dev == there.st_dev &&
		    here.st_ino == there.st_ino;

	p9_place_close(&place);
	return same;
}

static void put_fid(struct p9 *s, struct p9_out *out, const struct p9_fid *f, const char *before)
{
	size_t common = in_common(before, f->place.path);

	p9_put(out, f->number, 4);
	p9_put(out, !is_there(s, f) ? GONE : f->open >= 0 ? OPEN : CLOSED, 1);
	p9_put(out, (uint64_t)f->flags & KEPT_FLAGS, 4);
	p9_put(out, common, 2);
	p9_put_text(out, f->place.path + common, strlen(f->place.path) - common);
}

size_t p9_save(struct p9 *s, void *to, size_t room)
{
	struct p9_out out = { .data = to, .end = room };
	struct p9_fid **list = sorted(s);
	const char *before = "";
	uint32_t left_out = s->fids;

	p9_put(&out, s->size, 4);
	p9_put(&out, 0, 4);
	for (unsigned i = 0; list && i < s->fids; i++) {
		size_t at = out.at;

		put_fid(s, &out, list[i], before);
		if (out.bad) {
			out.at = at;
			break;
		}
		before = list[i]->place.path;
		left_out--;
	}
	memcpy((uint8_t *)to + 4, &left_out, 4);
	host_free(list);
	return out.at;
}

/* --- Loading --- */

/* The fid is there in any case; false: without its place. */
static bool load_fid(struct p9 *s, uint32_t number, unsigned state, int flags, const char *path)
{
	struct p9_place place;
	struct p9_fid *fid;
	bool found = p9_lookup(s, path, &place) == 0 && state != GONE;

	if (!place.path || p9_fid_add(s, number, &place))
		return false;
	fid = p9_fid(s, number);
	if (!found)
		p9_fid_forget(fid);
	if (!found || state != OPEN)
		return found;
	fid->flags = flags & KEPT_FLAGS;
	fid->writable = (flags & O_ACCMODE) != O_RDONLY;
	if ((flags & O_ACCMODE) != O_ACCMODE && !(s->readonly && fid->writable))
		fid->open = p9_contents(s, fid->place.at, fid->flags);
	if (fid->open >= 0)
		return true;
	fid->open = -1;
	p9_fid_forget(fid);
	return false;
}

unsigned p9_load(struct p9 *s, const void *from, size_t bytes)
{
	struct p9_in in = { .data = from, .end = bytes };
	uint64_t size = p9_get(&in, 4), lost = p9_get(&in, 4);
	char path[PATH_MAX] = "";

	if (in.bad || (size && (size < P9_SIZE_LEAST || size > P9_MESSAGE_MOST)))
		return 0;
	s->size = (uint32_t)size;
	while (in.at < in.end) {
		uint64_t number = p9_get(&in, 4), state = p9_get(&in, 1), flags = p9_get(&in, 4);
		uint64_t common = p9_get(&in, 2);

		if (in.bad || common > strlen(path) ||
		    p9_get_string(&in, path + common, sizeof(path) - common))
			break;
		lost += !load_fid(s, (uint32_t)number, (unsigned)state, (int)flags, path);
	}
	return lost < UINT32_MAX ? (unsigned)lost : UINT32_MAX;
}
