#include "cli/commands/dump.h"

#include "cli/background.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/program.h"
#include "cli/progress_line.h"
#include "cli/repository.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "core/backup/dump.h"
#include "core/backup/known_damage.h"
#include "core/backup/pins.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/text/line.h"
#include "core/text/table.h"

#include <fmt/format.h>

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace dbops::cli {

namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorKind;

constexpr std::size_t buffer_size = 1 << 20;

std::string program(const std::string& directory, const char* name) {
  return directory.empty() ? name : (fs::path(directory) / name).string();
}

// As the user gave it: a password belongs into .pgpass or PGPASSWORD, as with pg_dump itself.
void add_connection(std::vector<std::string>& words, const ConnectionSettings& settings) {
  const auto add = [&words](const char* option, const std::optional<std::string>& value) {
    if (value) words.push_back(std::string(option) + "=" + *value);
  };
  add("--host", settings.host);
  add("--port", settings.port);
  add("--username", settings.user);
}

void add_each(std::vector<std::string>& words, const char* option, const std::vector<std::string>& values) {
  for (const std::string& value : values)
    words.push_back(std::string(option) + "=" + value);
}

// Made, and removed at the end.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(const std::string& below) {
    std::string name = (fs::absolute(below) / "dbops-dump-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw core::system_error(errno, "could not make \"" + name + "\"");
    path_ = name;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

// A program has closed its input.
struct ReaderGone {};

void stop_if_wanted(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorKind::cancelled, "interrupted");
}

// --- dump --------------------------------------------------------------------------------------------------------

// What the manifest says of the server.
struct Source {
  std::uint64_t system_identifier = 0;
  std::uint32_t version = 0;
  std::string database;
};

Source look_at(const ConnectionSettings& settings) {
  Connection connection = Connector(settings).connect();
  const Result result =
      connection.execute("SELECT (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s)::pg_catalog.text,"
                         " pg_catalog.current_setting('server_version_num'), pg_catalog.current_database()");
  return {std::stoull(result.text(0, 0)), std::uint32_t(std::stoul(result.text(0, 1))), result.text(0, 2)};
}

std::string version_of(const std::string& name) {
  if (auto line = version_line(name)) return *line;
  throw Error(ErrorKind::configuration, "\"" + name + "\" cannot be run",
              "Give the directory of PostgreSQL's programs with --bindir.");
}

class Dump {
 public:
  Dump(const DumpCommand& command, const ConnectionSettings& settings, const Source& source)
      : command_(command), settings_(settings), name_(program(command.programs, "pg_dump")),
        repository_(command.stores, source.system_identifier, command.compression_level) {
    head_.database = source.database;
    head_.format = command.format == "directory" ? core::DumpFormat::directory : core::DumpFormat::custom;
    head_.server_version = source.version;
    head_.program = version_of(name_);
    head_.tables = command.tables;
    head_.schemas = command.schemas;
    head_.user_label = command.label;
    for (const std::string& annotation : command.annotations)
      head_.annotations[annotation.substr(0, annotation.find('='))] = annotation.substr(annotation.find('=') + 1);
  }

  core::DumpHead run(const std::stop_token& stop) {
    const core::CallContext context{.stop = stop, .deadline = {}};
    core::DumpWriter writer(repository_.get(), head_, command_.jobs, context);
    fmt::print(stderr, "dbops dump: dump {} of database \"{}\" to {}\n", writer.label(), head_.database,
               repository_.store().describe());
    writer_ = &writer;
    if (head_.format == core::DumpFormat::custom)
      stream(writer, stop);
    else
      by_directory(writer, stop);
    core::DumpHead head = writer.finish();
    writer_ = nullptr;
    return head;
  }

  void show() const {
    if (const core::DumpWriter* const writer = writer_) show_progress("dbops dump", {}, size_text(writer->bytes()));
  }

 private:
  // Not compressed: the pieces are.
  [[nodiscard]] std::vector<std::string> words(const char* format) const {
    std::vector<std::string> words{name_, std::string("--format=") + format, "--compress=0", "--no-password"};
    add_connection(words, settings_);
    if (settings_.dbname) words.push_back("--dbname=" + *settings_.dbname);
    add_each(words, "--table", command_.tables);
    add_each(words, "--schema", command_.schemas);
    return words;
  }

