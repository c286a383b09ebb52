// The archiver's latch is PostgreSQL's as well as ours: what one takes the other has to get back.
#pragma once

namespace dbops::server::archive {

// Whether ThreadEvent::wait() has reset the process's latch since the last call: a wake-up that may have been meant for
// PostgreSQL's own loop. Set without need, the latch would take away the pause after a failure (pgarch.c).
bool take_wake_up() noexcept;

} // namespace dbops::server::archive
