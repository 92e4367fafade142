/*
 * tree.c - CPU time of a process tree, from /proc.
 *
 * The idea: a monitor may be one process (QEMU, Trapeze) or many that come and go (User-Mode Linux
 * has one for each guest address space; the native run is the benchmark's own forks). A live
 * process has an exact clock; what the dead used stands in their parent's cutime and cstime, in
 * ticks of 10 ms.
 *
 * It misses children that ended and were not waited for yet. SPDX-License-Identifier: MIT
 */
#include "bench/tree.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 4096

struct process {
	pid_t pid, parent;
	long dead_ticks;
	bool below;
};

/* Fields of /proc/PID/stat behind the name, which may hold anything (proc(5)). */
static bool read_process(pid_t pid, struct process *p)
{
	char path[64], text[1024], *at;
	long user, system;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	at = strrchr(text, ')');
	*p = (struct process){ .pid = pid };
	if (!at || sscanf(at + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %ld %ld",
			  &p->parent, &user, &system) != 3)
		return false;
	p->dead_ticks = user + system;
	return true;
}

static int read_all(struct process *all)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	if (!d)
		return 0;
	while (n < PROCESSES_MAX && (e = readdir(d))) {
		if (isdigit((unsigned char)e->d_name[0]) && read_process(atoi(e->d_name), &all[n]))
			n++;
	}
	closedir(d);
	return n;
}

static double clock_of(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
		return 0;
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double tree_cpu(pid_t root)
{
	static struct process all[PROCESSES_MAX];
	double live = clock_of(root), dead = 0;
	bool more = true;
	int n = read_all(all);

	for (int i = 0; i < n; i++)
		all[i].below = all[i].pid == root;
	while (more) {
		more = false;
		for (int i = 0; i < n; i++) {
			for (int j = 0; !all[i].below && j < n; j++) {
				if (all[j].below && all[i].parent == all[j].pid)
					all[i].below = more = true;
			}
		}
	}
	for (int i = 0; i < n; i++) {
		if (!all[i].below)
			continue;
		dead += (double)all[i].dead_ticks;
		live += all[i].pid == root ? 0 : clock_of(all[i].pid);
	}
	return live + dead / (double)sysconf(_SC_CLK_TCK);
}
