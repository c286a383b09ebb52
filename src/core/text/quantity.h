// Numbers, sizes and times as people read them. Independent of the locale.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace dbops::core {

using Seconds = std::chrono::duration<double>;

// "12,345,678"
std::string grouped(std::int64_t number);

// Three digits and a power of a thousand, for where there is no room: "987", "12.3k", "4.56M". Negative ones are 0.
std::string abbreviated(double number);

// "12,345 rows/s"; below ten with a decimal, "2.5 rows/s".
std::string row_rate(double rows_per_second);

// PostgreSQL's units, powers of 1024: "987 B", "12.3 kB", "4.56 MB", up to EB. Negative ones are 0.
std::string byte_size(std::int64_t bytes);

// The two largest units that matter: "0.4 ms", "98 ms", "1.2 s", "45 s", "2m 16s", "3h 05m", "4d 07h". Negative times
// are 0; "?" for what is not a number, or not finite.
std::string duration_text(Seconds duration);

} // namespace dbops::core
