// Credentials from a file in AWS's format and from the environment.
#include "core/store/local_credentials.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <cerrno>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>

namespace dbops::core {

namespace {

constexpr std::uint64_t max_file_size = 1 << 20;
// A file is read again this often, so that replaced keys are taken up (credentials are renewed 5 minutes early).
constexpr std::chrono::minutes file_lifetime(10);

std::string_view trim(std::string_view text) {
  constexpr std::string_view blank = " \t\r";
  const auto first = text.find_first_not_of(blank);
  return first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, text.find_last_not_of(blank) - first + 1);
}

void require_private(const File& file, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0)
    throw system_error(errno, "could not stat credentials file \"" + path.string() + "\"");
  if ((status.st_mode & S_IRWXO) != 0)
    throw Error(ErrorKind::configuration, "credentials file \"" + path.string() + "\" is accessible by everybody",
                "Set its mode to 0600 or 0640.");
}

Credentials read_profile(const std::filesystem::path& path, const std::string& profile) {
  const auto file = File::open_if_exists(path, O_RDONLY);
  if (!file)
    throw Error(ErrorKind::configuration, "credentials file \"" + path.string() + "\" does not exist",
                "Correct dbops.credentials_file, or --credentials-file.");
  require_private(*file, path);
  Bytes bytes(std::size_t(std::min(file->size(), max_file_size)));
  bytes.resize(file->read_at(0, bytes));
  const auto credentials = parse_aws_profile(as_text(bytes), profile);
  OPENSSL_cleanse(bytes.data(), bytes.size());
  if (!credentials)
    throw Error(ErrorKind::configuration,
                "credentials file \"" + path.string() + "\" has no profile \"" + profile + "\"",
                "Choose a profile with AWS_PROFILE, or name it \"default\".");
  return *credentials;
}

} // namespace

std::optional<Credentials> parse_aws_profile(std::string_view text, std::string_view profile) {
  Credentials credentials;
  bool inside = false, found = false;
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      inside = trim(line.substr(1, line.find(']') - 1)) == profile;
      found = found || inside;
      continue;
    }
    const auto equals = line.find('=');
    if (equals == std::string_view::npos)
      throw Error(ErrorKind::configuration, "line " + std::to_string(number) + " of the credentials file has no \"=\"");
    const std::string_view name = trim(line.substr(0, equals)), value = trim(line.substr(equals + 1));
    if (!inside) continue;
    if (name == "aws_access_key_id")
      credentials.access_key_id = value;
    else if (name == "aws_secret_access_key")
      credentials.secret_access_key = Secret(std::string(value));
    else if (name == "aws_session_token")
      credentials.session_token = Secret(std::string(value));
  }
  if (!found) return {};
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty())
    throw Error(ErrorKind::configuration,
                "profile \"" + std::string(profile) +
                    "\" of the credentials file lacks aws_access_key_id or aws_secret_access_key");
  return credentials;
}

std::optional<ExpiringCredentials> FileCredentials::fetch(const CallContext& /*context*/) {
  return ExpiringCredentials{read_profile(path_, profile_), clock_.wall_now() + file_lifetime};
}

std::optional<ExpiringCredentials> EnvironmentCredentials::fetch(const CallContext& /*context*/) {
  const auto key = environment_("AWS_ACCESS_KEY_ID"), secret = environment_("AWS_SECRET_ACCESS_KEY");
  if (!key || !secret) return {};
  return ExpiringCredentials{{*key, Secret(*secret), Secret(environment_("AWS_SESSION_TOKEN").value_or(""))},
                             std::nullopt};
}

} // namespace dbops::core
