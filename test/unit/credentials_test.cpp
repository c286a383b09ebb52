#include "core/store/credentials.h"

#include "core/base/error.h"
#include "core/http/curl_client.h"
#include "fake_time_and_random.h"
#include "loopback_server.h"
#include "temporary_directory.h"

#include <fstream>
#include <gtest/gtest.h>
#include <map>

namespace dbops::core {
namespace {

using namespace std::chrono_literals;

class CredentialChain : public testing::Test {
 protected:
  CredentialChain() : http_({.use_proxy = false, .connect_timeout = milliseconds(500)}, system_) {
    environment_["AWS_EC2_METADATA_DISABLED"] = "true";
  }
  CredentialsChain chain() {
    return {default_credentials_sources({.file = file_,
                                         .environment = [this](const std::string& name) -> std::optional<std::string> {
                                           const auto found = environment_.find(name);
                                           return found == environment_.end() ? std::nullopt
                                                                              : std::optional(found->second);
                                         },
                                         .region = "eu-central-1",
                                         .internet = &http_,
                                         .metadata = &http_,
                                         .clock = &clock_}),
            clock_};
  }
  std::string write(const char* name, const std::string& text) {
    const auto path = directory_.path() / name;
    std::ofstream(path) << text;
    std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    return path.string();
  }
  std::string document(const std::string& key, std::chrono::minutes lifetime) {
    const auto end = clock_.wall_now() + lifetime;
    std::string time = iso8601_basic(end); // 20261121T100000Z
    time = time.substr(0, 4) + "-" + time.substr(4, 2) + "-" + time.substr(6, 5) + ":" + time.substr(11, 2) + ":" +
           time.substr(13);
    return R"({"Code": "Success", "AccessKeyId": ")" + key + R"(", "SecretAccessKey": "s3cret", "Token": "t",)" +
           R"("Expiration": ")" + time + R"("})";
  }

