// dbops.is_purging(): the question that a batch of dbops.purge() asks of each row. Rows come in the order of their
// deletions, many of one after another, so that the answer is read for a thousand deletions at a time.

#include <algorithm>
#include <limits>
#include <memory>

#include "server/engine/bookkeeping.h"

namespace dbops::server::soft_delete {

namespace {

constexpr std::int64_t deletions_at_once = 1'000;

// The deletions between `first` and `last` that are being purged. Kept by a call of the function in a statement, while
// that runs: a deletion that is being purged never is anything else again than purged.
struct Window {
  std::int64_t first = 1;
  std::int64_t last = 0; // nothing is known yet
  std::vector<std::int64_t> purging;
  MemoryContextCallback at_end{};
};

Window& window_of(FunctionCallInfo fcinfo) {
  if (fcinfo->flinfo->fn_extra == nullptr) {
    auto window = std::make_unique<Window>();
    window->at_end.func = [](void* argument) { delete static_cast<Window*>(argument); };
    window->at_end.arg = window.get();
    MemoryContextRegisterResetCallback(fcinfo->flinfo->fn_mcxt, &window->at_end);
    fcinfo->flinfo->fn_extra = window.release();
  }
  return *static_cast<Window*>(fcinfo->flinfo->fn_extra);
}

void read_from(Window& window, std::int64_t deletion) {
  SpiConnection spi;
  const Rows found =
      bookkeep("SELECT deletion_id FROM dbops.soft_deletion WHERE state = 'purging' AND deletion_id >= $1::bigint"
               " ORDER BY deletion_id LIMIT $2::bigint",
               {to_text(deletion), to_text(deletions_at_once)});
  window.last = 0; // of what was known nothing is, should memory be short
  window.first = 1;
  window.purging.clear();
  window.purging.reserve(found.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    window.purging.push_back(found.integer(i, 0));
  window.first = deletion;
  window.last = static_cast<std::int64_t>(found.size()) < deletions_at_once ? std::numeric_limits<std::int64_t>::max()
                                                                            : window.purging.back();
  spi.close();
}

bool is_purging(FunctionCallInfo fcinfo) {
  const std::int64_t deletion = PG_GETARG_INT64(0);
  Window& window = window_of(fcinfo);
  if (deletion < window.first || deletion > window.last) read_from(window, deletion);
  return std::binary_search(window.purging.begin(), window.purging.end(), deletion);
}

} // namespace

} // namespace dbops::server::soft_delete

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_is_purging) {
  return boundary([fcinfo] { return BoolGetDatum(soft_delete::is_purging(fcinfo)); });
}
