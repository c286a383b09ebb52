// Follows the records of a WAL segment from its start: how far it is WAL, and of one history.
#pragma once

#include "core/base/bytes.h"
#include "core/wal/segment.h"

#include <functional>

namespace dbops::core {

// One that is whole.
struct WalRecord {
  Lsn begin = 0;
  std::uint8_t manager = 0; // xl_rmid
  std::uint8_t info = 0;    // xl_info
  ByteView body;            // what follows its header
};

// Takes the bytes of a segment in order. Of each record that begins in it the checksum is compared, and that it points
// to the one before it, so what a recycled file had behind the end, or a record that is there in part, is no WAL.
class RecordWalk {
 public:
  // end: bytes from the start of the segment.
  explicit RecordWalk(std::uint64_t end) : end_(end) {}
  // The same from a page within a segment on: `end` counts from there.
  RecordWalk(std::uint64_t end, std::uint16_t magic, std::size_t page_size, Lsn start)
      : end_(end), page_size_(page_size), magic_(magic), start_(start) {}
  // Shows each record of this resource manager that begins in what is taken, when it is whole. The checksums of others
  // are not compared then: to look for a few records costs no more than to go from one to the next.
  using Show = std::function<void(const WalRecord&)>;
  void watch(std::uint8_t manager, Show show) {
    watched_ = manager;
    show_ = std::move(show);
  }
  void take(ByteView bytes);
  // A record ends exactly at `end`, and all up to there are whole.
  [[nodiscard]] bool reached() const noexcept { return state_ == State::reached; }

 private:
  enum class State { walking, reached, broken };
  void take_page();
  bool take_page_header();
  void walk_page();
  void begin_record(std::size_t place);
  void take_record(ByteView bytes);
  [[nodiscard]] bool is_record_whole() const;
  [[nodiscard]] bool is_watched() const;
  void arrive(std::size_t place);

  std::uint64_t end_;
  State state_ = State::walking;
  Bytes page_;                  // being gathered
  std::size_t page_size_ = 0;   // 0: the long header is not there yet
  std::uint64_t offset_ = 0;    // of the page
  std::size_t first_place_ = 0; // behind the page's header
  std::uint16_t magic_ = 0;
  Lsn start_ = 0;                 // of the segment
  std::uint64_t left_ = 0;        // bytes of the record that are on the next pages
  bool known_ = false;            // that record began in this segment
  Lsn record_ = 0, previous_ = 0; // begin of the record that is read, of the one before it; 0: not in this segment
  Bytes header_;                  // of the record
  std::uint32_t crc_ = 0;         // of what follows its header
  Show show_;
  std::uint8_t watched_ = 0;
  Bytes body_; // of a record that is watched
};

} // namespace dbops::core
