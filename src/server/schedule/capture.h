// What a command says: its rows, command tags and notices, kept as text up to a size. Called back by PostgreSQL: plain
// data, palloc'ed memory, no C++ exception.
#pragma once

#include "server/pg.h"

extern "C" {
#include "lib/stringinfo.h"
#include "tcop/dest.h"
}

namespace dbops::server::schedule {

struct Capture {
  MemoryContext memory;
  StringInfoData output;  // rows: columns separated by tabs, below a line with their names; and tags
  StringInfoData notices; // "NOTICE: ...", a line each
  int limit;              // bytes of each of the two
  std::int64_t rows;      // returned or changed
};

// Needs `memory`, where everything is allocated. May raise.
void begin_capture(Capture& capture, MemoryContext memory, int limit);

// Appends what fits; the first text that does not is cut, and says so.
void append_captured(StringInfo text, const char* added, int limit);

DestReceiver* make_row_receiver(Capture& capture);

// Between these two, messages for a client go into the capture. The second never raises.
void redirect_messages(Capture& capture);
void restore_messages() noexcept;

} // namespace dbops::server::schedule
