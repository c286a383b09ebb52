// Files of pg_wal, which PostgreSQL removes and recycles when they are not needed.
#pragma once

#include "core/base/error.h"
#include "core/base/file.h"

namespace dbops::core {

// The file is not there any more. It says nothing about a store, unlike every other failure to find something.
class WalFileGone : public Error {
 public:
  explicit WalFileGone(const std::string& message) : Error(ErrorKind::not_found, message) {}
};

// For reading. Throws WalFileGone, and what File::open() throws.
File open_wal_file(const std::filesystem::path& path);

// PostgreSQL recycles a segment by renaming its file, and writes into it afterwards: when the name still leads to the
// file, all that was read of it is what the name says. Throws WalFileGone when it does not.
void require_not_recycled(const File& file, const std::filesystem::path& path);

} // namespace dbops::core
