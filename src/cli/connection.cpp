#include "cli/connection.h"

#include "cli/password.h"

#include <poll.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <system_error>

namespace dbops::cli {

namespace {

std::string field(const PGresult* result, int code) {
  const char* value = PQresultErrorField(result, code);
  return value == nullptr ? std::string() : std::string(value);
}

// libpq's messages end in a newline, and have several lines when there are hints or several hosts.
std::string one_line(std::string_view message) {
  std::string result;
  for (const char character : message) {
    const bool blank = character == '\n' || character == '\t' || character == ' ';
    if (!blank)
      result += character;
    else if (!result.empty() && result.back() != ' ')
      result += ' ';
  }
  if (result.ends_with(' ')) result.pop_back();
  return result;
}

void wait_with_poll(int socket) {
  pollfd descriptor{.fd = socket, .events = POLLIN, .revents = 0};
  while (poll(&descriptor, 1, -1) < 0)
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "poll");
}

template <class Number>
std::optional<Number> number(const std::optional<std::string>& text) {
  Number value{};
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

bool in_class(const std::string& sqlstate, std::string_view code) {
  return sqlstate.starts_with(code);
}

} // namespace

bool SqlError::lacks_extension() const {
  // invalid_schema_name, undefined_table, undefined_function, undefined_column
  return sqlstate_ == "3F000" || sqlstate_ == "42P01" || sqlstate_ == "42883" || sqlstate_ == "42703";
}

bool SqlError::is_transient() const {
  // connection, rollback, out of resources, lock not available, operator intervention, system error
  for (const char* code : {"08", "40", "53", "55P03", "57", "58"})
    if (in_class(sqlstate_, code)) return true;
  return false;
}

int Result::column(const char* name) const {
  const int found = PQfnumber(result_.get(), name);
  if (found < 0) throw std::logic_error(std::string("no column ") + name + " in the result");
  return found;
}

std::string Result::text(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column), static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

std::optional<std::int64_t> Result::maybe_integer(int row, int column) const {
  return is_null(row, column) ? std::nullopt : number<std::int64_t>(text(row, column));
}

std::optional<double> Result::maybe_real(int row, int column) const {
  return is_null(row, column) ? std::nullopt : number<double>(text(row, column));
}

Connection::Connection(PGconn* connection) : connection_(connection), wait_(wait_with_poll) {}

void Connection::ignore_notices() {
  PQsetNoticeReceiver(
      connection_.get(), [](void*, const PGresult*) {}, nullptr);
}

Connection::KeptNotices::KeptNotices(Connection& connection, std::vector<std::string>& where)
    : connection_(connection) {
  connection_.keep_notices(&where);
}

Connection::KeptNotices::~KeptNotices() {
  connection_.keep_notices(nullptr);
}

bool Connection::is_direct() {
  if (!direct_) direct_ = execute("SELECT pg_catalog.pg_backend_pid()").integer(0, 0) == server_process();
  return *direct_;
}

void Connection::keep_notices(std::vector<std::string>* where) {
  PQsetNoticeReceiver(
      connection_.get(),
      [](void* kept, const PGresult* result) {
        constexpr std::size_t most = 100;
        std::fputs(PQresultErrorMessage(result), stderr);
        auto* messages = static_cast<std::vector<std::string>*>(kept);
        const std::string severity = field(result, PG_DIAG_SEVERITY_NONLOCALIZED);
        if (messages != nullptr && messages->size() < most &&
            (severity == "NOTICE" || severity == "WARNING" || severity == "INFO"))
          messages->push_back(severity + ": " + field(result, PG_DIAG_MESSAGE_PRIMARY));
      },
      where);
}

void Connection::take_input() {
  if (PQconsumeInput(connection_.get()) == 0) throw ConnectionError(one_line(PQerrorMessage(connection_.get())));
}

Result Connection::execute(const std::string& sql, const std::vector<Parameter>& parameters) {
  std::vector<const char*> values;
  values.reserve(parameters.size());
  for (const Parameter& parameter : parameters)
    values.push_back(parameter ? parameter->c_str() : nullptr);
  PGconn* connection = connection_.get();
  if (PQsendQueryParams(connection, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr,
                        nullptr, 0) == 0)
    throw ConnectionError(one_line(PQerrorMessage(connection)));
  return take_result();
}

Result Connection::execute_simple(const std::string& sql) {
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0)
    throw ConnectionError(one_line(PQerrorMessage(connection_.get())));
  return take_result();
}

