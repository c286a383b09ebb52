/*
 * For schedule_race.pl: some of the engine's statements take long to plan, as they do in a new process on a busy machine. So a
 * dispatcher's look at what is running spans the claim of a run, its command and what comes before the record of its end; and a
 * user's pause takes longer than the rest of a run.
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
	long		worker,			/* milliseconds */
				client;
}			slow[] = {
	{"s.owner_oid = $1::oid AND s.due_at", 300, 0},	/* the claim */
	{"s.running AND (s.job_id", 400, 0},	/* the look */
	{"s.job_id = $1::bigint FOR NO KEY UPDATE OF s", 400, 3500},	/* the end; what a pause does last */
};

static PlannedStmt *
plan(Query *query, const char *text, int options, ParamListInfo parameters)
{
	for (int i = 0; text != NULL && i < (int) lengthof(slow); i++)
		if (strstr(text, slow[i].text) != NULL)
			pg_usleep((MyBackendType == B_BG_WORKER ? slow[i].worker : slow[i].client) * 1000L);
	return previous != NULL ? previous(query, text, options, parameters) : standard_planner(query, text, options, parameters);
}

void
_PG_init(void)
{
	previous = planner_hook;
	planner_hook = plan;
}
