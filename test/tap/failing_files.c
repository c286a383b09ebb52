/*
 * For restore_faults.pl, as LD_PRELOAD: counts what changes files below $FAIL_BELOW, and at number $FAIL_AT (from 0) ends the process as
 * kill -9 does, or, with an errno in $FAIL_ERRNO, fails from there on, as a disk that is full does, or, with $FAIL_STOPS, stops until
 * SIGCONT comes. $FAIL_COUNT: a file for the count.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int steps;

static bool
is_below(const char *path)
{
	const char *place = getenv("FAIL_BELOW");

	return place != NULL && path != NULL && strncmp(path, place, strlen(place)) == 0;
}

static bool
is_open_below(int fd)
{
	char		link[64],
				path[4096];
	ssize_t		length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	if (length < 0)
		return false;
	path[length] = '\0';
	return is_below(path);
}

/* takes_space: whether a full disk refuses it */
static bool
fails(bool below, bool takes_space)
{
	const char *at = getenv("FAIL_AT"),
			   *error = getenv("FAIL_ERRNO");
	int			step;

	if (!below)
		return false;
	step = atomic_fetch_add(&steps, 1);
	if (at == NULL || step < atoi(at))
		return false;
	if (getenv("FAIL_STOPS") != NULL)
	{
		if (step == atoi(at))
			raise(SIGSTOP);		/* this thread: of the process, it may be another, and later */
		return false;
	}
	if (error == NULL)
		kill(getpid(), SIGKILL);
	if (!takes_space)
		return false;
	errno = atoi(error);
	return true;
}

__attribute__((destructor)) static void
tell(void)
{
	const char *name = getenv("FAIL_COUNT");
	FILE	   *file = name == NULL ? NULL : fopen(name, "w");

	if (file == NULL)
		return;
	fprintf(file, "%d\n", steps);
	fclose(file);
}

#define REAL(name, result, parameters) \
	static result (*real) parameters; \
	if (real == NULL) \
		real = (result (*) parameters) dlsym(RTLD_NEXT, #name)

#define BY_PATH(name, parameters, arguments, takes_space) \
	int name parameters \
	{ \
		REAL(name, int, parameters); \
		return fails(is_below(path), takes_space) ? -1 : real arguments; \
	}

#define BY_FD(name, result, parameters, arguments) \
	result name parameters \
	{ \
		REAL(name, result, parameters); \
		return fails(is_open_below(fd), true) ? -1 : real arguments; \
	}

#define BY_OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		va_list		rest; \
		mode_t		mode; \
		REAL(name, int, (const char *, int, ...)); \
\
		va_start(rest, flags); \
		mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0; \
		va_end(rest); \
		return fails((flags & O_CREAT) != 0 && is_below(path), true) ? -1 : real(path, flags, mode); \
	}

BY_OPEN(open)
BY_OPEN(open64)
BY_PATH(mkdir, (const char *path, mode_t mode), (path, mode), true)
BY_PATH(rename, (const char *from, const char *path), (from, path), true)
BY_PATH(symlink, (const char *target, const char *path), (target, path), true)
BY_PATH(chmod, (const char *path, mode_t mode), (path, mode), false)
BY_PATH(unlink, (const char *path), (path), false)
BY_PATH(remove, (const char *path), (path), false)
BY_FD(write, ssize_t, (int fd, const void *data, size_t size), (fd, data, size))
BY_FD(pwrite, ssize_t, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
BY_FD(pwrite64, ssize_t, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
BY_FD(ftruncate, int, (int fd, off_t size), (fd, size))
BY_FD(ftruncate64, int, (int fd, off64_t size), (fd, size))
BY_FD(fsync, int, (int fd), (fd))
BY_FD(syncfs, int, (int fd), (fd))
