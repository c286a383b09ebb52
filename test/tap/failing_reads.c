/*
 * For wal_get.pl, as LD_PRELOAD: the calls that look at or read what is below $FAIL_BELOW fail with $FAIL_ERRNO, from number $FAIL_FROM
 * (from 0) on, $FAIL_CALLS of them. As a file system of the network does whose server is gone, or has come back.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int calls;

static bool
fails(const char *path)
{
	const char *place = getenv("FAIL_BELOW");
	int			from = atoi(getenv("FAIL_FROM"));
	int			call;

	if (place == NULL || path == NULL || strncmp(path, place, strlen(place)) != 0)
		return false;
	call = atomic_fetch_add(&calls, 1);
	if (call < from || call >= from + atoi(getenv("FAIL_CALLS")))
		return false;
	errno = atoi(getenv("FAIL_ERRNO"));
	return true;
}

static bool
fd_fails(int fd)
{
	char		link[64],
				path[PATH_MAX];
	ssize_t		length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	if (length < 0)
		return false;
	path[length] = '\0';
	return fails(path);
}

#define REAL(name, result, parameters) \
	static result (*real) parameters; \
	if (real == NULL) \
		real = (result (*) parameters) dlsym(RTLD_NEXT, #name)

#define BY_PATH(name, result, failure, parameters, arguments) \
	result name parameters \
	{ \
		REAL(name, result, parameters); \
		return fails(path) ? failure : real arguments; \
	}

#define BY_FD(name, result, parameters, arguments) \
	result name parameters \
	{ \
		REAL(name, result, parameters); \
		return fd_fails(fd) ? -1 : real arguments; \
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
		return fails(path) ? -1 : real(path, flags, mode); \
	}

BY_OPEN(open)
BY_OPEN(open64)
BY_PATH(stat, int, -1, (const char *path, struct stat *status), (path, status))
BY_PATH(stat64, int, -1, (const char *path, struct stat64 *status), (path, status))
BY_PATH(opendir, DIR *, NULL, (const char *path), (path))
BY_FD(fstat, int, (int fd, struct stat *status), (fd, status))
BY_FD(fstat64, int, (int fd, struct stat64 *status), (fd, status))
BY_FD(pread, ssize_t, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
BY_FD(pread64, ssize_t, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
