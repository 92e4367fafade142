/*
 * p9.c - a directory of the host, served to a guest: words, thread, session (see p9.h).
 *
 * One thread for a share takes messages in order and makes the system calls, so a slow file
 * system stops the guest's program and not its processor.
 *
 * Files belong to the user who runs the machine, whoever the guest's user is; the guest checks
 * permissions among its own users by what it sees. Set-user-ID and set-group-ID bits, device nodes,
 * sockets and pipes cannot be made through a share: they would mean something on the host.
 *
 * Spec: 9P2000.L. Tested by test/unit/p9.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/p9.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend/p9_internal.h"
#include "host/host.h"

/* --- Words --- */

static int parse(struct p9 *s, const char *text, struct fail *why)
{
	char *option;

	s->words = strdup(text);
	if (!s->words)
		return fail(why, -ENOMEM, "no memory for --share");
	s->tag = strrchr(s->words, ':');
	if (!s->tag || s->tag == s->words)
		return fail(why, -EINVAL, "--share: '%s' is not DIR:TAG[,readonly]", text);
	*s->tag++ = '\0';
	option = strchr(s->tag, ',');
	if (option)
		*option++ = '\0';
	if (!*s->tag || strlen(s->tag) > P9_TAG_MOST)
		return fail(why, -EINVAL, "--share: a tag has 1 to %u letters", P9_TAG_MOST);
	s->readonly = option != NULL;
	if (option && strcmp(option, "readonly") != 0)
		return fail(why, -EINVAL, "--share has no option '%s', only readonly", option);
	return 0;
}

int p9_check(const char *text, struct fail *why)
{
	struct p9 s = { .root = -1 };
	int err = parse(&s, text, why);

	free(s.words);
	return err;
}

/* --- The seam --- */

static void submit(void *arg, struct p9_request *request)
{
	struct p9 *s = arg;

	request->next = NULL;
	host_mutex_lock(s->lock);
	*s->tail = request;
	s->tail = &request->next;
	s->pending++;
	host_cond_broadcast(s->change);
	host_mutex_unlock(s->lock);
}

static void drain(void *arg)
{
	struct p9 *s = arg;

	host_mutex_lock(s->lock);
	while (s->pending)
		host_cond_wait(s->change, s->lock, UINT64_MAX);
	host_mutex_unlock(s->lock);
}

static void reset(void *arg)
{
	struct p9 *s = arg;

	drain(s); /* so the session is this thread's for the moment */
	p9_fid_drop_all(s);
	s->size = 0;
}

static size_t save(void *arg, void *to, size_t room)
{
	drain(arg);
	return p9_save(arg, to, room);
}

static void load(void *arg, const void *from, size_t bytes)
{
	struct p9 *s = arg;
	unsigned lost;

	reset(s);
	lost = p9_load(s, from, bytes);
	if (lost)
		host_warn(
			"--share %s: %u of the files and directories that the guest knows are gone "
			"since the machine was saved: it gets errors for them",
			s->words, lost);
}

static void run(void *arg)
{
	struct p9 *s = arg;

	host_mutex_lock(s->lock);
	while (!s->stop) {
		struct p9_request *r = s->first;

		if (!r) {
			host_cond_wait(s->change, s->lock, UINT64_MAX);
			continue;
		}
		s->first = r->next;
		if (!s->first)
			s->tail = &s->first;
		host_mutex_unlock(s->lock);
		r->out_bytes = p9_answer(s, r->in, r->in_bytes, r->out, r->out_room);
		r->done(r);
		host_mutex_lock(s->lock);
		s->pending--;
		host_cond_broadcast(s->change);
	}
	host_mutex_unlock(s->lock);
}

/* --- The session --- */

int p9_do_version(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	static const char known[] = "9P2000.L";
	uint64_t size = p9_get(in, 4);
	size_t bytes;
	const char *text = p9_get_text(in, &bytes);
	bool same = bytes == sizeof(known) - 1 && memcmp(text, known, bytes) == 0;

	if (in->bad || size < P9_SIZE_LEAST)
		return -EINVAL;
	p9_fid_drop_all(s);
	if (size > P9_MESSAGE_MOST)
		size = P9_MESSAGE_MOST;
	s->size = same ? (uint32_t)size : 0;
	p9_put(out, size, 4);
	if (same)
		p9_put_text(out, known, bytes);
	else
		p9_put_text(out, "unknown", 7);
	return 0;
}

