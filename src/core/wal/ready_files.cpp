#include "core/wal/ready_files.h"

#include "core/base/error.h"

#include <algorithm>

namespace dbops::core {

namespace fs = std::filesystem;

bool is_archived_before(const WalFileName& left, const WalFileName& right) {
  const bool left_history = left.kind == WalFileKind::history;
  const bool right_history = right.kind == WalFileKind::history;
  return left_history != right_history ? left_history : left.name < right.name;
}

ReadyFiles list_ready_files(const fs::path& archive_status, std::size_t limit) {
  constexpr std::string_view suffix = ".ready";
  ReadyFiles ready;
  std::vector<WalFileName>& heap = ready.first; // the file that is asked for last is on top
  std::error_code error;
  for (fs::directory_iterator entry(archive_status, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.ends_with(suffix)) continue;
    auto file = parse_wal_file_name(std::string_view(name).substr(0, name.size() - suffix.size()));
    if (!file) continue;
    ++ready.count;
    if (heap.size() == limit && (limit == 0 || !is_archived_before(*file, heap.front()))) continue;
    if (heap.size() == limit) {
      std::ranges::pop_heap(heap, is_archived_before);
      heap.pop_back();
    }
    heap.push_back(std::move(*file));
    std::ranges::push_heap(heap, is_archived_before);
  }
  if (error) throw system_error(error.value(), "could not read directory \"" + archive_status.string() + "\"");
  std::ranges::sort_heap(heap, is_archived_before);
  return ready;
}

} // namespace dbops::core
