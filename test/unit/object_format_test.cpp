#include "core/wal/object_format.h"

#include "core/base/error.h"
#include "fake_time_and_random.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

constexpr const char* keys_text =
    "# keys\r\n old = 1111111111111111111111111111111111111111111111111111111111111111\n"
    "new=2222222222222222222222222222222222222222222222222222222222222222\ncurrent = new\n";

struct Form {
  const char* name;
  Codec codec;
  bool encrypted;
};

class ObjectFormat : public testing::TestWithParam<Form> {
 protected:
  const KeyRing* keys() const { return GetParam().encrypted ? &ring_ : nullptr; }
  Bytes encode(ByteView plaintext) {
    ObjectEncoder encoder({.codec = GetParam().codec, .compression_level = 3, .keys = keys()}, random_);
    return encode_object(encoder, {ObjectKind::wal_chunk, 42, "wal/x", "host=a"}, plaintext, clock_.wall_now());
  }
  Bytes decode(ByteView object, std::uint64_t limit = 1 << 30) {
    Bytes plaintext;
    decode_object(object, keys(), limit, [&](ByteView piece) { append(plaintext, piece); });
    return plaintext;
  }
  Bytes random_bytes(std::size_t size) {
    Bytes bytes(size);
    random_.fill(bytes);
    return bytes;
  }
  const KeyRing ring_ = KeyRing::parse(keys_text);
  SeededRandom random_;
  FakeClock clock_;
};

TEST_P(ObjectFormat, EverySizeComesBack) {
  for (const std::size_t size : {std::size_t(0), std::size_t(1), std::size_t(100), std::size_t(1 << 20),
                                 std::size_t(2 << 20), std::size_t((3 << 20) + 5)}) {
    const Bytes plaintext = random_bytes(size);
    EXPECT_EQ(decode(encode(plaintext)), plaintext) << size;
  }
}

TEST_P(ObjectFormat, HeaderSaysWhatItIs) {
  const Bytes object = encode(as_bytes("hello"));
  const ObjectHeader header = parse_object_header(object);
  EXPECT_EQ(header.kind, ObjectKind::wal_chunk);
  EXPECT_EQ(header.codec, GetParam().codec);
  EXPECT_EQ(header.plaintext_size, 5U);
  EXPECT_EQ(header.system_identifier, 42U);
  EXPECT_EQ(header.created, clock_.wall_now());
  EXPECT_EQ(header.name, "wal/x");
  EXPECT_EQ(header.origin, "host=a");
  EXPECT_EQ(header.key_id, GetParam().encrypted ? "new" : "");
  EXPECT_EQ(header.digest == sha256(as_bytes("hello")), !GetParam().encrypted);
  ContentDigest digest(header, keys());
  digest.update(as_bytes("hello"));
  EXPECT_EQ(digest.finish(), header.digest);
}

TEST_P(ObjectFormat, EveryFlippedBitIsSeen) {
  const Bytes object = encode(random_bytes(300));
  for (std::size_t i = 0; i < object.size(); ++i) {
    Bytes damaged = object;
    damaged[i] ^= std::byte(1 << (i % 8));
    EXPECT_THROW(decode(damaged), Error) << "byte " << i << " of " << object.size();
  }
}

TEST_P(ObjectFormat, EveryTruncationIsSeen) {
  const Bytes object = encode(random_bytes(300));
  for (std::size_t size = 0; size < object.size(); ++size)
    EXPECT_THROW(decode(ByteView(object).first(size)), Error) << size;
  Bytes longer = object;
  longer.push_back(std::byte(0));
  EXPECT_THROW(decode(longer), Error);
}

TEST_P(ObjectFormat, MoreThanTheLimitIsRefused) {
  EXPECT_THROW(decode(encode(random_bytes(1001)), 1000), Error);
  EXPECT_NO_THROW(decode(encode(random_bytes(1000)), 1000));
}

TEST_P(ObjectFormat, MayComeInPiecesOfAnySize) {
  const Bytes plaintext = random_bytes(3'000'000);
  const Bytes object = encode(plaintext);
  for (const std::size_t size : {std::size_t(997), std::size_t(65536), object.size()}) {
    Bytes got;
    ObjectDecoder decoder(keys(), plaintext.size(), [&](ByteView piece) { append(got, piece); });
    for (ByteView rest = object; !rest.empty(); rest = rest.subspan(std::min(size, rest.size())))
      decoder.write(rest.first(std::min(size, rest.size())));
    EXPECT_EQ(decoder.finish().plaintext_size, plaintext.size());
    EXPECT_EQ(got, plaintext);
  }
}

