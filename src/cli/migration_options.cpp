#include "cli/migration_options.h"

#include <charconv>

namespace dbops::cli {

namespace {

namespace migrate = core::migrate;

struct Words {
  MigrationAction action;
  const char* name;
  const char* description;
  const char* footer;
};

constexpr std::array<Words, 8> words{{
    {MigrationAction::migrate, "migrate", "Apply the migrations that are pending",
     "Files: V1.2__Add_users.sql once, in the order of their versions; R__Views.sql whenever it has changed, after "
     "them;\n"
     "B7__All.sql instead of all up to 7 in an empty history; beforeMigrate__x.sql and its like around them.\n\n"
     "Each migration and its record are one transaction. Statements that cannot be in one (CREATE INDEX CONCURRENTLY)\n"
     "are executed one by one; after a crash the next call goes on behind the last one.\n\n"
     "Exit status: 0 when all is applied, 1 when a migration failed or files and history do not agree, 2 for wrong "
     "usage,\n"
     "files that cannot be read, or no connection."},
    {MigrationAction::info, "info", "List migrations, applied and pending", ""},
    {MigrationAction::validate, "validate", "Check that files and history agree",
     "Exit status: 0 when they do, 1 when they do not, 2 for wrong usage, files that cannot be read, or no "
     "connection."},
    {MigrationAction::undo, "undo", "Take the last migration back, by its file U1.2__x.sql",
     "With --target VERSION, all down to that version, and that one too."},
    {MigrationAction::repair, "repair", "Make the history agree with the files",
     "Removes migrations that are applied in part, marks those without a file as deleted, takes over checksums and\n"
     "descriptions of the files. Changes nothing but the history."},
    {MigrationAction::baseline, "baseline", "Say that a database has everything up to a version", ""},
    {MigrationAction::adopt, "adopt", "Take over the history that Flyway, Liquibase, Alembic or sqitch has written",
     "Holds that tool's own lock meanwhile, and leaves its tables as they are. Each file that Flyway has applied is "
     "compared\n"
     "with its checksum; what cannot be is said."},
    {MigrationAction::diff, "diff", "Say what was changed in the schema outside of migrations",
     "Compares with what the schema was when dbops migrate has last applied something.\n"
     "Exit status: 0 when nothing is different, 1 when something is, 2 for wrong usage or no connection."},
}};

std::string check_version(const std::string& text) {
  return migrate::Version::parse(text) ? "" : "\"" + text + "\" is not a version";
}

std::string check_target(const std::string& text) {
  return migrate::Target::parse(text) ? "" : "\"" + text + "\" is not a version, nor latest, current or next";
}

std::string check_pattern(const std::string& text) {
  return migrate::IgnorePattern::parse(text) ? ""
                                             : "\"" + text + "\" is not a pattern like *:missing or repeatable:pending";
}

std::string check_placeholder(const std::string& text) {
  return text.find('=') != std::string::npos && text.find('=') > 0 ? "" : "\"" + text + "\" is not NAME=VALUE";
}

std::string check_tool(const std::string& text) {
  return text == "flyway" || text == "liquibase" || text == "alembic" || text == "sqitch"
             ? ""
             : "\"" + text + "\" is none of flyway, liquibase, alembic, sqitch";
}

std::string check_seconds(const std::string& text) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool valid = error == std::errc() && end == text.data() + text.size() && seconds >= 0.001 && seconds <= 86400;
  return valid ? "" : "\"" + text + "\" is not a number of seconds from 0.001 to 86400";
}

std::string check_seconds_or_none(const std::string& text) {
  return text == "0" ? "" : check_seconds(text);
}

std::string check_count(const std::string& text) {
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const bool valid = error == std::errc() && end == text.data() + text.size() && count >= 0 && count <= 100000;
  return valid ? "" : "\"" + text + "\" is not a number of tries";
}

void add_file_options(CLI::App& app, MigrationCommand& command, std::vector<std::string>& placeholders) {
  FileSettings& files = command.files;
  migrate::Naming& naming = files.naming;
  const auto group = [](CLI::Option* option) { return option->group("File options"); };
  group(app.add_option("--dir", files.directories,
                       "directory of migrations, with those below it; several times for more; default migrations"))
      ->type_name("PATH")
      ->allow_extra_args(false);
  group(app.add_option("--placeholder", placeholders, "value for ${NAME}; several times for more"))
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->check(check_placeholder);
  group(app.add_flag("!--no-placeholders", files.replace_placeholders, "leave ${NAME} as it is"));
  group(app.add_flag("--validate-naming", files.validate_naming, "files with other names are an error"));
  group(app.add_option("--versioned-prefix", naming.versioned, "default V"))->type_name("TEXT");
  group(app.add_option("--undo-prefix", naming.undo, "default U"))->type_name("TEXT");
  group(app.add_option("--repeatable-prefix", naming.repeatable, "default R"))->type_name("TEXT");
  group(app.add_option("--baseline-prefix", naming.baseline, "default B"))->type_name("TEXT");
  group(app.add_option("--separator", naming.separator, "default __"))->type_name("TEXT");
  group(app.add_option("--suffix", naming.suffixes, "default .sql; several times for more"))
      ->type_name("TEXT")
      ->allow_extra_args(false);
}

void add_plan_options(CLI::App& app, MigrationCommand& command) {
  app.add_option("--target", command.target,
                 "last version, or latest, current, next; later ones stay as they are. VERSION? need not be that of a "
                 "migration")
      ->type_name("VERSION")
      ->check(check_target);
  app.add_flag("--out-of-order", command.out_of_order, "apply versions below the highest applied one too");
  app.add_option("--ignore", command.ignore, "differences to let pass, *:missing,repeatable:pending; default *:future")
      ->type_name("TYPE:STATUS")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(check_pattern);
}

void add_running_options(CLI::App& app, MigrationCommand& command) {
  app.add_flag("--dry-run", command.dry_run, "print the SQL, do nothing");
  app.add_option("--lock-timeout", command.lock_timeout, "how long a statement waits for a lock; default 2")
      ->type_name("SECONDS")
      ->check(check_seconds);
  app.add_option("--lock-retries", command.lock_retries, "further tries after a lock was not to be had; default 10")
      ->type_name("COUNT")
      ->check(check_count);
  app.add_option("--wait-for-transactions", command.wait_for_transactions,
                 "for long transactions that hold what it has to lock, then tries all the same; default 300")
      ->type_name("SECONDS")
      ->check(check_seconds_or_none);
  app.add_option("--max-blocking", command.max_blocking,
                 "cancels a migration that others have had to wait for so long; default 5, 0: any time")
      ->type_name("SECONDS")
      ->check(check_seconds_or_none);
  app.add_option("--wait", command.wait, "for another runner; default 300")->type_name("SECONDS")->check(check_seconds);
}

void add_lint_options(CLI::App& app, MigrationCommand& command) {
  app.add_flag("!--no-validate", command.validate, "do not compare files and history first");
  app.add_flag("!--no-lint", command.lint, "do not look for what is dangerous first");
}

} // namespace

