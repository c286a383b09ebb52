/*
 * For failing_start.pl: background workers of role "lim" end at their first statement while a file named "failing_start" is in
 * the data directory.
 */
#include "postgres.h"

#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "optimizer/planner.h"

PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);

static planner_hook_type previous = NULL;

static PlannedStmt *
plan(Query *query, const char *text, int options, ParamListInfo parameters)
{
	static bool looked = false;

	if (!looked && MyBackendType == B_BG_WORKER && OidIsValid(GetSessionUserId()))
	{
		const char *name = GetUserNameFromId(GetSessionUserId(), true);

		looked = true;
		if (name != NULL && strcmp(name, "lim") == 0 && access("failing_start", F_OK) == 0)
			ereport(FATAL, (errmsg("worker of role \"lim\" ends before it can begin")));
	}
	return previous != NULL ? previous(query, text, options, parameters) : standard_planner(query, text, options, parameters);
}

void
_PG_init(void)
{
	previous = planner_hook;
	planner_hook = plan;
}
