// What the relation in a file is called, as the catalogs say whose files lie beside it: for a backup whose server
// nobody can ask, and for a server whose pages are damaged.
#pragma once

#include "core/base/bytes.h"

#include <functional>
#include <map>
#include <optional>
#include <string>

namespace dbops::core {

// A catalog's own pages may be damaged, or be changing: what cannot be read has no name, and a name is for messages
// alone.
class RelationNames {
 public:
  // Hands the content of a file below the data directory to the sink, in order, in pieces of whole pages but for the
  // last. False: it is not there, or cannot be read.
  using Source = std::function<bool(const std::string& path, const std::function<void(ByteView)>& sink)>;

  explicit RelationNames(Source source) : source_(std::move(source)) {}

  // Of a relation's file, e.g. "base/16384/16390.1": "relation public.account of database shop", or what of it is
  // known. Empty: nothing is, or the file is of no relation. Printable.
  std::string describe(const std::string& path);

 private:
  struct Class {
    std::uint32_t oid = 0, name_space = 0;
    std::string name;
    int rank = 0;
  };
  struct Database {
    std::map<std::uint32_t, Class> by_file; // pg_class.relfilenode, or what the relation map says
    std::map<std::uint32_t, std::string> schemas;
  };

  const Database& database(const std::string& directory);
  std::map<std::uint32_t, std::uint32_t> relation_map(const std::string& directory);
  std::string database_name(std::uint32_t oid);

  Source source_;
  std::optional<std::pair<std::string, Database>> last_; // by directory
  std::optional<std::map<std::uint32_t, std::string>> databases_;
};

} // namespace dbops::core
