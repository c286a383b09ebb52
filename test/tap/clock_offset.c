/* For LD_PRELOAD: the wall clock of the process is off by the seconds that are in the file CLOCK_OFFSET_FILE, so that a test can
 * set the clock of a running server. The monotonic clock stays. A second number there, when it is not 0, is how long the machine
 * has been running less than it has, and BOOT_ID_FILE, when it is set, has the number of its boot: that is a restart of the machine. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const long *offset;

static const long *numbers(void)
{
	static const long none[2];

	if (offset == NULL)
	{
		const char *path = getenv("CLOCK_OFFSET_FILE");
		int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);

		if (file < 0)
			return none;
		offset = mmap(NULL, 2 * sizeof(long), PROT_READ, MAP_SHARED, file, 0);
		close(file);
		if (offset == MAP_FAILED)
			abort();
	}
	return (const long *) offset;
}

static int open_as(const char *name, const char *path, int flags, unsigned mode)
{
	int			(*real) (const char *, int, ...) = (int (*) (const char *, int, ...)) dlsym(RTLD_NEXT, name);
	const char *boot_id = getenv("BOOT_ID_FILE");

	return real(boot_id != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0 ? boot_id : path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list		arguments;
	unsigned	mode;

	va_start(arguments, flags);
	mode = va_arg(arguments, unsigned);
	va_end(arguments);
	return open_as("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list		arguments;
	unsigned	mode;

	va_start(arguments, flags);
	mode = va_arg(arguments, unsigned);
	va_end(arguments);
	return open_as("open64", path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real) (clockid_t, struct timespec *);
	int			result;

	if (real == NULL)
		real = (int (*) (clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, now);
	if (clock == CLOCK_REALTIME)
		now->tv_sec += numbers()[0];
	if (clock == CLOCK_BOOTTIME)
		now->tv_sec -= numbers()[1];
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	int			result = clock_gettime(CLOCK_REALTIME, &precise);

	(void) zone;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return result;
}
