// The repository of dbops.store, for threads that take or look for backups.
#pragma once

#include "core/backup/catalogue_cache.h"
#include "server/archive/threads.h"

namespace dbops::server::backup {

// Owns all that its BackupRepository refers to.
struct RepositoryHandle {
  archive::RepositoryAccess access;
  core::BackupRepository repository;
};

// Makes no request. Throws core::Error. For a thread.
inline RepositoryHandle open_backup_repository(const archive::Settings& settings, const archive::Cluster& cluster) {
  archive::RepositoryAccess access = archive::open_repository(settings.store, settings, cluster);
  core::BackupRepository repository{.store = *access.store,
                                    .clock = archive::thread_clock(),
                                    .random = archive::thread_random(),
                                    .system_identifier = cluster.system_identifier,
                                    .keys = access.keys.get(),
                                    .origin = cluster.owner.description,
                                    .compression_level = settings.compression_level};
  return {std::move(access), repository};
}

// SQLSTATE of what a thread failed with.
inline int sqlstate_of(const archive::ThreadFailure& failure) {
  switch (failure.kind) {
  case core::ErrorKind::conflict:
    return ERRCODE_OBJECT_IN_USE;
  case core::ErrorKind::configuration:
    return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
  case core::ErrorKind::corrupt:
    return ERRCODE_DATA_CORRUPTED;
  case core::ErrorKind::no_space:
    return ERRCODE_DISK_FULL;
  case core::ErrorKind::cancelled:
    return ERRCODE_QUERY_CANCELED;
  default:
    return ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
  }
}

} // namespace dbops::server::backup
