#include "core/http/curl_client.h"

#include "core/base/error.h"
#include "core/base/signal_mask.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <curl/curl.h>
#include <new>
#include <stdexcept>
#include <unistd.h>

namespace dbops::core {

namespace {

constexpr std::size_t max_idle_connections = 32;
constexpr long buffer_size = 512 << 10;
constexpr std::uint64_t max_reserved = 64 << 20; // bytes, on the word of a server alone
constexpr int max_wait_ms = 1000;                // between two looks at the exchange; the stop token wakes it at once

void initialise_curl() {
  static std::once_flag once; // libcurl's own process-wide state
  std::call_once(once, [] {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw std::runtime_error("libcurl could not be initialised");
  });
}

struct FreeList {
  void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

void add_line(HeaderList& list, const std::string& line) {
  curl_slist* const longer = curl_slist_append(list.get(), line.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  (void)list.release(); // it is the head of `longer` now, or was empty
  list.reset(longer);
}

HeaderList make_headers(const HttpRequest& request) {
  HeaderList list;
  for (const HttpHeader& header : request.headers)
    add_line(list, header.name + ": " + header.value);
  add_line(list, "Expect:"); // the pause for "100 Continue" costs more than it saves
  if (!request.body.empty() && std::ranges::none_of(request.headers, [](const HttpHeader& header) {
        return header.name == "Content-Type" || header.name == "content-type";
      }))
    add_line(list, "Content-Type:"); // or libcurl names a form, which is not what is sent
  return list;
}

// scheme, host and port: what a message may show of a URL.
std::string shown_url(const std::string& url) {
  const auto host = url.find("://");
  return url.substr(0, host == std::string::npos ? url.find_first_of("/?") : url.find_first_of("/?", host + 3));
}

// What the callbacks of one exchange write to.
struct Exchange {
  HttpResponse response;
  std::uint64_t max_response = 0;
  bool too_long = false;
};

// Of a Content-Length header: memory for just that, instead of for up to twice as much as a body grows.
std::optional<std::uint64_t> announced_length(std::string_view line) {
  constexpr std::string_view name = "content-length:";
  if (line.size() <= name.size() || !std::ranges::equal(line.substr(0, name.size()), name, {},
                                                        [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; }))
    return {};
  const auto digits = line.find_first_not_of(' ', name.size());
  std::uint64_t value = 0;
  if (digits == std::string_view::npos ||
      std::from_chars(line.data() + digits, line.data() + line.size(), value).ec != std::errc())
    return {};
  return value;
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) noexcept {
  try {
    Exchange& exchange = *static_cast<Exchange*>(user);
    HttpResponse& response = exchange.response;
    const std::string_view line(data, size);
    if (line.starts_with("HTTP/")) // of an interim answer before this one, too
      response.headers.clear();
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return size;
    const auto first = line.find_first_not_of(" \t", colon + 1);
    const auto last = line.find_last_not_of(" \t\r\n");
    const bool empty = first == std::string_view::npos || last < first;
    response.headers.push_back({std::string(line.substr(0, colon)),
                                empty ? std::string() : std::string(line.substr(first, last - first + 1))});
    if (const auto length = announced_length(line))
      response.body.reserve(std::min({*length, exchange.max_response, max_reserved}));
    return size;
  } catch (...) {
    return 0;
  }
}

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) noexcept {
  try {
    Exchange& exchange = *static_cast<Exchange*>(user);
    exchange.too_long = exchange.response.body.size() + size > exchange.max_response;
    if (exchange.too_long) return 0;
    append(exchange.response.body, as_bytes({data, size}));
    return size;
  } catch (...) {
    return 0;
  }
}

bool is_configuration_error(CURLcode code) {
  switch (code) {
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_URL_MALFORMAT:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CERTPROBLEM:
    return true;
  default:
    return false;
  }
}

} // namespace

// One easy handle in one multi handle: the multi handle keeps the connection and can be woken from another thread.
class CurlClient::Connection {
 public:
  Connection() : multi_(curl_multi_init()), easy_(curl_easy_init()) {
    if (!multi_ || !easy_) throw std::bad_alloc();
  }

  // Clears what the last exchange set; connections and name cache stay.
  void prepare(const HttpRequest& request, const HttpOptions& options, milliseconds timeout);
  CURLcode run(Exchange& exchange, const CallContext& context);
  [[nodiscard]] std::string failure(CURLcode code) const {
    return error_.front() == '\0' ? curl_easy_strerror(code) : error_.data();
  }

 private:
  template <class Value>
  void set(CURLoption option, Value value) {
    if (const CURLcode code = curl_easy_setopt(easy_.get(), option, value); code != CURLE_OK)
      throw std::runtime_error(std::string("libcurl refuses an option: ") + curl_easy_strerror(code));
  }
  void set_tls(const HttpOptions& options);
  CURLcode drive(const CallContext& context);