int p9_do_attach(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t number = (uint32_t)p9_get(in, 4);
	uint64_t authentication = p9_get(in, 4);
	struct p9_place root;
	struct stat st;
	int err;

	if (in->bad)
		return -EINVAL;
	if (authentication != P9_NOFID)
		return -EOPNOTSUPP;
	if (fstat(s->root, &st) != 0)
		return -errno;
	err = p9_root(s, &root);
	if (!err)
		err = p9_fid_add(s, number, &root);
	p9_put_qid(out, s, &st);
	return err;
}

/* Of a directory that was removed the descriptor is still good, without a name; a file system that
 * is lost (a server, a medium, a process that served it) fails for the root, too, or says by its
 * error that it is not one file's. */
void p9_look_at_root(struct p9 *s, int err)
{
	const bool lost = err == -EIO || err == -ENOTCONN || err == -ESHUTDOWN || err == -ENODEV;
	struct stat st;

	if (s->gone)
		return;
	if (fstat(s->root, &st) != 0)
		host_warn("--share %s: %s: the guest gets errors there", s->words, strerror(errno));
	else if (st.st_nlink == 0)
		host_warn("--share %s: the directory was removed: the guest gets errors there",
			  s->words);
	else if (lost)
		host_warn("--share %s: %s: the guest gets errors there", s->words, strerror(-err));
	else
		return;
	s->gone = true;
}

/* --- Opening --- */

/* Fids are descriptors: as many as the host lets this process have, and some left for others. */
static void count_fids(struct p9 *s)
{
	struct rlimit limit;

	s->fids_most = 256;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* what counts is what is then so */
		if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
			return;
	}
	s->fids_most =
		limit.rlim_cur / 8 < P9_FIDS_MOST ? (unsigned)(limit.rlim_cur / 8) : P9_FIDS_MOST;
}

static int open_directory(struct p9 *s, struct fail *why)
{
	struct p9_place root;
	struct stat st;
	int err;

	s->root = open(s->words, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0 || fstat(s->root, &st) != 0)
		return fail(why, -errno, "--share: %s: %s", s->words, strerror(errno));
	s->device = st.st_dev;
	s->proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc < 0)
		return fail(why, -errno, "--share needs /proc: %s", strerror(errno));
	err = p9_root(s, &root);
	if (err)
		return fail(why, err, "--share: cannot look beneath a directory (openat2): %s",
			    strerror(-err));
	p9_place_close(&root);
	count_fids(s);
	return 0;
}

static int start(struct p9 *s, struct fail *why)
{
	s->lock = host_mutex_new();
	s->change = host_cond_new();
	if (!s->lock || !s->change)
		return fail(why, -ENOMEM, "no memory for --share");
	s->thread = host_thread_start(run, s, "share");
	return s->thread ? 0 : fail(why, -EAGAIN, "cannot start the thread of --share");
}

struct p9 *p9_open(const char *text, struct fail *why)
{
	struct p9 *s = host_alloc(sizeof(*s));

	if (!s) {
		fail(why, -ENOMEM, "no memory for --share");
		return NULL;
	}
	s->root = s->proc = -1;
	s->tail = &s->first;
	if (parse(s, text, why) || open_directory(s, why) || start(s, why)) {
		p9_close(s);
		return NULL;
	}
	return s;
}

const char *p9_tag(const struct p9 *s)
{
	return s->tag;
}

struct p9_backend p9_backend(struct p9 *s)
{
	return (struct p9_backend){ .submit = submit,
				    .drain = drain,
				    .reset = reset,
				    .save = save,
				    .load = load,
				    .arg = s };
}

void p9_close(struct p9 *s)
{
	if (!s)
		return;
	if (s->thread) {
		host_mutex_lock(s->lock);
		s->stop = true;
		host_cond_broadcast(s->change);
		host_mutex_unlock(s->lock);
		host_thread_join(s->thread);
	}
	p9_fid_drop_all(s);
	host_cond_free(s->change);
	host_mutex_free(s->lock);
	if (s->root >= 0)
		close(s->root);
	if (s->proc >= 0)
		close(s->proc);
	free(s->words);
	host_free(s);
}
