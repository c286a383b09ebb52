// What the server says while a migration runs: NOTICE, INFO, WARNING, kept for its record.
#pragma once

#include "server/pg.h"

namespace dbops::server::migration {

// At start-up, once: a hook that does nothing unless a Listener lives.
void install_message_hook();

// While it lives, messages that go to the client are kept as well, the first 100 of them, 1000 bytes each.
class Listener {
 public:
  Listener();
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  [[nodiscard]] static std::vector<std::string> messages();

 private:
  int log_level_;
};

} // namespace dbops::server::migration
