/*
 * For schedule_race.pl: some of the engine's statements take long to plan, as they do in a new process on a busy machine. So a
 * dispatcher's look at what is running spans the claim of a run, its command and what comes before the record of its end.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "optimizer/planner.h"

PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);

static planner_hook_type previous = NULL;

static const struct
{
	const char *text;
	long		milliseconds;
}			slow[] = {
	{"s.owner_oid = $1::oid AND s.due_at", 300},	/* the claim */
	{"s.running AND (s.job_id", 400},	/* the look */
	{"s.job_id = $1::bigint FOR NO KEY UPDATE OF s", 400},	/* the end */
};

static PlannedStmt *
plan(Query *query, const char *text, int options, ParamListInfo parameters)
{
	for (int i = 0; text != NULL && MyBackendType == B_BG_WORKER && i < (int) lengthof(slow); i++)
		if (strstr(text, slow[i].text) != NULL)
			pg_usleep(slow[i].milliseconds * 1000L);
	return previous != NULL ? previous(query, text, options, parameters) : standard_planner(query, text, options, parameters);
}

void
_PG_init(void)
{
	previous = planner_hook;
	planner_hook = plan;
}
