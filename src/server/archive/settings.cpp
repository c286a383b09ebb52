#include "server/archive/settings.h"

#include <algorithm>
#include <sys/stat.h>

#include "server/guc.h"
#include "server/pg.h"

extern "C" {
#include "access/xlog.h"
}

namespace dbops::server::archive {

namespace {

constexpr int usual_segment_size = 16 << 20; // bytes; dbops.upload_timeout is for this

FileStamp stamp_of(const std::string& path) {
  struct stat status {};
  if (path.empty() || ::stat(path.c_str(), &status) != 0) return {};
  return {.inode = status.st_ino,
          .size = static_cast<std::uint64_t>(status.st_size),
          .changed = status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec};
}

std::string text_of(const char* value) {
  return value == nullptr ? std::string() : std::string(value);
}

} // namespace

Settings current_settings() {
  Settings settings;
  settings.store = text_of(guc::store);
  settings.offsite_store = text_of(guc::offsite_store);
  settings.credentials_file = text_of(guc::credentials_file);
  settings.key_file = text_of(guc::key_file);
  settings.workers = guc::archive_workers;
  settings.compression_level = guc::compression_level;
  settings.upload_timeout =
      core::milliseconds(guc::upload_timeout) * std::max(1, wal_segment_size / usual_segment_size);
  return settings;
}

void stamp_files(Settings& settings) {
  settings.credentials_stamp = stamp_of(settings.credentials_file);
  settings.key_stamp = stamp_of(settings.key_file);
}

} // namespace dbops::server::archive
