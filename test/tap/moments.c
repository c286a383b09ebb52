/*
 * For engine_races.pl, schedule_crash.pl and others: a background worker stays at a certain moment of the engine, before or after one of its statements, while
 * there is a file moments/NAME in the data directory; only the process whose number is in it, if it is not empty, which may be a
 * session. It makes a file moments/NAME.here; who finds that there goes on.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"

PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);

static ExecutorStart_hook_type previous_start = NULL;
static ExecutorEnd_hook_type previous_end = NULL;

static const struct
{
	const char *name,
			   *text;
	bool		after;
}			moments[] = {
	/* a worker that is out of work has looked what others have, and has the lock of none of them */
	{"take_over", "slice <> $2::integer AND work <> '[]' ORDER BY slice", true},
	/* what a cancel means is asked next */
	{"state", "SELECT state FROM dbops.job WHERE job_id = $1::bigint", false},
	/* a worker has the lock of its slice, and not yet the job's row */
	{"begin", "SELECT 1 FROM dbops.job WHERE job_id = $1::bigint FOR NO KEY UPDATE", false},
	/* a dispatcher looks what is due, as of now; who works on what it has not asked yet */
	{"dispatch", "AND (j.state = 'running' OR s.slice = (SELECT min(f.slice)", false},
	/* who looks what is due has seen it, and not said so yet */
	{"looked", "AND (j.state = 'running' OR s.slice = (SELECT min(f.slice)", true},
	/* the same, of commands that are due */
	{"looked_for_commands", "AND NOT s.running AND j.state = 'queued'", true},
	/* the end of a run: its slice has no work left, and the job's row is not locked; it is locked */
	{"before_end", "FROM dbops.job WHERE job_id = $1::bigint FOR NO KEY UPDATE", false},
	{"end", "UPDATE dbops.job_run r SET outcome = $3", false},
	/* the end of a schedule's run: its row is locked, those that follow are not */
	/* a schedule is due, and its run not yet claimed */
	{"claim", "INSERT INTO dbops.job_run (job_id, slice, mode, pid, scheduled_at", false},
	/* the claim of a run is committed, and its command has not begun */
	{"command", "/* waits for its moment */", false},
	{"followers", "s.after_job = $1::bigint ORDER BY s.job_id FOR NO KEY", false},
};

/* Is there a file of that name that means this process? */
static bool
kept_at(const char *gate)
{
	char		text[16] = "";
	int			file = open(gate, O_RDONLY);
	ssize_t		length;

	if (file < 0)
		return false;
	length = read(file, text, sizeof(text) - 1);
	close(file);
	return length <= 0 ? MyBackendType == B_BG_WORKER : atoi(text) == MyProcPid;
}

static void
stay(const char *text, bool after)
{
	if ((MyBackendType != B_BG_WORKER && MyBackendType != B_BACKEND) || text == NULL)
		return;
	for (int i = 0; i < (int) lengthof(moments); i++)
	{
		char		gate[64],
					here[64];
		int			file;

		if (moments[i].after != after || strstr(text, moments[i].text) == NULL)
			continue;
		snprintf(gate, sizeof gate, "moments/%s", moments[i].name);
		if (!kept_at(gate))
			continue;
		snprintf(here, sizeof here, "moments/%s.here", moments[i].name);
		if ((file = open(here, O_CREAT | O_EXCL | O_WRONLY, 0600)) < 0)
			continue;
		close(file);
		while (access(gate, F_OK) == 0 && !ProcDiePending)
			pg_usleep(10000);
	}
}

static void
start(QueryDesc *query, int flags)
{
	stay(query->sourceText, false);
	if (previous_start != NULL)
		previous_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

static void
end(QueryDesc *query)
{
	const char *text = query->sourceText;

	if (previous_end != NULL)
		previous_end(query);
	else
		standard_ExecutorEnd(query);
	stay(text, true);
}

void
_PG_init(void)
{
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start;
	previous_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end;
}
