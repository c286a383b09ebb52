// The archiver process's uploads: what archive_module.cpp answers PostgreSQL with.
#pragma once

#include <array>
#include <map>
#include <memory>

#include "core/wal/archive_pipeline.h"
#include "core/wal/offsite_backlog.h"
#include "core/wal/own_history.h"
#include "core/wal/ready_files.h"
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

  // Ends the threads, within a second or so.
  void stop();

 private:
  struct Upload {
    std::string url;
    std::optional<RepositoryAccess> access;
    std::unique_ptr<core::ArchivePipeline> pipeline;
    std::string open_error, open_hint;
    core::ErrorKind open_error_kind = core::ErrorKind::configuration;
    RateLimit warnings;
    core::PipelineCounters published;
    std::uint64_t published_retries = 0;
  };

  void reload();
  void locate();
  [[nodiscard]] core::OwnPosition position_at(core::TimelineId timeline, core::Lsn written);
  [[nodiscard]] core::SegmentStanding standing(const core::WalFileName& file) const;
  bool wait_until_written(const core::WalFileName& file);
  void enter(int repository, const std::string& url);
  void open(Upload& upload);
  void close(Upload& upload);
  void complain_of_closed();
  void read_window(const core::WalFileName& asked);
  void look_ahead(const core::WalFileName& asked);
  void offer(Upload& upload, const core::WalFileName& file);
  // Whether the file may be acknowledged. Absent: not decided yet.
  std::optional<bool> verdict(const core::WalFileName& file, core::milliseconds waited);
  core::UploadState state_in(Upload& upload, const core::WalFileName& file);
  bool may_leave_offsite_behind(const core::WalFileName& file);
  void complain(int repository, const core::UploadOutcome& outcome);
  void publish();
  void publish_positions(const core::WalFileName& asked);
  void acknowledged(const core::WalFileName& file);
  // Absent: not to be stored yet.
  [[nodiscard]] std::optional<core::Fencing> fencing_of(const core::WalFileName& file) const;
  [[nodiscard]] bool must_give_up();
  [[nodiscard]] bool shutdown_time_is_over();

  Cluster cluster_;
  ThreadEvent event_;
  Settings settings_;
  std::array<Upload, repositories> uploads_;
  std::vector<core::WalFileName> window_; // ready files behind the one that was asked for last
  std::size_t ready_count_ = 0;
  core::SteadyTime scanned_{}, control_read_{};
  std::optional<core::SteadyTime> shut_down_since_;
  bool in_recovery_ = false;
  core::TimelineId seen_timeline_ = 0;       // the last one as a primary
  core::TimelineId timeline_ = 0;            // 0 in recovery
  std::vector<core::OwnPosition> positions_; // on a standby also what is received and not replayed
  std::map<core::TimelineId, std::vector<core::TimelineSwitch>> histories_;
  RateLimit history_warnings_;
  core::OffsiteBacklogFile backlog_file_;
};

} // namespace dbops::server::archive
