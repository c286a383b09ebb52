// How `dbops watch` shows what it sees: bars that are redrawn, lines of text, or JSON.
#pragma once

#include "cli/progress_source.h"
#include "cli/terminal.h"

#include <memory>
#include <string>

namespace dbops::cli {

class WatchDisplay {
 public:
  WatchDisplay() = default;
  virtual ~WatchDisplay() = default;
  WatchDisplay(const WatchDisplay&) = delete;
  WatchDisplay& operator=(const WatchDisplay&) = delete;

  virtual void show(const Snapshot& snapshot) = 0;
  // Of the connection: lost, trying again, back. The next show() takes it away.
  virtual void notice(const std::string& text) = 0;
  // The window has another size, or the process goes on after suspend().
  virtual void redraw() {}
  // Before the process stops or ends: the cursor is shown, and stands below all that was written.
  virtual void leave() {}
};

// bars: redrawn in place; blocks: with bars, written once; lines: of text; json: an object a line.
enum class WatchStyle { bars, blocks, lines, json };

struct WatchDisplayOptions {
  WatchStyle style = WatchStyle::lines;
  core::Seconds interval{1}; // how often lines and JSON tell of mere progress
  std::string when_empty;    // what bars say when there is no job
};

std::unique_ptr<WatchDisplay> make_watch_display(const WatchDisplayOptions& options, const Terminal& terminal);

} // namespace dbops::cli
