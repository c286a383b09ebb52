#include "core/wal/prefetcher.h"

#include "core/base/error.h"
#include "core/base/signal_mask.h"

#include <algorithm>

namespace dbops::core {

Prefetcher::Prefetcher(const Spool& spool, SegmentSize size, std::size_t ahead, std::size_t threads, Fetch fetch)
    : spool_(spool), size_(size), ahead_(ahead), fetch_(std::move(fetch)) {
  const BlockAllSignals inherited_by_the_threads;
  for (std::size_t i = 0; i < threads; ++i)
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

Prefetcher::~Prefetcher() {
  for (std::jthread& thread : threads_)
    thread.request_stop();
}

void Prefetcher::advance(const std::string& segment) {
  const auto id = parse_segment_name(segment, size_);
  if (!id) return;
  {
    const std::lock_guard lock(mutex_);
    position_ = *id;
    end_ = ahead_ + 1;
    ++round_;
    spool_.keep_only(wanted());
  }
  changed_.notify_all();
}

// Under the lock. The segment that replay has come to is the first: it may be about to be taken, or on its way here.
std::vector<std::string> Prefetcher::wanted() const {
  std::vector<std::string> names;
  for (std::size_t i = 0; position_ && i <= ahead_; ++i)
    names.push_back(segment_name({position_->timeline, position_->number + i}, size_));
  return names;
}

// Under the lock.
std::optional<std::string> Prefetcher::next_to_fetch() const {
  const std::vector<std::string> names = wanted();
  for (std::size_t i = 1; i < std::min(end_, names.size()); ++i)
    if (!under_way_.contains(names[i]) && !spool_.has(names[i])) return names[i];
  return {};
}

bool Prefetcher::idle() const {
  const std::lock_guard lock(mutex_);
  return under_way_.empty() && !next_to_fetch();
}

void Prefetcher::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const auto segment = next_to_fetch();
    if (!segment) {
      changed_.wait(lock, stop, [this, round = round_] { return round != round_; });
      continue;
    }
    const std::uint64_t round = round_;
    under_way_.insert(*segment);
    lock.unlock();
    const bool fetched = fetch_one(*segment, stop);
    lock.lock();
    under_way_.erase(*segment);
    const std::vector<std::string> names = wanted();
    const auto place = std::ranges::find(names, *segment);
    if (place == names.end())
      spool_.keep_only(names); // replay has passed it, or went elsewhere, while it was fetched
    else if (!fetched && round == round_)
      end_ = std::min(end_, std::size_t(place - names.begin()));
  }
}

bool Prefetcher::fetch_one(const std::string& segment, const std::stop_token& stop) {
  try {
    RestoreFile out(spool_.path_of(segment));
    if (!fetch_(*parse_wal_file_name(segment), out, {.stop = stop, .deadline = {}})) return false;
    out.commit();
    return true;
  } catch (const std::exception&) { // recovery asks for it itself, and says what is wrong
    return false;
  }
}

} // namespace dbops::core
