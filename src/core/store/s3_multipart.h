// Objects above a threshold go to S3 in parts.
#pragma once

#include "core/store/object_store.h"
#include "core/store/s3_client.h"

namespace dbops::core {

// key: with the prefix of the store. conditional: the store honours If-None-Match on a plain put; not every such store
// does so when an upload is completed (Ceph before 20), so the key is looked at right before that, too.
// An upload that fails is aborted, so that no part keeps costing money; when even that fails, the bucket's lifecycle
// rule for incomplete uploads has to.
PutResult put_in_parts(S3Client& client, const std::string& key, ByteView body, bool conditional,
                       const CallContext& context);

} // namespace dbops::core
