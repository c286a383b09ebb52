/*
 * For interference.pl, as LD_PRELOAD: every file system has 8 MB left as long as there is a file "$NEARLY_FULL".
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOOK(name, type) \
	int name(const char *path, struct type *found) \
	{ \
		static int	(*real) (const char *, struct type *); \
		const char *flag = getenv("NEARLY_FULL"); \
		int			status; \
\
		if (real == NULL) \
			real = (int (*) (const char *, struct type *)) dlsym(RTLD_NEXT, #name); \
		status = real(path, found); \
		if (status == 0 && flag != NULL && access(flag, F_OK) == 0) \
			found->f_bavail = (8 << 20) / found->f_frsize; \
		return status; \
	}

LOOK(statvfs, statvfs)
LOOK(statvfs64, statvfs64)
