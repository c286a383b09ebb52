// Changelogs of Liquibase in formatted SQL, as far as their checksums can be computed again.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dbops::core::migrate {

struct Changeset {
  std::string id, author;
  // Its SQL without spaces, tabs and line ends: what the checksum of version 9 (Liquibase 4.22 and later) is of, which
  // is "9:" and the MD5 of "9:", the MD5 of this, and ":".
  std::string text;
  // False: it has comments, of which not all count, so that another checksum does not mean another text.
  bool certain = true;
};

// Those of a file whose text can be known; none when it is no changelog in formatted SQL. Left out: what has parameters
// (${x}, --property), parts to be ignored, a rollback in a block comment, or names in quotes.
std::vector<Changeset> read_changelog(std::string_view text);

} // namespace dbops::core::migrate
