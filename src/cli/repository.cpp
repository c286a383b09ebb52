#include "cli/repository.h"

#include "core/base/error.h"
#include "core/wal/catalogue.h"
#include "core/wal/repository.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <unistd.h>

#include <array>

namespace dbops::cli {

namespace {

std::uint64_t only_cluster(core::ObjectStore& store) {
  const std::vector<std::uint64_t> clusters = core::list_clusters(store, {});
  if (clusters.size() == 1) return clusters.front();
  if (clusters.empty())
    throw core::Error(core::ErrorKind::not_found, store.describe() + " holds no repository",
                      "Check the URL, and that its file system is mounted.");
  throw core::Error(core::ErrorKind::configuration,
                    fmt::format("{} holds repositories of {} clusters", store.describe(), clusters.size()),
                    fmt::format("Give --system-identifier, e.g. {}.", clusters.back()));
}

std::string origin() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return fmt::format("dbops at {}", name.data());
}

} // namespace

Repository::Repository(const StoreSettings& settings, std::optional<std::uint64_t> identifier, int compression_level)
    : stores_(settings, {}) {
  if (!identifier) identifier = settings.system_identifier;
  if (!identifier) identifier = only_cluster(store());
  if (!core::read_repository(store(), *identifier, {}))
    throw core::Error(core::ErrorKind::not_found,
                      fmt::format("{} holds no repository of system identifier {}", store().describe(), *identifier),
                      "Archiving of WAL makes it: see archive_library and dbops.store.");
  repository_.emplace(core::BackupRepository{.store = store(),
                                             .clock = stores_.clock(),
                                             .random = stores_.random(),
                                             .system_identifier = *identifier,
                                             .keys = stores_.keys(),
                                             .origin = origin(),
                                             .compression_level = compression_level});
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> units{"B", "kB", "MB", "GB", "TB"};
  auto value = double(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < units.size(); ++unit)
    value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units.at(unit));
}

std::string time_text(core::WallTime time) {
  const auto seconds = std::chrono::time_point_cast<std::chrono::seconds>(time);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(std::chrono::system_clock::to_time_t(seconds)));
}

} // namespace dbops::cli
