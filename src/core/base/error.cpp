#include "core/base/error.h"

#include <cerrno>
#include <system_error>

namespace dbops::core {

std::string_view to_string(ErrorKind kind) noexcept {
  switch (kind) {
  case ErrorKind::not_found:
    return "not found";
  case ErrorKind::conflict:
    return "conflict";
  case ErrorKind::access_denied:
    return "access denied";
  case ErrorKind::configuration:
    return "configuration";
  case ErrorKind::unavailable:
    return "unavailable";
  case ErrorKind::cancelled:
    return "cancelled";
  case ErrorKind::corrupt:
    return "corrupt";
  case ErrorKind::key_missing:
    return "key missing";
  case ErrorKind::key_wrong:
    return "key wrong";
  case ErrorKind::no_space:
    return "no space";
  case ErrorKind::io:
    return "input/output";
  }
  return "unknown";
}

namespace {

ErrorKind kind_of(int error_number) noexcept {
  switch (error_number) {
  case ENOENT:
    return ErrorKind::not_found;
  case EACCES:
  case EPERM:
  case EROFS:
    return ErrorKind::access_denied;
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    return ErrorKind::no_space;
  case ESTALE: // a file system of the network, or of FUSE, whose server is gone or has been started again
  case ETIMEDOUT:
  case ENOTCONN:
  case ECONNABORTED:
  case ECONNREFUSED:
  case ECONNRESET:
  case ESHUTDOWN:
  case EHOSTDOWN:
  case EHOSTUNREACH:
  case ENETDOWN:
  case ENETUNREACH:
    return ErrorKind::unavailable;
  default:
    return ErrorKind::io;
  }
}

} // namespace

Error system_error(int error_number, std::string_view what) {
  std::string hint;
  if (error_number == EACCES || error_number == EPERM)
    hint = "Check owner and mode, also of the directories above it, for the user that this runs as.";
  if (error_number == ENOSPC || error_number == EDQUOT) hint = "Make room in that file system.";
  if (kind_of(error_number) == ErrorKind::unavailable)
    hint = "Look at the file system that it is on: its server does not answer, or it has to be mounted again.";
  return {kind_of(error_number), std::string(what) + ": " + std::generic_category().message(error_number), hint};
}

} // namespace dbops::core
