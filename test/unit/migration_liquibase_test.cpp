#include "core/migrate/liquibase.h"

#include <gtest/gtest.h>

namespace dbops::core::migrate {

namespace {

std::string read(std::string_view text) {
  std::string result;
  for (const Changeset& changeset : read_changelog(text))
    result += changeset.id + "::" + changeset.author + "=" + changeset.text + (changeset.certain ? "\n" : " ?\n");
  return result;
}

} // namespace

TEST(MigrationLiquibase, FormattedSql) {
  EXPECT_EQ(read("--liquibase formatted sql\n\n--changeset ann:1 labels:v2\nSELECT 1;\n--rollback SELECT 2;\n"
                 "-- ChangeSet bob:two\r\nSELECT\t3;\r\n--comment x\r\n--preconditions onFail:HALT\r\n"),
            "1::ann=SELECT1;\ntwo::bob=SELECT3; ?\n");
  EXPECT_EQ(read("\xef\xbb\xbf\n-- liquibase FORMATTED SQL\n--changeset a:b\nx"), "b::a=x\n");
  EXPECT_EQ(read("--liquibase formatted sql\n--changeset a:b\n-- note\nx"), "b::a=--notex ?\n");
}

TEST(MigrationLiquibase, WhatCannotBeKnown) {
  for (const char* text :
       {"", "SELECT 1;", "--changeset a:b\nx", "--liquibase formatted sql", "--liquibase formatted sql\nx",
        "--liquibase formatted sql\n--changeset a:b", "--liquibase formatted sql\n--changeset a\nx",
        "--liquibase formatted sql\n--changeset \"a b\":c\nx", "--liquibase formatted sql\n--changeset a:b\n${x}",
        "--liquibase formatted sql\n--property name:x\n--changeset a:b\nx",
        "--liquibase formatted sql\n--changeset a:b\nx\n/* liquibase rollback\ny\n*/"})
    EXPECT_EQ(read(text), "") << text;
}

} // namespace dbops::core::migrate
