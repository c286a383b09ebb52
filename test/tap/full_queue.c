/*
 * For notify.pl: the queue of NOTIFY is full while there is a file full_queue in the data directory. The calls that
 * dbops.so makes to pg_notification_queue_usage and Async_Notify come here: their places in its global offset table are
 * written over.
 */
#include "postgres.h"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "commands/async.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"

PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);

static bool
is_full(void)
{
	return access("full_queue", F_OK) == 0;
}

static Datum
usage(FunctionCallInfo fcinfo)
{
	return is_full() ? Float8GetDatum(0.95) : pg_notification_queue_usage(fcinfo);
}

/* What PreCommit_Notify says (async.c), a moment earlier */
static void
notify(const char *channel, const char *payload)
{
	if (is_full())
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many notifications in the NOTIFY queue")));
	Async_Notify(channel, payload);
}

static void
redirect(ElfW(Addr) base, const ElfW(Rela) *entries, size_t size, const ElfW(Sym) *symbols, const char *names)
{
	for (size_t i = 0; i < size / sizeof(*entries); ++i)
	{
		const char *name = names + symbols[ELF64_R_SYM(entries[i].r_info)].st_name;
		void	   *target = strcmp(name, "pg_notification_queue_usage") == 0 ? (void *) usage :
			strcmp(name, "Async_Notify") == 0 ? (void *) notify : NULL;
		uintptr_t	place = base + entries[i].r_offset;
		uintptr_t	page = place & ~((uintptr_t) sysconf(_SC_PAGESIZE) - 1);

		if (target == NULL)
			continue;
		if (mprotect((void *) page, place + sizeof(void *) - page, PROT_READ | PROT_WRITE) != 0)
			elog(ERROR, "mprotect: %m");
		*(void **) place = target;
		elog(LOG, "full_queue: %s", name);
	}
}
static int
look_at(struct dl_phdr_info *object, size_t size, void *unused)
{
	const char *file = strrchr(object->dlpi_name, '/');

	if (file == NULL || strcmp(file, "/dbops.so") != 0)
		return 0;
	for (int i = 0; i < object->dlpi_phnum; ++i)
	{
		const ElfW(Dyn) *entry = (const ElfW(Dyn) *) (object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
		const ElfW(Rela) *data = NULL, *calls_of = NULL;
		size_t		data_size = 0, calls_size = 0;
		const ElfW(Sym) *symbols = NULL;
		const char *names = NULL;

		if (object->dlpi_phdr[i].p_type != PT_DYNAMIC)
			continue;
		for (; entry->d_tag != DT_NULL; ++entry)
		{
			if (entry->d_tag == DT_RELA) data = (const void *) entry->d_un.d_ptr;
			if (entry->d_tag == DT_RELASZ) data_size = entry->d_un.d_val;
			if (entry->d_tag == DT_JMPREL) calls_of = (const void *) entry->d_un.d_ptr;
			if (entry->d_tag == DT_PLTRELSZ) calls_size = entry->d_un.d_val;
			if (entry->d_tag == DT_SYMTAB) symbols = (const void *) entry->d_un.d_ptr;
			if (entry->d_tag == DT_STRTAB) names = (const void *) entry->d_un.d_ptr;
		}
		redirect(object->dlpi_addr, data, data_size, symbols, names);
		redirect(object->dlpi_addr, calls_of, calls_size, symbols, names);
	}
	return 1;
}

void
_PG_init(void)
{
	dl_iterate_phdr(look_at, NULL);
}
