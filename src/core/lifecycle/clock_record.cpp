#include "core/lifecycle/clock_record.h"

#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <fcntl.h>
#include <unistd.h>

namespace dbops::core {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t max_file = 4096; // bytes
constexpr const char* heading = "# dbops: the clock of the machine as it was last seen; see docs/lifecycle.md.\n";

} // namespace

ClockRecord observe(const std::optional<ClockRecord>& before, const ClockRecord& now) {
  ClockRecord record = now;
  record.ahead = before ? before->ahead : 0;
  record.unsure = 0;
  if (!before || before->boot.empty() || now.boot.empty()) return record;
  if (before->boot != now.boot) {
    const double absence = (now.clock - now.uptime) - before->clock;
    (std::abs(absence) > longest_absence ? record.ahead : record.unsure) += absence;
    return record;
  }
  const double step = (now.clock - before->clock) - (now.uptime - before->uptime);
  const bool corrects = std::signbit(step) != std::signbit(before->unsure);
  const double correction = corrects ? std::copysign(std::min(std::abs(step), std::abs(before->unsure)), step) : 0;
  record.ahead += step - correction;
  record.unsure = before->unsure + correction;
  return record;
}

std::optional<ClockRecord> read_clock_record(const fs::path& data_directory) {
  const auto file = File::open_if_exists(data_directory / "dbops.clock", O_RDONLY);
  if (!file) return std::nullopt;
  Bytes bytes(max_file);
  bytes.resize(file->read_at(0, bytes));
  std::istringstream text{std::string(as_text(bytes))};
  text.imbue(std::locale::classic());
  ClockRecord record;
  std::string line;
  std::getline(text, line);
  text >> record.boot >> record.clock >> record.uptime >> record.ahead;
  if (!text) return std::nullopt;
  if (!(text >> record.unsure)) record.unsure = 0; // as it was written before there was one
  if (record.boot == "-") record.boot.clear();
  return record;
}

void write_clock_record(const fs::path& data_directory, const ClockRecord& record) {
  const fs::path path = data_directory / "dbops.clock";
  const fs::path temporary = data_directory / "dbops.clock.tmp";
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text << heading << std::fixed << (record.boot.empty() ? "-" : record.boot) << ' ' << record.clock << ' '
       << record.uptime << ' ' << record.ahead << ' ' << record.unsure << '\n';
  ::unlink(temporary.c_str());
  File file = File::open(temporary, O_WRONLY | O_CREAT | O_EXCL);
  file.write(as_bytes(text.str()));
  file.sync();
  file.close();
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    throw system_error(errno, "could not rename file \"" + temporary.string() + "\"");
  sync_directory(data_directory);
}

} // namespace dbops::core
