// Backups and dumps that expiry leaves alone, whatever its rules say. A pin is an object, and so is its release:
// nothing is changed or deleted, so who may only create can do both.
#pragma once

#include "core/backup/manifest_store.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace dbops::core {

enum class Pinnable : std::uint8_t { backup, dump };

struct Pin {
  std::string name = {}; // of its object: "<time>-<random>"
  WallTime at = {};
  std::string reason = {}, by = {};
  std::optional<WallTime> until = {}; // absent: until it is released
};

// By label, of those that were not released. One that cannot be read holds for ever, and says so as its reason.
using Pins = std::map<std::string, std::vector<Pin>>;

Pins read_pins(const BackupRepository& repository, Pinnable what, const CallContext& context);

// Why the pins keep what they are of at that time; absent: they do not.
std::optional<std::string> held_by(const Pins& pins, const std::string& label, WallTime at);

// Returns when expiry will not take it: one that is at work meanwhile either leaves it alone, or makes this call fail.
// Throws Error: configuration when there is no such backup or dump, conflict when expiry is removing it.
void pin(const BackupRepository& repository, Pinnable what, const std::string& label, const std::string& reason,
         std::optional<WallTime> until, const CallContext& context);

// Releases all pins of it. Returns how many there were.
std::size_t release_pins(const BackupRepository& repository, Pinnable what, const std::string& label,
                         const CallContext& context);

// "<time>-<random>": no two are equal.
std::string unique_name(const BackupRepository& repository);

// For expiry: says in the store that this run is about to remove these, and then looks at pins once more, so that it
// sees each pin whose maker did not see this. Returns the pins there are now; what they hold must stay. run: a
// unique_name().
Pins announce_removal(const BackupRepository& repository, Pinnable what, const std::set<std::string>& labels,
                      const std::string& run, const CallContext& context);
// Of one that has to stay after all. What other runs have announced is theirs.
void withdraw_announcement(const BackupRepository& repository, Pinnable what, const std::string& label,
                           const std::string& run, const CallContext& context);
// Of one that is gone: its pins and all announcements.
void forget_removed(const BackupRepository& repository, Pinnable what, const std::string& label,
                    const CallContext& context);
// Those of runs that were killed more than a day ago. now: as the store's clock bears it out; this machine's alone may
// be ahead, and the run may be under way.
void withdraw_stale_announcements(const BackupRepository& repository, Pinnable what, WallTime now,
                                  const CallContext& context);

} // namespace dbops::core
