// What a store holds, as rows: backups, recovery windows, drills.

#include <algorithm>

#include "core/backup/recovery_window.h"
#include "core/text/json_text.h"
#include "server/archive/session_task.h"
#include "server/backup/repository.h"
#include "server/backup/spec.h"
#include "server/guc.h"

extern "C" {
#include "funcapi.h"
#include "utils/jsonb.h"
#include "utils/pg_lsn.h"
}

using namespace dbops::server;
using namespace dbops::server::backup;
namespace core = dbops::core;

namespace {

constexpr unsigned readers = 32; // requests at a time: small objects, so that the time is that of the way

struct Catalogue : core::BackupCatalogue {
  std::vector<core::RecoveryWindow> windows;
  std::optional<archive::ThreadFailure> failure;
};

enum class Wanted { backups, windows, drills };

// Of one store; kept as long as the process. A thread may be left behind that uses it.
std::shared_ptr<core::CatalogueCache> cache_of(const std::string& store) {
  static auto& caches = *new std::map<std::string, std::shared_ptr<core::CatalogueCache>>();
  auto& cache = caches[store];
  if (!cache) cache = std::make_shared<core::CatalogueCache>();
  return cache;
}

Catalogue read(Wanted wanted) {
  const archive::Settings settings = archive::current_settings();
  if (settings.store.empty()) return {};
  const archive::Cluster cluster = archive::this_cluster();
  Catalogue found = archive::in_thread<Catalogue>(
      [settings, cluster, wanted, cache = cache_of(settings.store)](const std::stop_token& stop) {
        Catalogue catalogue;
        try {
          const core::CallContext context{.stop = stop,
                                          .deadline = archive::thread_clock().steady_now() + settings.upload_timeout};
          const RepositoryHandle handle = open_backup_repository(settings, cluster);
          const core::BackupRepository& repository = handle.repository;
          switch (wanted) {
          case Wanted::backups:
            static_cast<core::BackupCatalogue&>(catalogue) = cache->all(repository, readers, context);
            break;
          case Wanted::windows:
            catalogue.backups = cache->backups(repository, readers, context);
            catalogue.windows = core::read_recovery_windows(repository, catalogue.backups,
                                                            core::SegmentSize(cluster.segment_size), context);
            break;
          case Wanted::drills:
            catalogue.drills = cache->drills(repository, readers, context);
            break;
          }
        } catch (...) {
          catalogue.failure = archive::describe_thread_failure();
        }
        return catalogue;
      });
  if (found.failure) throw SqlError(sqlstate_of(*found.failure), found.failure->message, found.failure->hint);
  return found;
}

// One row, column by column in the order of the declaration in src/schema/backup.sql.
class RowBuilder {
 public:
  void null() { add(0, true); }
  void text(const std::string& value) {
    if (value.empty()) return null();
    const std::string ours = from_utf8(value);
    add(call_pg([&ours] { return CStringGetTextDatum(ours.c_str()); }), false);
  }
  void json(const nlohmann::ordered_json& value) {
    const std::string ours = value.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
    add(call_pg([&ours] { return DirectFunctionCall1(jsonb_in, CStringGetDatum(ours.c_str())); }), false);
  }
  void lsn(core::Lsn value) { value == 0 ? null() : add(LSNGetDatum(value), false); }
  template <typename Number>
  void number(Number value) {
    add(Int64GetDatum(static_cast<std::int64_t>(value)), false);
  }
  void real(double value) { add(Float8GetDatum(value), false); }
  void boolean(bool value) { add(BoolGetDatum(value), false); }
  void time(const std::optional<core::WallTime>& value) {
    if (!value || *value == core::WallTime()) return null();
    constexpr std::int64_t epoch = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
    add(TimestampTzGetDatum(value->time_since_epoch().count() - epoch), false);
  }
  void store(FunctionCallInfo fcinfo) {
    call_pg([&] {
      auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
      tuplestore_putvalues(result->setResult, result->setDesc, values_.data(), nulls_.data());
    });
  }