MigrationOptions::MigrationOptions(CLI::App& app, std::function<void(const MigrationCommand&)> chosen,
                                   const std::function<void(const LintCommand&)>& lint_chosen) {
  add_lint(app, lint_chosen);
  for (std::size_t i = 0; i < words.size(); ++i) {
    MigrationCommand& command = commands_[i];
    command.action = words[i].action;
    CLI::App* sub = app.add_subcommand(words[i].name, words[i].description);
    sub->add_option("--project", command.project, "name of the history; default \"default\"")->type_name("NAME");
    sub->add_flag("--json", command.json, "JSON, with the keys of Flyway");
    if (command.action == MigrationAction::baseline) {
      sub->add_option("--baseline-version", command.version, "default 1")->type_name("VERSION")->check(check_version);
      sub->add_option("--baseline-description", command.description, "default \"<< dbops Baseline >>\"")
          ->type_name("TEXT");
      command.files.may_be_missing = true; // they are for its callbacks alone
      add_file_options(*sub, command, placeholders_[i]);
    } else if (command.action == MigrationAction::diff) {
      // no more than the project
    } else if (command.action == MigrationAction::adopt) {
      sub->add_option("--from", command.from, "flyway, liquibase, alembic or sqitch; default: whose table is found")
          ->type_name("TOOL")
          ->check(check_tool);
      sub->add_option("--table", command.table, "its history, where it is not under its usual name")->type_name("NAME");
      add_file_options(*sub, command, placeholders_[i]);
    } else {
      add_plan_options(*sub, command);
      add_file_options(*sub, command, placeholders_[i]);
    }
    if (command.action == MigrationAction::migrate || command.action == MigrationAction::undo)
      add_running_options(*sub, command);
    if (command.action == MigrationAction::migrate) add_lint_options(*sub, command);
    sub->footer(words[i].footer);
    sub->final_callback([this, i, chosen] {
      for (const std::string& text : placeholders_[i])
        commands_[i].files.placeholders[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
      chosen(commands_[i]);
    });
  }
}

void MigrationOptions::add_lint(CLI::App& app, const std::function<void(const LintCommand&)>& chosen) {
  CLI::App* lint = app.add_subcommand("lint", "Say what is dangerous in SQL files, against the live catalog");
  lint->add_option("FILE", lint_.files, "SQL files; - is standard input")->type_name("")->required();
  lint->add_option("--format", lint_format_, "text, json, sarif or github; default text")
      ->type_name("FORMAT")
      ->check([](const std::string& text) {
        return text == "text" || text == "json" || text == "sarif" || text == "github"
                   ? std::string()
                   : "\"" + text + "\" is no format";
      });
  lint->add_flag_callback(
      "--json", [this] { lint_format_ = "json"; }, "like --format json");
  lint->add_option("--fail-on", lint_.fail_on,
                   "least severity that makes the exit status 1: error, warning, notice or never; default error")
      ->type_name("SEVERITY")
      ->check([](const std::string& text) {
        return text == "error" || text == "warning" || text == "notice" || text == "never"
                   ? std::string()
                   : "\"" + text + "\" is no severity";
      });
  lint->add_option("--small-table", lint_.options.small_table, "tables below this give notices alone; default 1048576")
      ->type_name("BYTES");
  lint->add_flag("--qualified", lint_.options.qualified, "find names of tables without a schema");
  lint->add_option("--name-pattern", lint_.options.name_pattern,
                   "find new names that do not match a regular expression")
      ->type_name("REGEX");
  lint->footer("Exit status: 0 when nothing that severe was found, 1 when something was, 2 for wrong usage, files that "
               "cannot be\n"
               "read, or no connection. -- dbops: ignore RULE REASON before a statement lets a finding pass.");
  lint->final_callback([this, chosen] {
    lint_.format = lint_format_ == "json"     ? LintFormat::json
                   : lint_format_ == "sarif"  ? LintFormat::sarif
                   : lint_format_ == "github" ? LintFormat::github
                                              : LintFormat::text;
    chosen(lint_);
  });
}

} // namespace dbops::cli
