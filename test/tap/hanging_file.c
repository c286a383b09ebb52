/*
 * For archive_disk.pl, as LD_PRELOAD: whoever touches a file below $HANGING_PLACE hangs, deaf to signals, while there is a file
 * "$HANGING_PLACE.hangs". As a file system of the network does whose server is gone.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
touch(const char *path)
{
	const char *place = getenv("HANGING_PLACE");
	char		flag[1024];

	if (place == NULL || path == NULL || strncmp(path, place, strlen(place)) != 0)
		return;
	snprintf(flag, sizeof flag, "%s.hangs", place);
	while (syscall(SYS_access, flag, F_OK) == 0)
		usleep(10000);
}

#define PASS(name, result, parameters, arguments) \
	result name parameters \
	{ \
		static result (*real) parameters; \
\
		if (real == NULL) \
			real = (result (*) parameters) dlsym(RTLD_NEXT, #name); \
		touch(path); \
		return real arguments; \
	}

#define PASS_OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		static int	(*real) (const char *, int, ...); \
		va_list		rest; \
		mode_t		mode; \
\
		va_start(rest, flags); \
		mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0; \
		va_end(rest); \
		if (real == NULL) \
			real = (int (*) (const char *, int, ...)) dlsym(RTLD_NEXT, #name); \
		touch(path); \
		return real(path, flags, mode); \
	}

PASS_OPEN(open)
PASS_OPEN(open64)
PASS(stat, int, (const char *path, struct stat *status), (path, status))
PASS(stat64, int, (const char *path, struct stat64 *status), (path, status))
PASS(access, int, (const char *path, int mode), (path, mode))
PASS(mkdir, int, (const char *path, mode_t mode), (path, mode))
PASS(link, int, (const char *path, const char *name), (path, name))
