// The answer to ListObjectsV2.
#pragma once

#include "core/store/object_store.h"

namespace dbops::core {

// body: with encoding-type=url. root: what the keys of the store begin with in the bucket; it is taken off.
// Throws Error(corrupt) for anything that is not such an answer, or has a key outside `root`.
ListPage parse_list_answer(std::string_view body, std::string_view root);

} // namespace dbops::core
