// Names out of the catalogs' pages, which may be damaged or half written.
#include "core/backup/relation_names.h"

#include "core/backup/block.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace dbops::core {
namespace {

template <class Number>
void put(Bytes& bytes, std::size_t at, Number value) {
  std::memcpy(&bytes.at(at), &value, sizeof value);
}

// A heap page of rows, as bufpage.h and htup_details.h lay it out.
class Page {
 public:
  static constexpr std::uint16_t alive = 0x900, updated = 0x500, aborted = 0xa00;
  Page& row(std::uint32_t oid, const std::string& name, std::uint16_t mask = alive, std::uint32_t schema = 0,
            std::uint32_t file = 0) {
    constexpr std::uint32_t length = 24 + 96;
    upper_ -= length;
    put(bytes_, lower_, upper_ | 1U << 15 | length << 17);
    lower_ += 4;
    put(bytes_, 12, std::uint16_t(lower_));
    put(bytes_, upper_ + 20, mask);
    bytes_[upper_ + 22] = std::byte(24);
    put(bytes_, upper_ + 24, oid);
    std::memcpy(&bytes_[upper_ + 28], name.data(), name.size());
    put(bytes_, upper_ + 24 + 68, schema);
    put(bytes_, upper_ + 24 + 88, file);
    return *this;
  }
  [[nodiscard]] const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_ = Bytes(block_size);
  std::uint32_t lower_ = 24, upper_ = block_size;
};

Bytes map_of(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& files) {
  Bytes bytes(524);
  put(bytes, 0, std::uint32_t(0x592717));
  put(bytes, 4, std::uint32_t(files.size()));
  for (std::size_t i = 0; i < files.size(); ++i) {
    put(bytes, 8 + 8 * i, files[i].first);
    put(bytes, 12 + 8 * i, files[i].second);
  }
  return bytes;
}

class RelationNamesTest : public testing::Test {
 protected:
  RelationNamesTest() {
    files_["global/pg_filenode.map"] = map_of({{1262, 1262}, {1260, 1260}});
    files_["global/1262"] = Page().row(5, "shop").row(1, "template1").bytes();
    for (const char* directory : {"base/5", "base/1"}) {
      const std::string below = std::string(directory) + "/";
      files_[below + "pg_filenode.map"] = map_of({{1259, 4711}});
      files_[below + "4711"] = Page()
                                   .row(1259, "pg_class", Page::alive, 11, 0)
                                   .row(2615, "pg_namespace", Page::alive, 11, 2615)
                                   .row(1260, "pg_authid", Page::alive, 11, 0)
                                   .row(16384, "nobody", Page::aborted, 2200, 16390)
                                   .row(16384, "older", Page::updated, 2200, 16390)
                                   .row(16384, "account", Page::alive, 2200, 16390)
                                   .row(16384, "older", Page::updated, 2200, 16390)
                                   .bytes();
      files_[below + "2615"] = Page().row(11, "pg_catalog").row(2200, "pub\nlic").bytes();
    }
  }
  std::string name(const std::string& path) {
    return RelationNames([this](const std::string& wanted, const std::function<void(ByteView)>& sink) {
             const auto found = files_.find(wanted);
             if (found == files_.end()) return false;
             sink(found->second);
             return true;
           })
        .describe(path);
  }
  std::map<std::string, Bytes> files_;
};

TEST_F(RelationNamesTest, OfWhatIsAlive) {
  EXPECT_EQ(name("base/5/16390"), "relation pub?lic.account of database shop");
  EXPECT_EQ(name("base/5/16390.1"), "relation pub?lic.account of database shop");
  EXPECT_EQ(name("base/5/16390_vm"), "relation pub?lic.account of database shop");
  EXPECT_EQ(name("base/5/4711"), "relation pg_catalog.pg_class of database shop");
  EXPECT_EQ(name("global/1260"), "relation pg_catalog.pg_authid");
  EXPECT_EQ(name("pg_tblspc/16400/PG_15_202209061/5/16390"), "relation pub?lic.account of database shop");
}

TEST_F(RelationNamesTest, OfWhatIsKnown) {
  EXPECT_EQ(name("base/5/16391"), "database shop");
  EXPECT_EQ(name("base/6/16390"), "");
  EXPECT_EQ(name("base/5/PG_VERSION"), "");
  EXPECT_EQ(name("pg_xact/0000"), "");
  files_.erase("base/5/2615");
  EXPECT_EQ(name("base/5/16390"), "relation account of database shop");
  files_.erase("global/1262");
  EXPECT_EQ(name("base/5/16390"), "relation account");
}

TEST_F(RelationNamesTest, DamagedPagesDoNoHarm) {
  std::mt19937 engine(1);
  for (int round = 0; round < 300; ++round) {
    auto whole = files_;
    for (auto& [path, content] : files_)
      for (int i = 0; i < 20; ++i)
        content[engine() % content.size()] = std::byte(engine() & 0xff);
    name("base/5/16390");
    name("global/1260");
    files_ = std::move(whole);
  }
}

} // namespace
} // namespace dbops::core
