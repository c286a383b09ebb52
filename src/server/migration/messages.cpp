#include "server/migration/messages.h"

#include <algorithm>

extern "C" {
#include "mb/pg_wchar.h"
}

namespace dbops::server::migration {

namespace {

constexpr std::size_t max_messages = 100;
constexpr std::size_t max_length = 1000; // bytes of one

// Fixed places: the hook runs in frames that a longjmp may leave, and allocates nothing.
struct Message {
  int level;
  char text[max_length];
};
Message* kept = nullptr;
std::size_t count = 0;
bool listening = false;
int server_level = 0; // log_min_messages before the listener changed it
emit_log_hook_type previous_hook = nullptr;

// elog.c calls it for what goes to the server log; that is why the listener makes the log take more, and it is taken
// back here.
void hook(ErrorData* data) {
  if (listening && data->elevel >= INFO && data->elevel < ERROR) {
    if (kept != nullptr && count < max_messages && data->message != nullptr) {
      kept[count].level = data->elevel;
      strlcpy(kept[count].text, data->message, max_length);
      ++count;
    }
    if (data->elevel < server_level) data->output_to_server = false;
  }
  if (previous_hook != nullptr && data->output_to_server) previous_hook(data);
}

const char* level_name(int level) {
  if (level == INFO) return "INFO";
  return level == NOTICE ? "NOTICE" : "WARNING";
}

} // namespace

void install_message_hook() {
  previous_hook = emit_log_hook;
  emit_log_hook = hook;
}

Listener::Listener() : log_level_(log_min_messages) {
  if (kept == nullptr)
    kept = static_cast<Message*>(
        MemoryContextAllocExtended(TopMemoryContext, sizeof(Message) * max_messages, MCXT_ALLOC_NO_OOM));
  count = 0;
  server_level = log_min_messages;
  log_min_messages = std::min(log_min_messages, INFO);
  listening = true;
}

Listener::~Listener() {
  listening = false;
  log_min_messages = log_level_;
}

std::vector<std::string> Listener::messages() {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    // Cut between characters.
    const auto length = static_cast<int>(std::strlen(kept[i].text));
    const int whole = pg_mbcliplen(kept[i].text, length, length);
    texts.push_back(std::string(level_name(kept[i].level)) + ": " +
                    std::string(kept[i].text, static_cast<std::size_t>(whole)));
  }
  return texts;
}

} // namespace dbops::server::migration