 private:
  void add(Datum value, bool is_null) {
    values_.at(used_) = value;
    nulls_.at(used_++) = is_null;
  }
  std::array<Datum, 32> values_{};
  std::array<bool, 32> nulls_{};
  std::size_t used_ = 0;
};

const char* state_of(const core::CatalogueEntry& entry, const core::Proofs& proofs) {
  if (entry.key_problem) return "no key";
  if (!entry.problem.empty()) return "unreadable";
  if (!entry.head) return "unfinished";
  if (proofs.damaged.contains(entry.label)) return "damaged";
  return entry.head->damaged_blocks > 0 ? "corrupt pages" : "ok";
}

void put_figures(RowBuilder& row, const core::BackupHead& head) {
  row.text(head.user_label);
  row.json(head.annotations);
  row.text(head.base);
  row.time(head.started);
  row.time(head.finished);
  row.number(head.timeline);
  row.lsn(head.start_lsn);
  row.lsn(head.stop_lsn);
  row.number(head.server_version);
  row.boolean(head.page_checksums);
  for (const std::uint64_t figure :
       {head.files, head.bytes, head.new_blocks, head.new_bytes, head.stored_bytes, head.damaged_blocks})
    row.number(figure);
}

void put_backup(FunctionCallInfo fcinfo, const core::CatalogueEntry& entry, const core::Proofs& proofs,
                const std::optional<std::string>& pinned) {
  constexpr int figures = 16; // that an unfinished one lacks
  RowBuilder row;
  row.text(entry.label);
  row.text(state_of(entry, proofs));
  if (entry.head)
    put_figures(row, *entry.head);
  else
    for (int i = 0; i < figures; ++i)
      row.null();
  row.time(core::time_in(proofs.verified, entry.label));
  row.time(core::time_in(proofs.verified_deep, entry.label));
  row.time(core::time_in(proofs.drilled, entry.label));
  row.boolean(pinned.has_value());
  row.text(pinned.value_or(""));
  const auto damage = proofs.damaged.find(entry.label);
  row.text(entry.problem.empty() && damage != proofs.damaged.end() ? core::describe(damage->second) : entry.problem);
  row.store(fcinfo);
}

void put_window(FunctionCallInfo fcinfo, const core::RecoveryWindow& window) {
  RowBuilder row;
  row.number(window.timeline);
  row.time(window.from_time);
  row.time(window.to_time);
  row.lsn(window.from);
  row.lsn(window.to);
  row.number(window.backups);
  row.text(window.first_backup);
  row.text(window.last_backup);
  row.lsn(window.gap_until);
  row.store(fcinfo);
}

void put_drill(FunctionCallInfo fcinfo, const core::DrillRecord& drill) {
  RowBuilder row;
  row.time(drill.at);
  row.text(drill.backup);
  row.text(drill.target_time.value_or(""));
  row.boolean(drill.succeeded);
  drill.rto_seconds > 0 ? row.real(drill.rto_seconds) : row.null();
  const auto recovered_to = core::parse_lsn(drill.recovered_to);
  row.lsn(recovered_to.value_or(0));
  nlohmann::ordered_json phases = nlohmann::ordered_json::object();
  for (const auto& [name, seconds] : drill.phases)
    phases[name] = seconds;
  row.json(phases);
  row.text(drill.failure);
  row.store(fcinfo);
}

} // namespace

DBOPS_SQL_FUNCTION(dbops_stored_backups) {
  return boundary([fcinfo]() -> Datum {
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    const Catalogue catalogue = read(Wanted::backups);
    const core::Proofs proofs = core::proofs_of(catalogue.drills, catalogue.verifications);
    const core::WallTime now = archive::thread_clock().wall_now();
    for (const core::CatalogueEntry& entry : catalogue.backups)
      put_backup(fcinfo, entry, proofs, core::held_by(catalogue.pins, entry.label, now));
    return static_cast<Datum>(0);
  });
}

DBOPS_SQL_FUNCTION(dbops_stored_windows) {
  return boundary([fcinfo]() -> Datum {
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    for (const core::RecoveryWindow& window : read(Wanted::windows).windows)
      put_window(fcinfo, window);
    return static_cast<Datum>(0);
  });
}

DBOPS_SQL_FUNCTION(dbops_stored_drills) {
  return boundary([fcinfo]() -> Datum {
    call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
    for (const core::DrillRecord& drill : read(Wanted::drills).drills)
      put_drill(fcinfo, drill);
    return static_cast<Datum>(0);
  });
}
