#include "core/wal/record_walk.h"

#include "core/base/crc32c.h"
#include "core/wal/page_header.h"

#include <algorithm>
#include <cstring>

namespace dbops::core {

namespace {

// access/xlog_internal.h and access/xlogrecord.h
constexpr std::uint16_t begins_with_rest = 0x0001;         // XLP_FIRST_IS_CONTRECORD
constexpr std::uint16_t has_long_header = 0x0002;          // XLP_LONG_HEADER
constexpr std::uint16_t overwrites_rest = 0x0008;          // XLP_FIRST_IS_OVERWRITE_CONTRECORD
constexpr std::size_t short_header_size = 24;              // SizeOfXLogShortPHD
constexpr std::size_t long_header_size = 40;               // SizeOfXLogLongPHD
constexpr std::size_t record_header_size = 24;             // SizeOfXLogRecord
constexpr std::size_t info_place = 16, manager_place = 17; // offsetof(XLogRecord, xl_info), xl_rmid
constexpr std::size_t checksum_place = 20;                 // offsetof(XLogRecord, xl_crc)
constexpr std::uint64_t record_alignment = 8;              // MAXALIGN

template <class Value>
Value native(ByteView bytes, std::size_t offset) {
  Value value{};
  std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
  return value;
}

std::size_t aligned(std::size_t length) {
  return (length + record_alignment - 1) / record_alignment * record_alignment;
}

} // namespace

void RecordWalk::take(ByteView bytes) {
  while (state_ == State::walking && !bytes.empty()) {
    const std::size_t wanted = (page_size_ == 0 ? long_header_size : page_size_) - page_.size();
    const ByteView piece = bytes.first(std::min(wanted, bytes.size()));
    append(page_, piece);
    bytes = bytes.subspan(piece.size());
    if (piece.size() < wanted) return;
    if (page_size_ == 0) {
      const auto page_size = wal_page_size(page_);
      if (!page_size) {
        state_ = State::broken;
        return;
      }
      page_size_ = *page_size;
      magic_ = native<std::uint16_t>(page_, 0);
      start_ = native<Lsn>(page_, 8);
      continue;
    }
    take_page();
    page_.clear();
    offset_ += page_size_;
  }
}

void RecordWalk::take_page() {
  if (!take_page_header()) {
    state_ = State::broken;
    return;
  }
  walk_page();
}

// False: the page is not the one that follows.
bool RecordWalk::take_page_header() {
  const auto info = native<std::uint16_t>(page_, 2);
  if (native<std::uint16_t>(page_, 0) != magic_ || native<Lsn>(page_, 8) != start_ + offset_) return false;
  first_place_ = (info & has_long_header) != 0 ? long_header_size : short_header_size;
  const std::uint64_t rest = (info & begins_with_rest) != 0 ? native<std::uint32_t>(page_, 16) : 0;
  if ((info & overwrites_rest) != 0) { // a server that crashed gave the record up
    left_ = previous_ = 0;
    return rest == 0;
  }
  if (offset_ == 0) left_ = rest; // of a record of the segment before
  return rest == left_;
}

void RecordWalk::walk_page() {
  std::size_t place = first_place_;
  if (left_ > 0) {
    const auto here = std::size_t(std::min<std::uint64_t>(left_, page_size_ - place));
    if (known_) take_record(ByteView(page_).subspan(place, here));
    left_ -= here;
    place = aligned(place + here);
    if (left_ > 0) {
      if (offset_ + page_size_ >= end_) state_ = State::broken; // the end is within the record
      return;
    }
    arrive(place);
  } else if (offset_ + place >= end_) {
    state_ = State::broken; // within a page header
  }
  while (state_ == State::walking && place < page_size_) {
    begin_record(place);
    if (state_ != State::walking) return;
    const auto length = native<std::uint32_t>(page_, place);
    const auto here = std::size_t(std::min<std::uint64_t>(length, page_size_ - place));
    take_record(ByteView(page_).subspan(place, here));
    left_ = length - here;
    place = aligned(place + here);
    if (left_ == 0)
      arrive(place);
    else if (offset_ + page_size_ >= end_)
      state_ = State::broken;
  }
}

void RecordWalk::begin_record(std::size_t place) {
  if (native<std::uint32_t>(page_, place) < record_header_size) { // always on one page: records are aligned
    state_ = State::broken;
    return;
  }
  record_ = start_ + offset_ + place;
  known_ = true;
  header_.clear();
  body_.clear();
  crc_ = 0;
}

bool RecordWalk::is_watched() const {
  return show_ && header_.size() == record_header_size &&
         std::to_integer<std::uint8_t>(header_[manager_place]) == watched_;
}

void RecordWalk::take_record(ByteView bytes) {
  const ByteView head = bytes.first(std::min(bytes.size(), record_header_size - header_.size()));
  append(header_, head);
  bytes = bytes.subspan(head.size());
  if (!show_ || is_watched()) crc_ = crc32c(bytes, crc_);
  if (is_watched()) append(body_, bytes);
}

bool RecordWalk::is_record_whole() const {
  if (!known_) return true; // begun in the segment before: its checksum is there
  if (header_.size() < record_header_size) return false;
  const auto before = native<Lsn>(header_, 8);
  if (previous_ != 0 ? before != previous_ : before >= record_) return false;
  if (show_ && !is_watched()) return true;
  return crc32c(ByteView(header_).first(checksum_place), crc_) == native<std::uint32_t>(header_, checksum_place);
}

// A record has ended.
void RecordWalk::arrive(std::size_t place) {
  if (!is_record_whole() || offset_ + place > end_)
    state_ = State::broken;
  else if (offset_ + place == end_)
    state_ = State::reached;
  if (known_) previous_ = record_;
  if (known_ && state_ != State::broken && is_watched())
    show_({.begin = record_,
           .manager = watched_,
           .info = std::to_integer<std::uint8_t>(header_[info_place]),
           .body = body_});
}

} // namespace dbops::core
