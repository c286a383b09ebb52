#include "core/backup/relation_names.h"

#include "core/backup/block.h"
#include "core/backup/file_rules.h"
#include "core/base/printable.h"

#include <charconv>
#include <cstring>
#include <vector>

namespace dbops::core {

namespace {

// Catalogs and their columns, which no version from 15 to 18 has elsewhere (catalog/pg_class.h and its kin).
constexpr std::uint32_t database_catalog = 1262, class_catalog = 1259, namespace_catalog = 2615; // OIDs
constexpr std::size_t oid_at = 0, name_at = 4, name_length = 64, relnamespace_at = 68, relfilenode_at = 88;
constexpr std::uint32_t map_magic = 0x592717; // relmapper.c
constexpr std::size_t most_names = 200000;    // kept of a database: 30 MB
constexpr std::size_t map_limit = 8192;       // bytes of a pg_filenode.map that are looked at

// Little-endian, as the servers that dbops runs on.
template <class Number>
std::optional<Number> number_at(ByteView bytes, std::size_t offset) {
  if (offset + sizeof(Number) > bytes.size()) return {};
  Number value{};
  std::memcpy(&value, &bytes[offset], sizeof value);
  return value;
}

std::uint32_t oid_of(ByteView row, std::size_t offset) {
  return number_at<std::uint32_t>(row, offset).value_or(0);
}

std::string name_of(ByteView row) {
  if (row.size() < name_at + name_length) return {};
  const std::string_view field = as_text(row.subspan(name_at, name_length));
  return std::string(field.substr(0, field.find('\0')));
}

// Rows of a heap page that may be alive; rank: how likely that is (access/htup_details.h).
void for_each_row(ByteView page, const std::function<void(ByteView row, int rank)>& use) {
  constexpr std::size_t header = 24, item = 4, tuple_header = 23;
  constexpr std::uint16_t xmin_committed = 0x100, xmin_invalid = 0x200, xmax_committed = 0x400, xmax_invalid = 0x800;
  const std::size_t lower = std::min<std::size_t>(number_at<std::uint16_t>(page, 12).value_or(0), page.size());
  for (std::size_t at = header; at + item <= lower; at += item) {
    const std::uint32_t pointer = number_at<std::uint32_t>(page, at).value_or(0);
    const std::size_t offset = pointer & 0x7fff, length = pointer >> 17;
    const bool normal = (pointer >> 15 & 3) == 1;
    if (!normal || length < tuple_header || offset + length > page.size()) continue;
    const ByteView tuple = page.subspan(offset, length);
    const std::uint16_t mask = number_at<std::uint16_t>(tuple, 20).value_or(0);
    const std::size_t data = std::size_t(tuple[22]);                                         // t_hoff
    if (data > length || (mask & (xmin_invalid | xmin_committed)) == xmin_invalid) continue; // both: frozen
    const int rank = (mask & xmax_invalid) != 0 ? 2 : (mask & xmax_committed) != 0 ? 0 : 1;
    use(tuple.subspan(data), rank);
  }
}

struct Place {
  std::string directory;      // of the database: "base/5", "global"
  std::uint32_t database = 0; // 0: shared
  std::uint32_t file = 0;
};

std::uint32_t number_of(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

std::optional<Place> place_of(const std::string& path) {
  const auto relation = parse_relation_file(path);
  const std::size_t slash = path.rfind('/');
  if (!relation || slash == std::string::npos) return {};
  Place place{.directory = path.substr(0, slash), .database = 0, .file = number_of(relation->relation)};
  if (place.directory != "global")
    place.database = number_of(std::string_view(place.directory).substr(place.directory.rfind('/') + 1));
  if (place.file == 0) return {};
  return place;
}

} // namespace

// OID of a catalog and its file.
std::map<std::uint32_t, std::uint32_t> RelationNames::relation_map(const std::string& directory) {
  Bytes content;
  source_(directory + "/pg_filenode.map", [&](ByteView piece) {
    append(content, piece.first(std::min(piece.size(), map_limit - std::min(map_limit, content.size()))));
  });
  std::map<std::uint32_t, std::uint32_t> files;
  constexpr std::size_t first = 8, entry = 8;
  if (oid_of(content, 0) != map_magic) return files;
  const std::uint32_t count = oid_of(content, 4);
  for (std::size_t i = 0; i < count && first + (i + 1) * entry <= content.size(); ++i)
    files[oid_of(content, first + i * entry)] = oid_of(content, first + i * entry + 4);
  return files;
}

const RelationNames::Database& RelationNames::database(const std::string& directory) {
  if (last_ && last_->first == directory) return last_->second;
  last_.emplace(directory, Database{});
  Database& found = last_->second;
  const auto scan = [&](std::uint32_t file, const std::function<void(ByteView, int)>& use) {
    if (file == 0) return;
    source_(directory + "/" + std::to_string(file), [&](ByteView piece) {
      for (; piece.size() >= block_size; piece = piece.subspan(block_size))
        for_each_row(piece.first(block_size), use);
    });
  };
  const auto mapped = relation_map(directory);
  const auto class_file = mapped.find(class_catalog);
  if (class_file == mapped.end()) return found;
  std::map<std::uint32_t, std::uint32_t> file_of_mapped = mapped;
  file_of_mapped.merge(relation_map("global"));
  std::uint32_t schemas_file = 0;
  scan(class_file->second, [&](ByteView row, int rank) {
    if (row.size() < relfilenode_at + 4) return;
    Class entry{
        .oid = oid_of(row, oid_at), .name_space = oid_of(row, relnamespace_at), .name = name_of(row), .rank = rank};
    std::uint32_t file = oid_of(row, relfilenode_at);
    if (const auto at = file_of_mapped.find(entry.oid); file == 0 && at != file_of_mapped.end()) file = at->second;
    if (entry.oid == namespace_catalog && rank > 0) schemas_file = file;
    if (file == 0) return;
    Class& known = found.by_file[file];
    if (known.oid != 0 && known.rank > rank) return;
    known = std::move(entry);
    if (found.by_file.size() > most_names) found.by_file.erase(std::prev(found.by_file.end()));
  });
  scan(schemas_file, [&](ByteView row, int) { found.schemas[oid_of(row, oid_at)] = name_of(row); });
  return found;
}

std::string RelationNames::database_name(std::uint32_t oid) {
  if (!databases_) {
    databases_.emplace();
    const auto mapped = relation_map("global");
    if (const auto file = mapped.find(database_catalog); file != mapped.end())
      source_("global/" + std::to_string(file->second), [&](ByteView piece) {
        for (; piece.size() >= block_size; piece = piece.subspan(block_size))
          for_each_row(piece.first(block_size), [&](ByteView row, int rank) {
            if (std::string& name = (*databases_)[oid_of(row, oid_at)]; name.empty() || rank > 0) name = name_of(row);
          });
      });
  }
  const auto found = databases_->find(oid);
  return found == databases_->end() ? std::string() : found->second;
}

std::string RelationNames::describe(const std::string& path) {
  const auto place = place_of(path);
  if (!place) return {};
  // The catalogs of a database are in its own tablespace, mostly the default one; shared ones are in every database.
  std::vector<std::string> directories{place->directory};
  if (place->database == 0)
    directories = {"base/1"};
  else if (!place->directory.starts_with("base/"))
    directories.insert(directories.begin(), "base/" + std::to_string(place->database));
  std::string text;
  for (const std::string& directory : directories) {
    const Database& catalog = database(directory);
    const auto found = catalog.by_file.find(place->file);
    if (found == catalog.by_file.end() || found->second.name.empty()) continue;
    const auto schema = catalog.schemas.find(found->second.name_space);
    text = "relation " + (schema == catalog.schemas.end() ? std::string() : schema->second + ".") + found->second.name;
    break;
  }
  if (const std::string name = place->database == 0 ? std::string() : database_name(place->database); !name.empty())
    text += (text.empty() ? "database " : " of database ") + name;
  return printable(text);
}

} // namespace dbops::core
