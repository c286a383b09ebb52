#include "core/store/credentials.h"

#include "core/base/error.h"

namespace dbops::core {

namespace {

using namespace std::chrono_literals;
constexpr std::chrono::seconds renew_before = 5min;
constexpr std::chrono::seconds pause_after_failure = 30s;

} // namespace

CredentialsChain::CredentialsChain(std::vector<std::unique_ptr<CredentialsSource>> sources, const Clock& clock)
    : sources_(std::move(sources)), clock_(clock) {}

bool CredentialsChain::usable_for(std::chrono::seconds time) const {
  return cached_ && (!cached_->expires || clock_.wall_now() + time < *cached_->expires);
}

Credentials CredentialsChain::get(const CallContext& context) {
  const std::lock_guard lock(mutex_);
  if (!usable_for(renew_before) && !(usable_for(0s) && clock_.wall_now() < next_try_)) {
    try {
      renew(context);
    } catch (const Error& error) {
      if (!usable_for(0s) || error.kind() == ErrorKind::cancelled) throw;
      next_try_ = clock_.wall_now() + pause_after_failure;
    }
  }
  return cached_->credentials;
}

void CredentialsChain::renew(const CallContext& context) {
  std::string tried;
  for (const auto& source : sources_) {
    if (chosen_ != nullptr && source.get() != chosen_) continue;
    if (auto found = source->fetch(context)) {
      chosen_ = source.get();
      cached_ = std::move(found);
      return;
    }
    tried += (tried.empty() ? "" : ", ") + source->name();
  }
  if (chosen_ != nullptr)
    throw TransientError("the source of the store's credentials (" + tried + ") gives none any more");
  throw Error(ErrorKind::access_denied, "no credentials for the store; looked at: " + tried,
              "Set dbops.credentials_file, the AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY environment variables, or "
              "give the machine a role.");
}

bool CredentialsChain::invalidate() {
  const std::lock_guard lock(mutex_);
  const bool renewable = cached_ && cached_->expires.has_value();
  if (renewable) {
    cached_.reset();
    next_try_ = WallTime();
  }
  return renewable;
}

} // namespace dbops::core
