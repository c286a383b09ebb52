// global/pg_control: whether a copy of it is whole, and what it says of the cluster.
#pragma once

#include "core/base/bytes.h"

#include <filesystem>

namespace dbops::core {

// CRC-32C, as PostgreSQL computes it.
std::uint32_t crc32c(ByteView bytes) noexcept;

// Whether its checksum is right. The place of the checksum differs between majors, so it is looked for.
bool is_whole_control_file(ByteView control_file) noexcept;

// Reads until it gets a whole one: the server may be writing it. Throws Error(corrupt) when it does not become whole.
Bytes read_control_file(const std::filesystem::path& data_directory);

// ControlFileData.catalog_version_no: part of the names of tablespaces' directories.
std::uint32_t catalog_version(ByteView control_file);

} // namespace dbops::core