  void must_succeed(int status) const {
    if (status != 0)
      throw Error(ErrorKind::io, fmt::format("\"{}\" ended with status {}", name_, status),
                  "Its own message is above. No dump was made.");
  }

  void stream(core::DumpWriter& writer, const std::stop_token& stop) {
    Program pg_dump(words("custom"), Program::Pipe::output);
    const std::stop_callback end(stop, [&pg_dump] { pg_dump.interrupt(); });
    writer.begin_file("dump");
    core::Bytes buffer(buffer_size);
    while (const std::size_t count = pg_dump.read(buffer)) {
      stop_if_wanted(stop);
      writer.write(core::ByteView(buffer).first(count));
    }
    stop_if_wanted(stop);
    must_succeed(pg_dump.wait());
  }

  // Several connections need a directory of files; these are stored when all are there.
  void by_directory(core::DumpWriter& writer, const std::stop_token& stop) {
    const ScratchDirectory scratch(command_.scratch);
    const fs::path directory = scratch.path() / "dump";
    std::vector<std::string> all = words("directory");
    all.push_back(fmt::format("--jobs={}", command_.jobs));
    all.push_back("--file=" + directory.string());
    {
      Program pg_dump(all, Program::Pipe::none);
      const std::stop_callback end(stop, [&pg_dump] { pg_dump.interrupt(); });
      const int status = pg_dump.wait();
      stop_if_wanted(stop);
      must_succeed(status);
    }
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory))
      files.push_back(entry.path());
    std::ranges::sort(files);
    core::Bytes buffer(buffer_size);
    for (const fs::path& path : files) {
      writer.begin_file(path.filename().string());
      const core::File file = core::File::open(path, O_RDONLY);
      for (std::uint64_t offset = 0;;) {
        stop_if_wanted(stop);
        const std::size_t count = file.read_at(offset, buffer);
        if (count == 0) break;
        writer.write(core::ByteView(buffer).first(count));
        offset += count;
      }
    }
  }

  const DumpCommand& command_;
  const ConnectionSettings& settings_;
  std::string name_;
  Repository repository_;
  core::DumpHead head_;
  std::atomic<const core::DumpWriter*> writer_{nullptr};
};

Json as_json(const core::DumpHead& head) {
  return {{"dump", head.label},
          {"database", head.database},
          {"format", core::to_string(head.format)},
          {"tables", head.tables},
          {"schemas", head.schemas},
          {"label", head.user_label},
          {"annotations", head.annotations},
          {"started", core::iso8601_basic(head.started)},
          {"finished", core::iso8601_basic(head.finished)},
          {"server_version", head.server_version},
          {"program", head.program},
          {"files", head.files.size()},
          {"bytes", head.bytes},
          {"stored_bytes", head.stored_bytes}};
}

// --- undump ------------------------------------------------------------------------------------------------------

// Of one that cannot be read, or in which a verification has found damage.
std::string problem_of(const core::DumpEntry& entry, const core::KnownDamage& damage) {
  const auto found = damage.named().find(core::dump_prefix(entry.label));
  return entry.problem.empty() && found != damage.named().end() ? core::describe(found->second) : entry.problem;
}

const char* state_of(const core::DumpEntry& entry, const core::KnownDamage& damage) {
  if (!entry.head) return entry.problem.empty() ? "unfinished" : "unreadable";
  return damage.named().contains(core::dump_prefix(entry.label)) ? "damaged" : "ok";
}

class Undump {
 public:
  Undump(const UndumpCommand& command, const ConnectionSettings& settings)
      : command_(command), settings_(settings), name_(program(command.programs, "pg_restore")),
        repository_(command.stores, {}) {
    // Not by default: what is restored may replace what is there.
    if (command.output.empty() && !settings.dbname)
      throw Error(ErrorKind::configuration, "no database is named to restore into",
                  "Give --dbname, or --output to write what pg_dump wrote into a file.");
  }

