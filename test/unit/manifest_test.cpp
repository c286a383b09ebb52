#include "core/backup/manifest.h"

#include "core/base/error.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace dbops::core {
namespace {

FileEntry file(const std::string& path, std::uint64_t size) {
  FileEntry entry;
  entry.path = path;
  entry.size = size;
  entry.modified = 1795255200000000;
  for (std::uint64_t at = 0; at < size; at += region_size)
    entry.regions.push_back({{PackId{std::byte(1)}, std::uint32_t(at >> 20), 5}, 6, 7});
  return entry;
}

FileEntry again(const FileEntry& entry) {
  Bytes bytes;
  encode_entry(entry, bytes);
  ByteReader in(bytes);
  FileEntry read = decode_entry(in);
  EXPECT_EQ(in.remaining(), 0U);
  return read;
}

TEST(ManifestEntry, IsReadBack) {
  FileEntry entry = file("base/5/16384.1", 3 * region_size + 5);
  entry.mode = 0640;
  entry.damaged = {3, 70000};
  const FileEntry read = again(entry);
  EXPECT_EQ(read.path, entry.path);
  EXPECT_EQ(read.size, entry.size);
  EXPECT_EQ(read.mode, entry.mode);
  EXPECT_EQ(read.modified, entry.modified);
  EXPECT_EQ(read.regions, entry.regions);
  EXPECT_EQ(read.regions.size(), 4U);
  EXPECT_EQ(read.damaged, entry.damaged);

  FileEntry link;
  link.type = EntryType::symlink;
  link.path = "pg_tblspc/16400";
  link.target = "/srv/space";
  EXPECT_EQ(again(link).target, "/srv/space");
}

TEST(ManifestEntry, PathThatLeadsOutIsRefused) {
  for (const char* path : {"", "/etc/passwd", "../x", "base/../../x", "base//x", "base/.", "base/", "."}) {
    Bytes bytes;
    encode_entry(file(path, 0), bytes);
    ByteReader in(bytes);
    EXPECT_THROW(decode_entry(in), Error) << path;
  }
}

TEST(ManifestEntry, SizeWithoutItsRegionsIsRefused) {
  FileEntry entry = file("f", region_size);
  entry.size = std::uint64_t(1) << 50;
  Bytes bytes;
  encode_entry(entry, bytes);
  ByteReader in(bytes);
  EXPECT_THROW(decode_entry(in), Error);
}

TEST(ManifestOrder, ADirectoryComesBeforeWhatIsInItAndThatBeforeItsNeighbours) {
  const std::vector<std::string> paths{"a", "a/b", "a/b/c", "a/b.c", "a b", "a-b", "a.b", "ab"};
  for (std::size_t i = 0; i < paths.size(); ++i)
    for (std::size_t j = 0; j < paths.size(); ++j)
      EXPECT_EQ(path_less(paths[i], paths[j]), i < j) << paths[i] << " " << paths[j];
}

BackupHead sample_head() {
  BackupHead head;
  head.label = "20261121T143000Z";
  head.base = "20261120T143000Z";
  head.system_identifier = 7300000000000000001;
  head.server_version = 150020;
  head.wal_segment_size = 16 << 20;
  head.page_checksums = true;
  head.started = WallTime(std::chrono::seconds(1795271400));
  head.finished = head.started + std::chrono::minutes(3);
  head.start_lsn = 0x1200000028;
  head.stop_lsn = 0x1200000130;
  head.timeline = 3;
  head.tablespaces = {{16400, "/srv/a \"b\""}};
  head.annotations = {{"ticket", "O'Brien\n\x01"}};
  head.file_parts = 2;
  head.content[0] = std::byte(0xab);
  head.bytes = std::uint64_t(1) << 60;
  head.control_file = Bytes(8192, std::byte(7));
  head.backup_label = "START WAL LOCATION: 12/28\n";
  return head;
}

TEST(ManifestHead, IsReadBack) {
  const BackupHead head = sample_head();
  const std::string text = encode_head(head);
  const BackupHead read = decode_head(text);
  EXPECT_EQ(encode_head(read), text);
  EXPECT_EQ(read.label, head.label);
  EXPECT_EQ(read.system_identifier, head.system_identifier);
  EXPECT_EQ(read.finished, head.finished);
  EXPECT_EQ(read.stop_lsn, head.stop_lsn);
  EXPECT_EQ(read.tablespaces.at(0).location, head.tablespaces[0].location);
  EXPECT_EQ(read.annotations, head.annotations);
  EXPECT_EQ(read.content, head.content);
  EXPECT_EQ(read.bytes, head.bytes);
  EXPECT_EQ(read.control_file, head.control_file);
}

TEST(ManifestHead, WhatIsMissingOrNewerIsSaid) {
  const std::string text = encode_head(sample_head());
  const auto without = [&](const std::string& what) {
    std::string other = text;
    other.replace(other.find(what), what.size(), "\"other\"");
    return other;
  };
  for (const char* field : {"\"label\"", "\"stop_lsn\"", "\"content\"", "\"control_file\"", "\"bytes\""})
    EXPECT_THROW(decode_head(without(field)), Error) << field;
  std::string newer = text;
  newer.replace(newer.find("\"dbops_backup\": 1"), 17, "\"dbops_backup\": 2");
  try {
    decode_head(newer);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::configuration);
  }
  EXPECT_THROW(decode_head(""), Error);
  EXPECT_THROW(decode_head("[]"), Error);
}

} // namespace
} // namespace dbops::core