TEST_P(ObjectFormat, CutShortAnywhereIsDamage) {
  const Bytes object = encode(random_bytes(3000));
  for (std::size_t size = 0; size < object.size(); size += 7) {
    ObjectDecoder decoder(keys(), 1 << 20, [](ByteView) {});
    EXPECT_THROW(
        {
          for (std::size_t i = 0; i < size; ++i)
            decoder.write(ByteView(object).subspan(i, 1));
          decoder.finish();
        },
        Error)
        << size;
  }
}

TEST_P(ObjectFormat, OneEncoderMakesManyObjects) {
  ObjectEncoder encoder({.codec = GetParam().codec, .compression_level = 1, .keys = keys()}, random_);
  for (int i = 0; i < 3; ++i) {
    encoder.begin({ObjectKind::wal_segment, 1, "abandoned", ""}, 100, clock_.wall_now(), [](ByteView) {});
    encoder.write(random_bytes(50)); // and given up
    const Bytes plaintext = random_bytes(5000);
    EXPECT_EQ(decode(encode_object(encoder, {ObjectKind::wal_segment, 1, "n", ""}, plaintext, clock_.wall_now())),
              plaintext);
  }
  encoder.begin({ObjectKind::wal_segment, 1, "n", ""}, 2, clock_.wall_now(), [](ByteView) {});
  encoder.write(random_bytes(1));
  EXPECT_THROW(encoder.finish(), std::logic_error);
}

INSTANTIATE_TEST_SUITE_P(Forms, ObjectFormat,
                         testing::Values(Form{"Plain", Codec::none, false}, Form{"Zstd", Codec::zstd, false},
                                         Form{"Encrypted", Codec::none, true},
                                         Form{"ZstdEncrypted", Codec::zstd, true}),
                         [](const auto& info) { return std::string(info.param.name); });

// Records of an encrypted object cannot be reordered, dropped or repeated.
TEST(ObjectEncryption, RecordsStayInTheirOrder) {
  SeededRandom random;
  const KeyRing ring = KeyRing::parse(keys_text);
  ObjectEncoder encoder({.codec = Codec::none, .compression_level = 1, .keys = &ring}, random);
  Bytes plaintext(3 << 20);
  random.fill(plaintext);
  const Bytes object = encode_object(encoder, {ObjectKind::wal_segment, 1, "n", ""}, plaintext, {});
  const std::size_t header = parse_object_header(object).size, record = (1 << 20) + 16;
  ASSERT_EQ(object.size(), header + 3 * record);
  const auto assembled = [&](std::initializer_list<std::size_t> order) {
    Bytes bytes(object.begin(), object.begin() + std::ptrdiff_t(header));
    for (const std::size_t i : order)
      append(bytes, ByteView(object).subspan(header + i * record, record));
    return bytes;
  };
  EXPECT_NO_THROW(decode_object(assembled({0, 1, 2}), &ring, 1 << 30, [](ByteView) {}));
  for (const auto& order : {std::initializer_list<std::size_t>{1, 0, 2}, {0, 1}, {0, 2}, {0, 1, 1}, {0, 1, 2, 2}})
    EXPECT_THROW(decode_object(assembled(order), &ring, 1 << 30, [](ByteView) {}), Error);
}

TEST(KeyFile, Refused) {
  const std::string key(64, 'a');
  for (const std::string& text : {std::string(), "k " + key, "k = " + key.substr(1), "k = " + key + "\nk = " + key,
                                  "a = " + key + "\nb = " + key, "current = x\na = " + key, "a b = " + key,
                                  "current = a\ncurrent = a\na = " + key, "k = " + key.substr(1) + "g"})
    try {
      KeyRing::parse(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::configuration);
      EXPECT_EQ((std::string(error.what()) + error.hint()).find("aaaa"), std::string::npos) << "a key is quoted";
    }
  EXPECT_EQ(KeyRing::parse("a = " + key).current().id(), "a");
}

} // namespace
} // namespace dbops::core
