// Puts the WAL files of one cluster into one repository, several at a time.
#pragma once

#include "core/base/error.h"
#include "core/base/thread_pool.h"
#include "core/crypto/key_file.h"
#include "core/wal/fence.h"
#include "core/wal/wal_writer.h"

#include <memory>

namespace dbops::core {

struct PipelineSetup {
  std::shared_ptr<ObjectStore> store;
  std::shared_ptr<TimelineFence> fence;
  std::shared_ptr<const KeyRing> keys; // null: not encrypted
  Clock& clock;                        // these two must outlive the process: a thread may be left behind
  Random& random;
  WalWriterOptions writer;         // its keys are set by the pipeline
  std::filesystem::path directory; // pg_wal
  std::size_t workers = 4;         // threads
  // Bytes of objects that may be in memory at once; one file always may. An object's size is only known when it is
  // made: the largest of the last ones stands for it, and the segment's own size before there is one.
  std::uint64_t memory = 32 << 20;
  std::uint64_t largest_file = 16 << 20;            // wal_segment_size
  milliseconds file_timeout = milliseconds(120000); // for one file, retries included
  std::function<void()> wake = {};                  // called by a thread after each file that ended
};

// How a file may be written.
enum class Fencing {
  owner,   // its timeline must be this instance's
  content, // by whoever holds the same bytes: an ancestor's WAL, a history file, a standby's copy
  remnant, // so, too; a segment that never gets whole: kept, but not under the name of the segment
};

enum class UploadState { unknown, waiting, stored, failed };

struct UploadOutcome {
  UploadState state = UploadState::unknown;
  // Of a failure:
  ErrorKind kind = ErrorKind::unavailable;
  std::string message = {}, hint = {};
  bool gone = false; // the file in pg_wal
};

struct PipelineCounters {
  std::uint64_t files = 0, bytes = 0, object_bytes = 0, failures = 0;
};

// What is stored or failed is remembered until it is taken; memory is bounded by what the caller offers.
class ArchivePipeline {
 public:
  explicit ArchivePipeline(PipelineSetup setup);
  ~ArchivePipeline();
  ArchivePipeline(const ArchivePipeline&) = delete;
  ArchivePipeline& operator=(const ArchivePipeline&) = delete;

  // Has the file uploaded, in the order of is_archived_before(). Nothing happens when it is known already.
  void offer(const WalFileName& file, Fencing fencing);
  [[nodiscard]] UploadOutcome look(const std::string& name) const;
  // The outcome; a file that is stored or has failed is unknown again afterwards.
  UploadOutcome take(const std::string& name);
  // What has failed may be offered again.
  void forget_failed();
  // Forgets what is stored or failed and not among `names`.
  void retain(const std::vector<std::string>& names);

  // The last file that ended has failed. What waited then is unknown again.
  [[nodiscard]] bool failing() const;
  // An upload has had its time, and some more, and does not even stop: a file system does not answer.
  [[nodiscard]] bool hangs() const;
  [[nodiscard]] PipelineCounters counters() const;
  // Since the last call: what has failed, for the log.
  std::vector<UploadOutcome> take_failures();

  // Asks the uploads under way to stop; returns at once.
  void request_stop();
  // After request_stop(): none runs any more.
  [[nodiscard]] bool ended() const;
  // Stops the uploads under way and waits for them until the deadline. False: a thread is left behind.
  bool shutdown(SteadyTime deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
  ThreadPool pool_;
};

} // namespace dbops::core
