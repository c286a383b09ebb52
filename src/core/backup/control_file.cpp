#include "core/backup/control_file.h"

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <cstring>
#include <optional>

namespace dbops::core {

namespace {

constexpr std::size_t file_size = 8192;    // PG_CONTROL_FILE_SIZE
constexpr std::size_t data_limit = 512;    // PG_CONTROL_MAX_SAFE_SIZE
constexpr std::size_t smallest_data = 200; // of all majors; below it the checksum is not looked for
// ControlFileData of catalog/pg_control.h: these fields have been at the same offsets since PostgreSQL 11.
constexpr std::size_t state_at = 16, checkpoint_at = 32, redo_at = 40, timeline_at = 48;
constexpr int attempts = 20;
constexpr auto pause = milliseconds(50);

std::uint32_t native32(ByteView bytes, std::size_t offset) noexcept {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Where its checksum is; absent: it has none that is right.
std::optional<std::size_t> checksum_at(ByteView control_file) noexcept {
  if (control_file.size() != file_size) return {};
  for (std::size_t offset = smallest_data; offset < data_limit; offset += 4)
    if (native32(control_file, offset) == crc32c(control_file.first(offset))) return offset;
  return {};
}

} // namespace

bool is_whole_control_file(ByteView control_file) noexcept {
  return checksum_at(control_file).has_value();
}

Bytes without_checkpoint(ByteView control_file) {
  const auto at = checksum_at(control_file);
  if (!at) throw Error(ErrorKind::corrupt, "the checksum of pg_control is wrong");
  Bytes bytes(control_file.begin(), control_file.end());
  constexpr Lsn nowhere = 0xdead00000028; // a place where a record may be (XRecOffIsValid), in WAL that no server has
  std::memcpy(bytes.data() + checkpoint_at, &nowhere, sizeof nowhere);
  const std::uint32_t checksum = crc32c(ByteView(bytes).first(*at));
  std::memcpy(bytes.data() + *at, &checksum, sizeof checksum);
  return bytes;
}

Bytes read_control_file(const std::filesystem::path& data_directory) {
  const std::filesystem::path path = data_directory / "global" / "pg_control";
  for (int attempt = 0; attempt < attempts; ++attempt) {
    Bytes bytes = read_file(path, 1 << 16);
    if (is_whole_control_file(bytes)) return bytes;
    SystemClock().sleep_for(pause, {});
  }
  throw Error(ErrorKind::corrupt, "the checksum of \"" + path.string() + "\" is wrong");
}

std::uint32_t catalog_version(ByteView control_file) {
  if (control_file.size() < 16) throw Error(ErrorKind::corrupt, "pg_control is too short");
  return native32(control_file, 12);
}

ControlState control_state(ByteView control_file) {
  constexpr std::uint32_t in_production = 6; // DB_IN_PRODUCTION
  if (control_file.size() < file_size) throw Error(ErrorKind::corrupt, "pg_control is too short");
  ControlState state;
  state.in_production = native32(control_file, state_at) == in_production;
  std::memcpy(&state.checkpoint, control_file.data() + checkpoint_at, sizeof state.checkpoint);
  std::memcpy(&state.redo, control_file.data() + redo_at, sizeof state.redo);
  state.timeline = native32(control_file, timeline_at);
  return state;
}

} // namespace dbops::core