  void run(const std::stop_token& stop) {
    context_.stop = stop;
    const core::DumpHead head = choose();
    fmt::print(stderr, "dbops undump: dump {} of database \"{}\", {}\n", head.label, head.database,
               size_text(head.bytes));
    if (!command_.output.empty())
      write_files(head, command_.output);
    else if (head.format == core::DumpFormat::custom && command_.jobs == 1)
      stream(head);
    else
      by_files(head);
  }

 private:
  core::DumpHead choose() {
    const auto dumps = core::read_dumps(repository_.get(), 8, context_);
    for (auto entry = dumps.rbegin(); entry != dumps.rend(); ++entry) {
      if (!command_.dump.empty() && entry->label != command_.dump) continue;
      if (!command_.dump.empty() && !entry->problem.empty())
        throw Error(ErrorKind::corrupt, "dump " + entry->label + " is not readable: " + entry->problem);
      if (!entry->head || (!command_.database.empty() && entry->head->database != command_.database)) continue;
      const core::KnownDamage damage(repository_.get(), context_);
      if (const std::string problem = problem_of(*entry, damage); !problem.empty())
        fmt::print(stderr, "dbops undump: WARNING: dump {} is damaged: {}\n", entry->label, problem);
      return *entry->head;
    }
    throw Error(ErrorKind::configuration, "the store has no such dump", "\"dbops dumps\" shows what is there.");
  }

  [[nodiscard]] std::vector<std::string> words() const {
    std::vector<std::string> words{name_, "--exit-on-error", "--no-password"};
    add_connection(words, settings_);
    words.push_back("--dbname=" + *settings_.dbname);
    add_each(words, "--table", command_.tables);
    add_each(words, "--schema", command_.schemas);
    if (command_.clean) words.insert(words.end(), {"--clean", "--if-exists"});
    if (command_.create) words.emplace_back("--create");
    if (command_.data_only) words.emplace_back("--data-only");
    return words;
  }

  void must_succeed(int status) const {
    if (status != 0)
      throw Error(ErrorKind::io, fmt::format("\"{}\" ended with status {}", name_, status),
                  "Its own message is above." + std::string(all_or_nothing() ? " The database is as it was." : ""));
  }
  // CREATE DATABASE cannot be in a transaction, nor can several connections share one.
  [[nodiscard]] bool all_or_nothing() const { return !command_.create && command_.jobs == 1; }

  void stream(const core::DumpHead& head) {
    std::vector<std::string> all = words();
    if (all_or_nothing()) all.emplace_back("--single-transaction");
    Program pg_restore(all, Program::Pipe::input);
    const std::stop_callback end(context_.stop, [&pg_restore] { pg_restore.interrupt(); });
    try {
      core::read_dump_file(
          repository_.get(), head, head.files.front(), 2,
          [&](core::ByteView bytes) {
            stop_if_wanted(context_.stop);
            if (!pg_restore.write(bytes)) throw ReaderGone();
          },
          context_);
    } catch (const ReaderGone&) { // its status tells why
    }
    const int status = pg_restore.wait();
    stop_if_wanted(context_.stop);
    must_succeed(status);
  }

  void by_files(const core::DumpHead& head) {
    const ScratchDirectory scratch(command_.scratch);
    const fs::path place = scratch.path() / "dump";
    write_files(head, place);
    std::vector<std::string> all = words();
    if (all_or_nothing())
      all.emplace_back("--single-transaction");
    else
      all.push_back(fmt::format("--jobs={}", command_.jobs));
    all.push_back(place.string());
    Program pg_restore(all, Program::Pipe::none);
    const std::stop_callback end(context_.stop, [&pg_restore] { pg_restore.interrupt(); });
    const int status = pg_restore.wait();
    stop_if_wanted(context_.stop);
    must_succeed(status);
  }

  // As pg_dump had written them.
  void write_files(const core::DumpHead& head, const fs::path& place) {
    const bool directory = head.format == core::DumpFormat::directory;
    if (directory && !fs::create_directory(place))
      throw Error(ErrorKind::configuration, "\"" + place.string() + "\" is there already");
    for (const core::DumpFile& entry : head.files) {
      core::File file = core::File::open(directory ? place / entry.name : place, O_WRONLY | O_CREAT | O_EXCL, 0600);
      core::read_dump_file(
          repository_.get(), head, entry, 2,
          [&](core::ByteView bytes) {
            stop_if_wanted(context_.stop);
            file.write(bytes);
          },
          context_);
      file.sync();
      file.close();
    }
  }

