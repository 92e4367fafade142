/*
 * p9_message.c - 9P messages as bytes, and who answers which.
 *
 * Reading beyond the end of a message gives zeros and marks it bad; so does writing beyond the
 * room of an answer. Whoever is asked looks once, before it acts.
 *
 * Not modelled: authentication and extended attributes; both are refused, and clients go without.
 *
 * Spec: 9P2000.L. Tested by test/unit/p9.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "backend/p9_internal.h"

enum { RLERROR = 7, TVERSION = 100 };
enum { QTDIR = 0x80, QTSYMLINK = 0x02 };

uint64_t p9_get(struct p9_in *in, unsigned bytes)
{
	uint64_t value = 0;

	if (in->bad || in->end - in->at < bytes) {
		in->bad = true;
		return 0;
	}
	memcpy(&value, in->data + in->at, bytes);
	in->at += bytes;
	return value;
}

const char *p9_get_text(struct p9_in *in, size_t *bytes)
{
	const char *text;

	*bytes = p9_get(in, 2);
	if (in->bad || in->end - in->at < *bytes) {
		in->bad = true;
		*bytes = 0;
		return "";
	}
	text = (const char *)in->data + in->at;
	in->at += *bytes;
	return text;
}

int p9_get_string(struct p9_in *in, char *to, size_t room)
{
	size_t bytes;
	const char *text = p9_get_text(in, &bytes);

	to[0] = '\0';
	if (in->bad || memchr(text, '\0', bytes))
		return -EINVAL;
	if (bytes >= room)
		return -ENAMETOOLONG;
	memcpy(to, text, bytes);
	to[bytes] = '\0';
	return 0;
}

int p9_get_name(struct p9_in *in, char name[NAME_MAX + 1])
{
	int err = p9_get_string(in, name, NAME_MAX + 1);

	if (err)
		return err;
	if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	return 0;
}

struct p9_fid *p9_get_fid(struct p9 *s, struct p9_in *in)
{
	return p9_fid(s, (uint32_t)p9_get(in, 4));
}

void p9_put(struct p9_out *out, uint64_t value, unsigned bytes)
{
	if (out->bad || out->end - out->at < bytes) {
		out->bad = true;
		return;
	}
	memcpy(out->data + out->at, &value, bytes);
	out->at += bytes;
}

void p9_put_text(struct p9_out *out, const void *text, size_t bytes)
{
	p9_put(out, bytes, 2);
	if (out->bad || bytes > UINT16_MAX || out->end - out->at < bytes) {
		out->bad = true;
		return;
	}
	memcpy(out->data + out->at, text, bytes);
	out->at += bytes;
}

/* A file system mounted inside the share has numbers of its own. */
uint64_t p9_qid_path(const struct p9 *s, uint64_t dev, uint64_t ino)
{
	return dev == s->device ? ino : ino ^ dev * UINT64_C(0x9e3779b97f4a7c15);
}

void p9_put_qid(struct p9_out *out, const struct p9 *s, const struct stat *st)
{
	uint64_t mtime = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;

	p9_put(out, S_ISDIR(st->st_mode) ? QTDIR : S_ISLNK(st->st_mode) ? QTSYMLINK : 0, 1);
	p9_put(out, (uint32_t)(mtime ^ mtime >> 32 ^ (uint64_t)st->st_size << 8), 4);
	p9_put(out, p9_qid_path(s, st->st_dev, st->st_ino), 8);
}

int p9_do_flush(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	/* Messages are answered in order: what is to be flushed has its answer. */
	(void)s;
	(void)in;
	(void)out;
	return 0;
}

static int serve(struct p9 *s, unsigned type, struct p9_in *in, struct p9_out *out)
{
	if (!s->size && type != TVERSION)
		return -EPROTO;
	switch (type) {
#define X(number, name, changes)                                                                   \
	case number: return (changes) && s->readonly ? -EROFS : p9_do_##name(s, in, out);
		P9_OPERATIONS(X)
#undef X
	default: return -EOPNOTSUPP;
	}
}

/* Nearly every message begins with a fid; one that lost its place says so. */
static bool is_stale(struct p9 *s, const uint8_t *in, size_t in_bytes)
{
	struct p9_in message = { .data = in, .at = P9_HEADER, .end = in_bytes };
	const struct p9_fid *fid = p9_get_fid(s, &message);

	return !message.bad && fid && fid->place.at < 0;
}

static void header(struct p9_out *out, unsigned type, uint64_t tag)
{
	size_t bytes = out->at;

	out->at = 0;
	p9_put(out, bytes, 4);
	p9_put(out, type, 1);
	p9_put(out, tag, 2);
	out->at = bytes;
}

size_t p9_answer(struct p9 *s, const uint8_t *in, size_t in_bytes, uint8_t *out, size_t room)
{
	struct p9_in message = { .data = in, .end = in_bytes };
	struct p9_out answer = { .data = out, .at = P9_HEADER, .end = room };
	uint64_t size = p9_get(&message, 4);
	unsigned type = (unsigned)p9_get(&message, 1);
	uint64_t tag = p9_get(&message, 2);
	int err;

	if (s->size && answer.end > s->size)
		answer.end = s->size;
	if (size != in_bytes || (s->size && size > s->size))
		err = -EMSGSIZE;
	else
		err = serve(s, type, &message, &answer);
	if (err == -EBADF && is_stale(s, in, in_bytes))
		err = -ESTALE;
	if (!err && answer.bad)
		err = -EMSGSIZE;
	if (err) {
		p9_look_at_root(s, err);
		answer.bad = false;
		answer.at = P9_HEADER;
		p9_put(&answer, (uint64_t)-err, 4);
		type = RLERROR - 1;
	}
	header(&answer, type + 1, tag);
	return answer.at;
}