  struct FreeMulti {
    void operator()(CURLM* multi) const noexcept { curl_multi_cleanup(multi); }
  };
  struct FreeEasy {
    void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
  };
  std::unique_ptr<CURLM, FreeMulti> multi_;
  std::unique_ptr<CURL, FreeEasy> easy_;
  HeaderList headers_;
  std::array<char, CURL_ERROR_SIZE> error_{};
};

void CurlClient::Connection::set_tls(const HttpOptions& options) {
  set(CURLOPT_SSL_VERIFYPEER, long(options.verify_tls));
  set(CURLOPT_SSL_VERIFYHOST, options.verify_tls ? 2L : 0L);
  set(CURLOPT_SSLVERSION, long(CURL_SSLVERSION_TLSv1_2));
  if (options.ca_file.empty()) return;
  set(CURLOPT_CAINFO, options.ca_file.c_str());
  set(CURLOPT_CAPATH, static_cast<const char*>(nullptr)); // or the system's authorities would be trusted as well
}

void CurlClient::Connection::prepare(const HttpRequest& request, const HttpOptions& options, milliseconds timeout) {
  curl_easy_reset(easy_.get());
  error_.front() = '\0';
  headers_ = make_headers(request);
  set(CURLOPT_ERRORBUFFER, error_.data());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, long(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  set(CURLOPT_HTTPHEADER, headers_.get());
  if (request.method == "HEAD") set(CURLOPT_NOBODY, 1L);
  if (request.method == "PUT" || request.method == "POST") {
    set(CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(request.body.size()));
    set(CURLOPT_POSTFIELDS, request.body.empty() ? "" : reinterpret_cast<const char*>(request.body.data()));
  }
  if (!options.use_proxy) set(CURLOPT_NOPROXY, "*");
  set_tls(options);
  set(CURLOPT_CONNECTTIMEOUT_MS, long(options.connect_timeout.count()));
  set(CURLOPT_TIMEOUT_MS, long(timeout.count()));
  set(CURLOPT_LOW_SPEED_LIMIT, options.low_speed_bytes);
  set(CURLOPT_LOW_SPEED_TIME, long(options.low_speed_time.count()));
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_BUFFERSIZE, buffer_size);
  set(CURLOPT_UPLOAD_BUFFERSIZE, buffer_size);
}

CURLcode CurlClient::Connection::run(Exchange& exchange, const CallContext& context) {
  set(CURLOPT_HEADERFUNCTION, &on_header);
  set(CURLOPT_HEADERDATA, &exchange);
  set(CURLOPT_WRITEFUNCTION, &on_body);
  set(CURLOPT_WRITEDATA, &exchange);
  if (curl_multi_add_handle(multi_.get(), easy_.get()) != CURLM_OK)
    throw std::runtime_error("libcurl refuses a request");
  const CURLcode code = drive(context);
  curl_multi_remove_handle(multi_.get(), easy_.get());
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  exchange.response.status = int(status);
  return code;
}

CURLcode CurlClient::Connection::drive(const CallContext& context) {
  const std::stop_callback wake(context.stop, [this] { curl_multi_wakeup(multi_.get()); });
  for (int running = 1; running > 0;) {
    CURLMcode state = CURLM_OK;
    {
      const BlockAllSignals inherited_by_resolver_threads;
      state = curl_multi_perform(multi_.get(), &running);
    }
    if (state == CURLM_OK && running > 0) state = curl_multi_poll(multi_.get(), nullptr, 0, max_wait_ms, nullptr);
    if (state != CURLM_OK) throw std::runtime_error(std::string("libcurl: ") + curl_multi_strerror(state));
    if (context.stop.stop_requested()) return CURLE_ABORTED_BY_CALLBACK;
  }
  int left = 0;
  const CURLMsg* const message = curl_multi_info_read(multi_.get(), &left);
  return message == nullptr ? CURLE_RECV_ERROR : message->data.result;
}

CurlClient::CurlClient(HttpOptions options, const Clock& clock) : options_(std::move(options)), clock_(clock) {
  initialise_curl();
  if (!options_.ca_file.empty() && ::access(options_.ca_file.c_str(), R_OK) != 0)
    throw Error(ErrorKind::configuration, "certificate file \"" + options_.ca_file + "\" is not readable");
}

CurlClient::~CurlClient() = default;

std::unique_ptr<CurlClient::Connection> CurlClient::take_connection() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
  }
  return std::make_unique<Connection>();
}

void CurlClient::give_back(std::unique_ptr<Connection> connection) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < max_idle_connections) idle_.push_back(std::move(connection));
}

HttpResponse CurlClient::perform(const HttpRequest& request, const CallContext& context) {
  using std::chrono::duration_cast;
  milliseconds timeout = request.timeout;
  if (context.deadline)
    timeout = std::min(timeout, duration_cast<milliseconds>(*context.deadline - clock_.steady_now()));
  if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "cancelled");
  const std::string where = request.method + " " + shown_url(request.url);
  if (timeout <= milliseconds(0)) throw TransientError(where + ": no time left");
  auto connection = take_connection();
  connection->prepare(request, options_, timeout);
  Exchange exchange{.response = {}, .max_response = request.max_response, .too_long = false};
  const CURLcode code = connection->run(exchange, context);
  if (context.stop.stop_requested() && code != CURLE_OK) throw Error(ErrorKind::cancelled, "cancelled");
  if (exchange.too_long)
    throw Error(ErrorKind::corrupt, where + ": the answer is longer than the " + std::to_string(request.max_response) +
                                        " bytes that were asked for");
  if (is_configuration_error(code)) throw Error(ErrorKind::configuration, where + ": " + connection->failure(code));
  if (code != CURLE_OK) throw TransientError(where + ": " + connection->failure(code));
  give_back(std::move(connection));
  return std::move(exchange.response);
}

} // namespace dbops::core
