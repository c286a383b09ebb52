#include "core/wal/ready_files.h"

#include "core/base/error.h"

#include <algorithm>
#include <utility>

namespace dbops::core {

namespace fs = std::filesystem;

bool is_archived_before(const WalFileName& left, const WalFileName& right) {
  const bool left_history = left.kind == WalFileKind::history;
  const bool right_history = right.kind == WalFileKind::history;
  return left_history != right_history ? left_history : left.name < right.name;
}

void FirstFiles::offer(const WalFileName& file) {
  if (heap_.size() == limit_) {
    if (limit_ == 0 || !is_archived_before(file, heap_.front())) return;
    std::ranges::pop_heap(heap_, is_archived_before);
    heap_.pop_back();
  }
  heap_.push_back(file);
  std::ranges::push_heap(heap_, is_archived_before);
}

std::vector<WalFileName> FirstFiles::take() {
  std::ranges::sort_heap(heap_, is_archived_before);
  return std::exchange(heap_, {});
}

std::size_t visit_ready_files(const fs::path& archive_status, const std::function<void(const WalFileName&)>& visit) {
  constexpr std::string_view suffix = ".ready";
  std::size_t count = 0;
  std::error_code error;
  for (fs::directory_iterator entry(archive_status, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.ends_with(suffix)) continue;
    const auto file = parse_wal_file_name(std::string_view(name).substr(0, name.size() - suffix.size()));
    if (!file) continue;
    ++count;
    visit(*file);
  }
  if (error) throw system_error(error.value(), "could not read directory \"" + archive_status.string() + "\"");
  return count;
}

ReadyFiles list_ready_files(const fs::path& archive_status, std::size_t limit) {
  FirstFiles first(limit);
  const std::size_t count = visit_ready_files(archive_status, [&](const WalFileName& file) { first.offer(file); });
  return {.first = first.take(), .count = count};
}

} // namespace dbops::core
