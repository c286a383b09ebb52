#pragma once

namespace dbops::server::archive {

void register_streamer(); // in _PG_init of a preloaded library

} // namespace dbops::server::archive