  SystemClock system_;
  FakeClock clock_;
  TemporaryDirectory directory_;
  std::map<std::string, std::string> environment_;
  std::filesystem::path file_;
  CurlClient http_;
};

TEST_F(CredentialChain, NothingIsThere) {
  try {
    chain().get({});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::access_denied);
    EXPECT_NE(std::string(error.what()).find("environment, web identity, container metadata, instance metadata"),
              std::string::npos);
  }
}

TEST_F(CredentialChain, TheFileComesBeforeTheEnvironment) {
  environment_ = {{"AWS_ACCESS_KEY_ID", "env"}, {"AWS_SECRET_ACCESS_KEY", "x"}, {"AWS_SESSION_TOKEN", "tok"}};
  EXPECT_EQ(chain().get({}).access_key_id, "env");
  EXPECT_EQ(chain().get({}).session_token.reveal(), "tok");
  file_ = write("c", "[default]\naws_access_key_id = file\naws_secret_access_key = y\n");
  EXPECT_EQ(chain().get({}).access_key_id, "file");
}

TEST_F(CredentialChain, AFileThatIsSetMustWork) {
  environment_ = {{"AWS_ACCESS_KEY_ID", "env"}, {"AWS_SECRET_ACCESS_KEY", "x"}};
  file_ = directory_.path() / "missing";
  EXPECT_THROW(chain().get({}), Error);
  file_ = write("c", "[other]\naws_access_key_id = file\naws_secret_access_key = y\n");
  EXPECT_THROW(chain().get({}), Error);
  environment_["AWS_PROFILE"] = "other";
  EXPECT_EQ(chain().get({}).access_key_id, "file");
  std::filesystem::permissions(file_, std::filesystem::perms::others_read, std::filesystem::perm_options::add);
  EXPECT_THROW(chain().get({}), Error);
}

TEST_F(CredentialChain, AChangedFileIsTakenUp) {
  file_ = write("c", "[default]\naws_access_key_id = one\naws_secret_access_key = y\n");
  CredentialsChain credentials = chain();
  EXPECT_EQ(credentials.get({}).access_key_id, "one");
  write("c", "[default]\naws_access_key_id = two\naws_secret_access_key = y\n");
  EXPECT_EQ(credentials.get({}).access_key_id, "one");
  clock_.advance(6min);
  EXPECT_EQ(credentials.get({}).access_key_id, "two");
}

TEST_F(CredentialChain, WebIdentity) {
  LoopbackServer sts([&](const std::string&) {
    return LoopbackServer::answer(
        200, "<AssumeRoleWithWebIdentityResponse xmlns=\"x\"><AssumeRoleWithWebIdentityResult><Credentials>"
             "<AccessKeyId>web</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
             "<Expiration>2026-11-21T11:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
             "</AssumeRoleWithWebIdentityResponse>");
  });
  environment_["AWS_WEB_IDENTITY_TOKEN_FILE"] = write("token", "a/b+c\n");
  environment_["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/r";
  environment_["AWS_ENDPOINT_URL_STS"] = sts.url();
  const Credentials credentials = chain().get({});
  EXPECT_EQ(credentials.access_key_id, "web");
  EXPECT_EQ(credentials.session_token.reveal(), "t");
  const std::string request = sts.requests().at(0);
  EXPECT_TRUE(request.starts_with("POST / HTTP/1.1")) << request; // the token is not in the URL
  EXPECT_NE(request.find("WebIdentityToken=a%2Fb%2Bc"), std::string::npos) << request;
}

TEST_F(CredentialChain, Container) {
  LoopbackServer server([&](const std::string&) { return LoopbackServer::answer(200, document("box", 60min)); });
  environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server.url() + "/v1";
  environment_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = write("token", "secret-token\n");
  EXPECT_EQ(chain().get({}).access_key_id, "box");
  EXPECT_NE(server.requests().at(0).find("Authorization: secret-token\r\n"), std::string::npos);
  for (const char* elsewhere : {"http://example.com/v1", "http://127.0.0.1.example.com/", "http://localhostx/"}) {
    environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = elsewhere;
    EXPECT_THROW(chain().get({}), Error) << elsewhere;
  }
}

class Instance : public CredentialChain {
 protected:
  Instance()
      : server_([this](const std::string& request) {
          if (broken_) return LoopbackServer::answer(500, "oops");
          if (token_status_ != 200 && request.starts_with("PUT ")) return LoopbackServer::answer(token_status_, "");
          if (cut_short_ > 0) {
            --cut_short_;
            return std::string("HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 100\r\n\r\n");
          }
          if (request.starts_with("PUT /latest/api/token ") &&
              request.find("X-aws-ec2-metadata-token-ttl-seconds: ") != std::string::npos)
            return LoopbackServer::answer(200, "session");
          if (request.find("X-aws-ec2-metadata-token: session\r\n") == std::string::npos)
            return LoopbackServer::answer(401, "");
          if (request.starts_with("GET /latest/meta-data/iam/security-credentials/ "))
            return LoopbackServer::answer(200, "my-role\n");
          if (request.starts_with("GET /latest/meta-data/iam/security-credentials/my-role "))
            return LoopbackServer::answer(200, document("key" + std::to_string(++issued_), 60min));
          return LoopbackServer::answer(404, "");
        }) {
    environment_ = {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", server_.url()}};
  }
  std::atomic<bool> broken_ = false;
  std::atomic<int> token_status_ = 200, cut_short_ = 0;
  std::atomic<int> issued_ = 0;
  LoopbackServer server_;
};

TEST_F(Instance, RoleByVersionTwo) {
  EXPECT_EQ(chain().get({}).access_key_id, "key1");
}

// Credentials that are there in a moment must not look like a permission that is missing.
TEST_F(Instance, AServiceThatStumblesIsAskedAgain) {
  CredentialsChain credentials = chain();
  for (const int status : {503, 500, 429}) {
    token_status_ = status;
    EXPECT_THROW(credentials.get({}), TransientError) << status;
  }
  token_status_ = 200;
  cut_short_ = 2;
  EXPECT_EQ(credentials.get({}).access_key_id, "key1");
}

// Whoever sets one up is to wait for it: a server and its network may come up later.
TEST_F(CredentialChain, AServiceThatIsSetUpAndDoesNotAnswerIsAnOutage) {
  std::string nobody;
  {
    LoopbackServer server([](const std::string&) { return LoopbackServer::answer(200, ""); });
    nobody = server.url();
  }
  for (const char* variable : {"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}) {
    environment_ = {{variable, nobody}};
    EXPECT_THROW(chain().get({}), TransientError) << variable;
  }
}

TEST_F(Instance, RenewedFiveMinutesBeforeTheyExpire) {
  CredentialsChain credentials = chain();
  credentials.get({});
  clock_.advance(54min);
  EXPECT_EQ(credentials.get({}).access_key_id, "key1");
  clock_.advance(2min);
  EXPECT_EQ(credentials.get({}).access_key_id, "key2");
}

TEST_F(Instance, TheOldOnesServeWhileTheServiceIsDown) {
  CredentialsChain credentials = chain();
  credentials.get({});
  broken_ = true;
  clock_.advance(57min);
  EXPECT_EQ(credentials.get({}).access_key_id, "key1");
  const auto asked = server_.requests().size();
  EXPECT_EQ(credentials.get({}).access_key_id, "key1"); // and it is not asked each time
  EXPECT_EQ(server_.requests().size(), asked);
  clock_.advance(4min);
  EXPECT_THROW(credentials.get({}), TransientError);
  broken_ = false;
  EXPECT_EQ(credentials.get({}).access_key_id, "key2");
}

TEST_F(Instance, InvalidatedOnesAreFetchedAgain) {
  CredentialsChain credentials = chain();
  credentials.get({});
  EXPECT_TRUE(credentials.invalidate());
  EXPECT_EQ(credentials.get({}).access_key_id, "key2");
}

TEST(AwsProfile, Formats) {
  const auto profile = parse_aws_profile("# c\n\n[a]\naws_access_key_id=1\n[ b ]\r\naws_access_key_id = 2\r\n"
                                         "aws_secret_access_key = x=y/+z\r\nregion = r\n; d\naws_session_token = t\n",
                                         "b");
  ASSERT_TRUE(profile);
  EXPECT_EQ(profile->access_key_id, "2");
  EXPECT_EQ(profile->secret_access_key.reveal(), "x=y/+z");
  EXPECT_EQ(profile->session_token.reveal(), "t");
  EXPECT_FALSE(parse_aws_profile("[a]\n", "b"));
  EXPECT_FALSE(parse_aws_profile("", "b"));
  EXPECT_THROW(parse_aws_profile("[b]\naws_access_key_id = 2\n", "b"), Error);
}

TEST(AwsProfile, ErrorsDoNotQuoteTheFile) {
  try {
    parse_aws_profile("[default]\naws_secret_access_key SuperSecret\n", "default");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("SuperSecret"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("line 2"), std::string::npos);
  }
}

} // namespace
} // namespace dbops::core
