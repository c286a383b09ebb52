/* For LD_PRELOAD: the wall clock of the process is off by the seconds that are in the file CLOCK_OFFSET_FILE, so that a test can
 * set the clock of a running server. The monotonic clock stays. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const long *offset;

static long seconds(void)
{
	if (offset == NULL)
	{
		const char *path = getenv("CLOCK_OFFSET_FILE");
		int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);

		if (file < 0)
			return 0;
		offset = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
		close(file);
		if (offset == MAP_FAILED)
			abort();
	}
	return *offset;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real) (clockid_t, struct timespec *);
	int			result;

	if (real == NULL)
		real = (int (*) (clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, now);
	if (clock == CLOCK_REALTIME)
		now->tv_sec += seconds();
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
