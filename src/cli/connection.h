// A connection by libpq's own conventions: PG* variables, service files, .pgpass; a name, a conninfo string or a URI.
#pragma once

#include "core/crypto/secret.h"

#include <libpq-fe.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace dbops::cli {

// What is absent comes from the environment, the service file or libpq's defaults.
struct ConnectionSettings {
  std::optional<std::string> dbname; // name, conninfo string or URI
  std::optional<std::string> host, port, user;
};

// There is no connection, or there is none any more.
class ConnectionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The server refused a statement; the connection is as good as before.
class SqlError : public std::runtime_error {
 public:
  SqlError(std::string sqlstate, const std::string& message, std::string detail, std::string hint)
      : std::runtime_error(message), sqlstate_(std::move(sqlstate)), detail_(std::move(detail)),
        hint_(std::move(hint)) {}
  [[nodiscard]] const std::string& sqlstate() const noexcept { return sqlstate_; }
  [[nodiscard]] const std::string& detail() const noexcept { return detail_; }
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }
  // The dbops objects are not in the database, or not as this command knows them.
  [[nodiscard]] bool lacks_extension() const;
  // The same statement may succeed in a moment: out of resources, cancelled, shutting down and so on.
  [[nodiscard]] bool is_transient() const;

 private:
  std::string sqlstate_, detail_, hint_;
};

using Parameter = std::optional<std::string>; // text; absent: NULL

class Result {
 public:
  explicit Result(PGresult* result) : result_(result) {}
  [[nodiscard]] int rows() const { return PQntuples(result_.get()); }
  [[nodiscard]] int columns() const { return PQnfields(result_.get()); }
  [[nodiscard]] std::string_view name(int column) const { return PQfname(result_.get(), column); }
  [[nodiscard]] Oid type(int column) const { return PQftype(result_.get(), column); }
  // Throws std::logic_error when the statement has no such column.
  [[nodiscard]] int column(const char* name) const;

  [[nodiscard]] bool is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) == 1; }
  // NULL is "", 0 or false; the optional forms tell it apart.
  [[nodiscard]] std::string text(int row, int column) const;
  [[nodiscard]] Parameter parameter(int row, int column) const {
    return is_null(row, column) ? std::nullopt : Parameter(text(row, column));
  }
  [[nodiscard]] std::int64_t integer(int row, int column) const { return maybe_integer(row, column).value_or(0); }
  [[nodiscard]] bool boolean(int row, int column) const { return text(row, column) == "t"; }
  [[nodiscard]] std::optional<std::int64_t> maybe_integer(int row, int column) const;
  [[nodiscard]] std::optional<double> maybe_real(int row, int column) const;

 private:
  friend class Connection;
  struct Clear {
    void operator()(PGresult* result) const { PQclear(result); }
  };
  std::unique_ptr<PGresult, Clear> result_;
};

class Connection {
 public:
  // Returns when the socket can be read; may throw to give up, after which the connection can only be destroyed.
  using WaitForInput = std::function<void(int socket)>;

  // Waits with poll(2) until told otherwise.
  void wait_with(WaitForInput wait);
  // For where a notice of the server would disturb what is on the screen.
  void ignore_notices();
  // Until the guard is gone, NOTICE, WARNING and INFO of the server are shown and added there, the first 100.
  class KeptNotices {
   public:
    KeptNotices(Connection& connection, std::vector<std::string>& where);
    ~KeptNotices();
    KeptNotices(const KeptNotices&) = delete;
    KeptNotices& operator=(const KeptNotices&) = delete;

   private:
    Connection& connection_;
  };

  // One statement, in a transaction of its own. Throws SqlError or ConnectionError.
  Result execute(const std::string& sql, const std::vector<Parameter>& parameters = {});

  // The text as it is, by the simple protocol: statements that must not be in a transaction block, and scripts.
  Result execute_simple(const std::string& sql);
  // Asks the server to cancel what it is executing; does not wait.
  void cancel() noexcept;

  // Reads what has arrived and forgets it; whether there was a notification. Throws ConnectionError.
  bool take_notifications();

  [[nodiscard]] int socket() const { return PQsocket(connection_.get()); }
  [[nodiscard]] std::string database() const { return PQdb(connection_.get()); }
  // As the server said when the session began: a pooler between says something else than pg_backend_pid().
  [[nodiscard]] int server_process() const { return PQbackendPID(connection_.get()); }
  // No pooler between. Asked of the server once.
  bool is_direct();

 private:
  friend class Connector;
  explicit Connection(PGconn* connection);
  void keep_notices(std::vector<std::string>* where); // null: only shown
  void take_input();
  Result take_result();

  struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  std::unique_ptr<PGconn, Finish> connection_;
  WaitForInput wait_;
  std::optional<bool> direct_;
};

// Connects, and connects again.
class Connector {
 public:
  explicit Connector(ConnectionSettings settings) : settings_(std::move(settings)) {}

  // Blocks. Asks for a password on the terminal when the server wants one that libpq has not found.
  // Throws ConnectionError, whose message is libpq's and names the server.
  Connection connect();
  // The same without asking: with the password that was given, if any.
  Connection reconnect();

 private:
  [[nodiscard]] Connection attempt() const;

  ConnectionSettings settings_;
  core::Secret password_;
};

} // namespace dbops::cli