  const UndumpCommand& command_;
  const ConnectionSettings& settings_;
  std::string name_;
  Repository repository_;
  core::CallContext context_;
};

// --- dumps -------------------------------------------------------------------------------------------------------

core::Table as_table(const std::vector<core::DumpEntry>& dumps, const core::KnownDamage& damage,
                     core::Charset charset) {
  core::Table table({{"dump"},
                     {"database"},
                     {"complete at"},
                     {"size", core::Align::right},
                     {"stored", core::Align::right},
                     {"format"},
                     {"state"},
                     {"label", core::Align::left, true}});
  for (const core::DumpEntry& entry : dumps) {
    const std::string state = state_of(entry, damage);
    if (!entry.head) {
      table.add_row({{entry.label},
                     {},
                     {},
                     {},
                     {},
                     {},
                     {state, entry.problem.empty() ? core::Style::plain : core::Style::bad},
                     {core::terminal_text(entry.problem, charset)}});
      continue;
    }
    const core::DumpHead& head = *entry.head;
    table.add_row({{entry.label, core::Style::strong},
                   {core::terminal_text(head.database, charset)},
                   {time_text(head.finished)},
                   {size_text(head.bytes)},
                   {size_text(head.stored_bytes)},
                   {std::string(core::to_string(head.format))},
                   {state, state == "ok" ? core::Style::good : core::Style::bad},
                   {core::terminal_text(state == "ok" ? head.user_label : problem_of(entry, damage), charset)}});
  }
  return table;
}

} // namespace

int run(const DumpCommand& command, const ConnectionSettings& settings) {
  try {
    Dump dump(command, settings, look_at(settings));
    std::optional<core::DumpHead> head;
    run_in_background([&](const std::stop_token& stop) { head = dump.run(stop); }, progress_interval(),
                      [&] { dump.show(); });
    if (command.json)
      write_to_standard_output(dumped(as_json(*head)) + "\n");
    else
      write_to_standard_output(
          fmt::format("{}: {}, {} stored\n", head->label, size_text(head->bytes), size_text(head->stored_bytes)));
    return exit_success;
  } catch (const Interrupted& signal) {
    fmt::print(stderr, "dbops dump: interrupted; no dump was made\n");
    return signal.exit_status();
  }
}

int run(const UndumpCommand& command, const ConnectionSettings& settings) {
  try {
    Undump undump(command, settings);
    run_in_background([&](const std::stop_token& stop) { undump.run(stop); }, std::chrono::seconds(3600), [] {});
    return exit_success;
  } catch (const Interrupted& signal) {
    fmt::print(stderr, "dbops undump: interrupted\n");
    return signal.exit_status();
  }
}

int run(const DumpsCommand& command) {
  const Repository repository(command.stores, {});
  const auto dumps = core::read_dumps(repository.get(), 8, {});
  const core::Pins pins = core::read_pins(repository.get(), core::Pinnable::dump, {});
  const core::KnownDamage damage(repository.get(), {});
  if (command.json) {
    std::string text = "[";
    for (const core::DumpEntry& entry : dumps) {
      Json object = {{"dump", entry.label}};
      if (entry.head) object = as_json(*entry.head);
      object["state"] = state_of(entry, damage);
      if (const std::string problem = problem_of(entry, damage); !problem.empty()) object["problem"] = problem;
      object["pinned"] = core::held_by(pins, entry.label, repository.get().clock.wall_now()).has_value();
      text.append(text.size() == 1 ? "\n" : ",\n").append(dumped(object));
    }
    write_to_standard_output(text + (dumps.empty() ? "]\n" : "\n]\n"));
    return exit_success;
  }
  const Terminal terminal = Terminal::of_standard_output();
  if (dumps.empty())
    fmt::print(stderr, "dbops: no dump in {}\n", repository.store().describe());
  else
    print(terminal, as_table(dumps, damage, terminal.data_charset()).lines(terminal.width(), terminal.charset));
  return exit_success;
}

} // namespace dbops::cli