void Connection::cancel() noexcept {
  struct Free {
    void operator()(PGcancel* cancel) const { PQfreeCancel(cancel); }
  };
  const std::unique_ptr<PGcancel, Free> request(PQgetCancel(connection_.get()));
  std::array<char, 256> error{};
  if (request) PQcancel(request.get(), error.data(), error.size());
}

void Connection::wait_with(WaitForInput wait) {
  wait_ = wait ? std::move(wait) : wait_with_poll;
}

Result Connection::take_result() {
  PGconn* connection = connection_.get();
  Result last(nullptr);
  for (;;) {
    while (PQisBusy(connection) == 1) {
      wait_(socket());
      take_input();
    }
    Result next(PQgetResult(connection));
    if (next.result_ == nullptr) break;
    last = std::move(next);
  }
  const PGresult* result = last.result_.get();
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return last;
  const std::string message = field(result, PG_DIAG_MESSAGE_PRIMARY);
  const std::string severity = field(result, PG_DIAG_SEVERITY_NONLOCALIZED);
  if (PQstatus(connection) == CONNECTION_BAD || severity == "FATAL" || severity == "PANIC" || message.empty())
    throw ConnectionError(one_line(message.empty() ? PQerrorMessage(connection) : message));
  throw SqlError(field(result, PG_DIAG_SQLSTATE), message, field(result, PG_DIAG_MESSAGE_DETAIL),
                 field(result, PG_DIAG_MESSAGE_HINT));
}

bool Connection::take_notifications() {
  struct Free {
    void operator()(PGnotify* notify) const { PQfreemem(notify); }
  };
  take_input();
  bool any = false;
  while (std::unique_ptr<PGnotify, Free>(PQnotifies(connection_.get())) != nullptr)
    any = true;
  return any;
}

Connection Connector::attempt() const {
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  const auto add = [&](const char* keyword, const char* value) {
    keywords.push_back(keyword);
    values.push_back(value);
  };
  const auto add_given = [&](const char* keyword, const std::optional<std::string>& value) {
    if (value) add(keyword, value->c_str());
  };
  // What stands later wins, so that a conninfo string may say otherwise. Without these a server whose machine is gone
  // would be noticed after two hours.
  add("keepalives_idle", "30");
  add("keepalives_interval", "10");
  add("keepalives_count", "3");
  add_given("host", settings_.host);
  add_given("port", settings_.port);
  add_given("user", settings_.user);
  if (!password_.empty()) add("password", password_.reveal().c_str());
  add_given("dbname", settings_.dbname);
  add("fallback_application_name", "dbops");
  add("client_encoding", "UTF8");
  add(nullptr, nullptr);
  Connection connection(PQconnectdbParams(keywords.data(), values.data(), 1));
  PGconn* handle = connection.connection_.get();
  if (handle == nullptr) throw std::bad_alloc();
  // Such a database has bytes of no known encoding, and the server refuses to give those as UTF-8.
  const char* encoding = PQstatus(handle) == CONNECTION_OK ? PQparameterStatus(handle, "server_encoding") : nullptr;
  if (encoding != nullptr && std::strcmp(encoding, "SQL_ASCII") == 0) PQsetClientEncoding(handle, "SQL_ASCII");
  return connection;
}

Connection Connector::connect() {
  Connection connection = attempt();
  PGconn* handle = connection.connection_.get();
  if (PQstatus(handle) == CONNECTION_OK) return connection;
  if (PQconnectionNeedsPassword(handle) == 1 && password_.empty()) {
    std::optional<core::Secret> password = ask_password(std::string("Password for user ") + PQuser(handle) + ": ");
    if (password) {
      password_ = *std::move(password);
      return reconnect();
    }
  }
  throw ConnectionError(one_line(PQerrorMessage(handle)));
}

Connection Connector::reconnect() {
  Connection connection = attempt();
  PGconn* handle = connection.connection_.get();
  if (PQstatus(handle) != CONNECTION_OK) throw ConnectionError(one_line(PQerrorMessage(handle)));
  return connection;
}

} // namespace dbops::cli
