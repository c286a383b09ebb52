// The archiver process's uploads: what archive_module.cpp answers PostgreSQL with.
#pragma once

#include <array>
#include <map>
#include <memory>

#include "core/wal/archive_pipeline.h"
#include "core/wal/offsite_backlog.h"
#include "core/wal/own_history.h"
#include "core/wal/ready_files.h"
#include "core/wal/stored_files.h"
#include "server/archive/opening.h"
#include "server/archive/shared.h"
#include "server/archive/threads.h"

namespace dbops::server::archive {

class Archiver {
 public:
  Archiver();
  Archiver(const Archiver&) = delete;
  Archiver& operator=(const Archiver&) = delete;

  // True: the file is durable in the store. Waits for it, while other ready files are uploaded as well. Throws SqlError
  // for what PostgreSQL raised meanwhile.
  bool archive(const std::string& name);

  // Ends the threads, within two seconds. Handles no interrupts.
  void stop();

 private:
  // One repository. Each goes ahead by itself: an outage of one does not hold the other back.
  struct Upload {
    explicit Upload(core::SegmentSize size) : stored(size) {}

    std::string url;
    Opening opening;
    std::optional<RepositoryAccess> access;
    std::unique_ptr<core::ArchivePipeline> pipeline;
    std::vector<core::WalFileName> window; // the first ready files that it lacks, behind the one that is asked for
    std::size_t lacking = 0;               // how many those are in all
    core::StoredFiles stored;              // and not acknowledged yet
    core::SteadyTime revived{};
    bool hangs = false;
    RateLimit warnings;
    core::PipelineCounters published;
    std::uint64_t published_retries = 0;
  };

  bool reload(const core::WalFileName& next);
  void remember_offsite(const core::WalFileName& next);
  void locate();
  bool look_for_forgotten(const core::WalFileName& asked);
  [[nodiscard]] core::OwnPosition position_at(core::TimelineId timeline, core::Lsn written);
  [[nodiscard]] core::SegmentStanding standing(const core::WalFileName& file) const;
  bool wait_until_written(const core::WalFileName& file);
  void enter(int repository, const std::string& url);
  void collect_opened();
  void start_pipeline(Upload& upload);
  void request_stop();
  [[nodiscard]] bool ended() const;
  void close(core::SteadyTime deadline);
  [[nodiscard]] bool wants_more(const Upload& upload) const;
  void read_windows(const core::WalFileName& asked);
  void scan(const core::WalFileName& asked);
  void look_ahead(const core::WalFileName& asked);
  void revive(Upload& upload, const core::WalFileName& asked);
  void harvest(Upload& upload, const core::WalFileName& asked);
  void offer(Upload& upload, const core::WalFileName& file);
  // Whether the file may be acknowledged. Absent: not decided yet.
  std::optional<bool> verdict(const core::WalFileName& file, core::milliseconds waited);
  core::UploadState state_in(Upload& upload, const core::WalFileName& file);
  bool may_leave_offsite_behind(const core::WalFileName& file);
  [[nodiscard]] bool offsite_goes_ahead(core::milliseconds waited) const;
  void complain(int repository, const core::UploadOutcome& outcome);
  void publish();
  void publish_ahead();
  [[nodiscard]] bool lacks_history(const Upload& upload);
  [[nodiscard]] std::optional<core::SegmentId> first_waiting(const core::WalFileName& asked) const;
  [[nodiscard]] core::SegmentNumber end_of_stored(const Upload& upload, const core::SegmentId& first) const;
  void publish_positions(const core::WalFileName& asked);
  void acknowledged(const core::WalFileName& file);
  // Absent: not to be stored yet.
  [[nodiscard]] std::optional<core::Fencing> fencing_of(const core::WalFileName& file) const;
  [[nodiscard]] bool must_give_up();
  [[nodiscard]] bool shutdown_time_is_over();

  Cluster cluster_;
  ThreadEvent event_;
  SettingsWatch watch_;
  Settings settings_;
  std::array<Upload, repositories> uploads_;
  std::optional<core::WalFileName> oldest_segment_; // of the whole ones that are ready
  bool must_scan_ = true;                           // before a position is published: it may not be the one asked for
  core::SegmentNumber asked_segment_ = 0;           // of this timeline, the last one
  core::SteadyTime scanned_{}, control_read_{};
  core::milliseconds scan_pause_{0};
  std::optional<core::SteadyTime> shut_down_since_;
  bool in_recovery_ = false;
  core::TimelineId seen_timeline_ = 0;       // the last one as a primary
  core::TimelineId archived_history_ = 0;    // of this timeline
  core::SegmentNumber looked_up_to_ = 0;     // finished segments before it were looked at, on seen_timeline_
  core::TimelineId timeline_ = 0;            // 0 in recovery
  std::vector<core::OwnPosition> positions_; // on a standby also what is received and not replayed
  std::map<core::TimelineId, std::vector<core::TimelineSwitch>> histories_;
  RateLimit history_warnings_, forgotten_warnings_;
  core::OffsiteBacklogFile backlog_file_;
  bool remembered_ = false; // the file says which offsite store there is, or that there is none
  RateLimit backlog_warnings_;
};

} // namespace dbops::server::archive
