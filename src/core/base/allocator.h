// How the C library keeps the memory of a process that works with large buffers in several threads.
#pragma once

namespace dbops::core {

// From here on a buffer of 1 MB or more that is freed goes back to the system at once, and threads share two arenas.
// Left alone, glibc raises its threshold to the largest buffer that was ever freed (up to 32 MB) and keeps such buffers
// in an arena for each thread: a process that holds 30 MB at a time has 90 MB resident after a while.
void return_large_buffers() noexcept;

} // namespace dbops::core
