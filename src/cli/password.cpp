#include "cli/password.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <string_view>

namespace dbops::cli {

namespace {

class ControllingTerminal {
 public:
  ControllingTerminal() : descriptor_(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {
    if (descriptor_ < 0 || tcgetattr(descriptor_, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    echo_is_off_ = tcsetattr(descriptor_, TCSAFLUSH, &silent) == 0;
  }
  ~ControllingTerminal() {
    if (echo_is_off_) tcsetattr(descriptor_, TCSAFLUSH, &before_);
    if (descriptor_ >= 0) close(descriptor_);
  }
  ControllingTerminal(const ControllingTerminal&) = delete;
  ControllingTerminal& operator=(const ControllingTerminal&) = delete;

  [[nodiscard]] bool usable() const noexcept { return echo_is_off_; }
  void write(std::string_view text) const { (void)!::write(descriptor_, text.data(), text.size()); }
  [[nodiscard]] bool read(char& character) const { return ::read(descriptor_, &character, 1) == 1; }

 private:
  int descriptor_;
  termios before_{};
  bool echo_is_off_ = false;
};

} // namespace

std::optional<core::Secret> ask_password(const std::string& prompt) {
  const ControllingTerminal terminal;
  if (!terminal.usable()) return std::nullopt;
  terminal.write(prompt);
  std::string password;
  password.reserve(1024); // a buffer that grew would leave copies behind that nobody wipes
  for (char character = 0; terminal.read(character) && character != '\n';)
    password += character;
  terminal.write("\n");
  if (password.empty()) return std::nullopt;
  return core::Secret(std::move(password));
}

} // namespace dbops::cli
