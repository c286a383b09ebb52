// The one door to PostgreSQL's headers.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

extern "C" {
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
}

// port.h makes macros of these; C++ headers that come later mean the standard ones.
#undef snprintf
#undef vsnprintf
#undef sprintf
#undef vsprintf
#undef fprintf
#undef vfprintf
#undef printf
#undef vprintf
#undef strerror
#undef strerror_r

// Declares a function that SQL calls: exported, with C linkage. Its body is one boundary() (guard.h).
#define DBOPS_SQL_FUNCTION(name)                                                                                       \
  extern "C" {                                                                                                         \
  extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                                                     \
  PG_FUNCTION_INFO_V1(name);                                                                                           \
  }                                                                                                                    \
  Datum name(PG_FUNCTION_ARGS)
