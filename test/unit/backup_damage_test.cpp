// Damage in the source and in the store: found, named, remembered, mended.
#include "backup_round_trip.h"

#include <thread>

namespace dbops::core {
namespace {

class BackupDamage : public BackupRoundTrip {};

TEST_P(BackupDamage, CorruptPagesAreNamedAndRemembered) {
  {
    std::fstream out(data_ / "base/5/16384", std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(17 * block_size + 500);
    out.write("XXXX", 4);
  }
  EXPECT_EQ(backup().damaged_blocks, 1U);
  EXPECT_NE(messages_.find("\"base/5/16384\", fork main, block 17"), std::string::npos) << messages_;
  const BackupHead second = backup();
  EXPECT_EQ(second.new_blocks, 0U);
  EXPECT_EQ(second.damaged_blocks, 1U);
  change("base/5/16384", 17, 50);
  EXPECT_EQ(backup().damaged_blocks, 0U);
}

// What is kept is what was read last, under the hash of that.
TEST_P(BackupDamage, APageThatIsBeingWrittenIsReadAgain) {
  const auto write = [&](const Bytes& page) {
    std::fstream out(data_ / "base/5/16384", std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(17 * block_size);
    out.write(as_text(page).data(), std::streamsize(page.size()));
  };
  const auto torn = [](unsigned seed) {
    Bytes page = pages(1, seed, 17);
    page[500] ^= std::byte(1);
    return page;
  };
  BackupHead head;
  // A writer that the machine has stopped in the middle is, rightly, a damaged page.
  for (unsigned seed = 1000; seed < 1100; ++seed) {
    write(torn(seed));
    const std::jthread writer([&write, &torn, seed] {
      for (unsigned other = 1; other < 10; ++other) {
        std::this_thread::sleep_for(milliseconds(10));
        write(torn(seed + other * 1000));
      }
      write(pages(1, seed, 17));
    });
    head = backup();
    if (head.damaged_blocks == 0) break;
  }
  EXPECT_EQ(head.damaged_blocks, 0U) << messages_;
  restore(head, root_.path() / "to");
  EXPECT_TRUE(contents(root_.path() / "to") == expected());
}

// As it is when its writer gets no processor for a while.
TEST_P(BackupDamage, APageThatIsHalfWrittenIsNotCorrupt) {
  constexpr std::uint32_t number = 17;
  Bytes page = pages(1, 60, number);
  const std::uint32_t lsn = 0x1000100; // behind the backup's start
  std::memcpy(&page[4], &lsn, sizeof lsn);
  const std::uint16_t checksum = page_checksum(page, number);
  std::memcpy(&page[8], &checksum, sizeof checksum);
  const auto write = [&](std::size_t length) {
    std::fstream out(data_ / "base/5/16384", std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(std::streamoff(number) * block_size);
    out.write(as_text(page).data(), std::streamsize(length));
  };
  write(2000);
  std::jthread writer([&] {
    std::this_thread::sleep_for(milliseconds(500));
    write(page.size());
  });
  EXPECT_EQ(backup().damaged_blocks, 0U) << messages_;
}

TEST_P(BackupDamage, DamageInTheStoreIsFoundNamedAndMended) {
  const BackupHead first = backup();
  const std::string pack = keys("pack/").front();
  VerifyProgress progress;
  const auto check = [&](bool deep) {
    const BackupRepository where = repository();
    std::vector<std::string> found;
    for (const Damage& damage : verify(where, {.deep = deep}, progress, {}, {}).damage)
      if (damage.what.find("WAL is missing") == std::string::npos) found.push_back(damage.what);
    return found;
  };
  EXPECT_TRUE(check(true).empty());
  damage(pack, store_.head(pack, {})->size / 2);
  EXPECT_TRUE(check(false).empty()) << "it has its size";
  EXPECT_FALSE(check(true).empty());
  EXPECT_THROW(restore(first, root_.path() / "bad"), Error);
  const BackupHead second = backup();
  EXPECT_GT(second.new_blocks, 0U);
  restore(second, root_.path() / "good");
  EXPECT_TRUE(contents(root_.path() / "good") == expected());
  store_.remove(keys("pack/").back(), {});
  EXPECT_FALSE(check(false).empty());
  const BackupHead third = backup();
  restore(third, root_.path() / "better");
  EXPECT_TRUE(contents(root_.path() / "better") == expected());
}

// With credentials that may only read.
TEST_P(BackupDamage, DamageIsNamedWhereItCannotBeNoted) {
  const BackupHead head = backup();
  const auto packs = keys("pack/");
  ASSERT_FALSE(packs.empty());
  for (const std::string& key : packs)
    store_.remove(key, {});
  store_.set_hook([](MemoryStore::Operation operation, const std::string&, bool) {
    if (operation == MemoryStore::Operation::put || operation == MemoryStore::Operation::remove)
      throw Error(ErrorKind::access_denied, "403");
  });
  for (const bool deep : {false, true}) {
    VerifyProgress progress;
    const VerifyResult result = verify(repository(), {.deep = deep}, progress, {}, {});
    EXPECT_TRUE(std::ranges::any_of(result.damage, [&](const Damage& damage) {
      return damage.backup == head.label && damage.what.find("\"base/5/16384\"") != std::string::npos;
    })) << deep;
  }
}

TEST_P(BackupDamage, EveryDamagedByteOfAManifestOrPackIsNoticed) {
  const BackupHead head = backup();
  for (const char* part : {"backup/", "pack/"})
    for (const std::string& key : keys(part)) {
      if (key.find("/begun") != std::string::npos) continue;
      const Bytes good = store_.get(key, {}, {}).value();
      for (int i = 0; i < 8; ++i) {
        damage(key, good.size() * std::size_t(i) / 8);
        VerifyProgress progress;
        const BackupRepository where = repository();
        bool noticed = false;
        for (const Damage& found : verify(where, {.deep = true}, progress, {}, {}).damage)
          noticed = noticed || found.what.find("WAL is missing") == std::string::npos;
        EXPECT_TRUE(noticed) << key << " " << i;
        store_.overwrite(key, good);
        for (const PackId& id : damaged_packs(where, {}))
          store_.remove(where.key(damaged_key(id)), {});
      }
    }
  restore(head, root_.path() / "to");
}

TEST_P(BackupDamage, ObjectsThatAreCutShortOrSwappedAreNoticed) {
  backup();
  change("base/5/16384", 1, 99);
  const BackupHead head = backup();
  const BackupRepository where = repository();
  const auto noticed = [&] {
    VerifyProgress progress;
    bool found = false;
    for (const Damage& damage : verify(where, {.deep = true}, progress, {}, {}).damage)
      found = found || damage.what.find("WAL is missing") == std::string::npos;
    for (const PackId& id : damaged_packs(where, {}))
      store_.remove(where.key(damaged_key(id)), {});
    return found;
  };
  ASSERT_FALSE(noticed());
  for (const char* part : {"backup/", "pack/"}) {
    std::vector<std::string> all;
    for (const std::string& key : keys(part))
      if (key.find("/begun") == std::string::npos) all.push_back(key);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Bytes mine = store_.get(all[i], {}, {}).value();
      for (const std::size_t length : {std::size_t(0), mine.size() / 2, mine.size() - 1}) {
        store_.overwrite(all[i], Bytes(mine.begin(), mine.begin() + std::ptrdiff_t(length)));
        EXPECT_TRUE(noticed()) << all[i] << " cut to " << length;
      }
      const std::string& other = all[(i + 1) % all.size()];
      if (other == all[i]) continue;
      store_.overwrite(all[i], store_.get(other, {}, {}).value());
      EXPECT_TRUE(noticed()) << all[i] << " is " << other;
      EXPECT_ANY_THROW({
        for (const CatalogueEntry& entry : read_catalogue(where, 1, {})) {
          if (!entry.head) throw Error(ErrorKind::corrupt, entry.problem);
          fs::remove_all(root_.path() / "to");
          restore(*entry.head, root_.path() / "to");
        }
      }) << all[i];
      store_.overwrite(all[i], mine);
    }
  }
  EXPECT_FALSE(noticed());
  restore(head, root_.path() / "good");
  EXPECT_TRUE(contents(root_.path() / "good") == expected());
}

TEST_P(BackupDamage, DamageIsKnownUntilADeepVerificationFindsThatItHasGone) {
  const BackupRepository where = repository();
  const SegmentSize size(16 << 20);
  where.put(wal_file_key(*parse_wal_file_name("000000010000000000000001")), ObjectKind::wal_segment,
            make_segment({.timeline = 1, .number = 1}, size), {});
  const BackupHead sound = backup();
  const std::vector<std::string> before = keys("pack/");
  change("base/5/16384", 3, 5);
  const BackupHead bad = backup();
  const BackupHead later = backup(); // refers to the same packs
  std::vector<std::string> packs = keys("pack/");
  std::erase_if(packs, [&](const std::string& key) { return std::ranges::find(before, key) != before.end(); });
  ASSERT_FALSE(packs.empty());
  const Bytes mine = store_.get(packs.front(), {}, {}).value();
  const auto found_by = [&](bool deep, const std::string& label) {
    clock_.advance(std::chrono::hours(1));
    VerifyProgress progress;
    std::set<std::string> found;
    for (const Damage& damage : verify(where, {.label = label, .deep = deep, .gap_time = {}}, progress, {}, {}).damage)
      found.insert(damage.backup);
    return found;
  };
  const auto known = [&](const BackupHead& head) { return KnownDamage(where, {}).of(head, {}).has_value(); };
  const auto shown = [&] {
    std::set<std::string> labels;
    const BackupCatalogue catalogue = CatalogueCache().all(where, 2, {});
    for (const auto& [label, damage] : proofs_of(catalogue.drills, catalogue.verifications).damaged)
      labels.insert(label);
    return labels;
  };
  const std::set<std::string> none, both{bad.label, later.label};
  ASSERT_EQ(found_by(true, ""), none);
  damage(packs.front(), mine.size() / 2);
  EXPECT_EQ(found_by(false, ""), none) << "its size is right";
  EXPECT_EQ(found_by(true, bad.label), std::set{bad.label});
  EXPECT_EQ(shown(), both) << "also the one that was not looked at";

  store_.overwrite(packs.front(), mine);
  EXPECT_EQ(found_by(false, ""), both) << "it takes a deep one";
  put_verification(where, {.at = clock_.wall, .deep = false, .whole = {bad.label}}, {});
  forget_verifications(where, {sound.label, bad.label, later.label}, {});
  EXPECT_EQ(shown(), both);
  EXPECT_TRUE(known(bad));
  EXPECT_TRUE(known(later));
  EXPECT_FALSE(known(sound));
  EXPECT_EQ(expire(where, {.last = 1}, true, {}, {}).backups, 1U) << "the last good one stays, beside the newest";
  const std::vector<RetentionDecision> decisions = expire(where, {.daily = 1}, true, {}, {}).plan.decisions;
  EXPECT_TRUE(decisions.front().keep());
  EXPECT_FALSE(decisions[1].keep());

  EXPECT_EQ(found_by(true, ""), none);
  EXPECT_EQ(shown(), none);
  EXPECT_FALSE(known(bad));
  EXPECT_FALSE(known(later));
  EXPECT_TRUE(damaged_packs(where, {}).empty());
  EXPECT_EQ(expire(where, {.last = 1}, true, {}, {}).backups, 2U);
}

// What the interrupted run has read was good then.
TEST_P(BackupDamage, AResumedVerificationHidesNoDamageThatWasFoundMeanwhile) {
  const BackupRepository where = repository();
  const SegmentSize size(16 << 20);
  const std::string wal = wal_file_key(*parse_wal_file_name("000000010000000000000001"));
  where.put(wal, ObjectKind::wal_segment, make_segment({.timeline = 1, .number = 1}, size), {});
  where.put(wal_file_key(*parse_wal_file_name("000000010000000000000002")), ObjectKind::wal_segment,
            make_segment({.timeline = 1, .number = 2}, size), {});
  const BackupHead head = backup();
  std::stop_source stop;
  store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool) {
    if (operation == MemoryStore::Operation::get && key.ends_with(wal)) stop.request_stop();
  });
  VerifyProgress progress;
  clock_.advance(std::chrono::hours(1));
  EXPECT_THROW(verify(where, {.deep = true, .threads = 1, .gap_time = {}}, progress, {}, {.stop = stop.get_token()}),
               Error)
      << "all packs are read, and not all WAL";
  store_.set_hook({});
  const std::string pack = keys("pack/").front();
  const Bytes mine = store_.get(pack, {}, {}).value();
  damage(pack, mine.size() / 2);
  const auto found_by = [&](const std::string& label) {
    clock_.advance(std::chrono::hours(1));
    return verify(where, {.label = label, .deep = true, .threads = 1, .gap_time = {}}, progress, {}, {});
  };
  EXPECT_FALSE(found_by(head.label).damage.empty());
  ASSERT_EQ(damaged_packs(where, {}).size(), 1U);
  const VerifyResult resumed = found_by("");
  EXPECT_GT(resumed.resumed, 0U);
  EXPECT_FALSE(resumed.damage.empty());
  EXPECT_TRUE(resumed.whole.empty());
  EXPECT_EQ(damaged_packs(where, {}).size(), 1U);
  EXPECT_TRUE(KnownDamage(where, {}).of(head, {}).has_value());
  store_.overwrite(pack, mine);
  EXPECT_TRUE(found_by("").damage.empty());
  EXPECT_TRUE(damaged_packs(where, {}).empty());
}

// Nothing is said of objects that are only locked, and nothing is remembered of them.
TEST_P(BackupDamage, WrongKeysAreNoDamage) {
  const BackupHead head = backup();
  if (!GetParam()) GTEST_SKIP() << "it is not encrypted";
  const KeyRing other = KeyRing::parse(std::string(keys_text).replace(5, 4, "ffff")),
                strange = KeyRing::parse(std::string(keys_text).replace(0, 2, "k2"));
  const std::size_t objects = keys("").size();
  const std::pair<const KeyRing*, ErrorKind> mistakes[] = {
      {nullptr, ErrorKind::key_missing}, {&strange, ErrorKind::key_missing}, {&other, ErrorKind::key_wrong}};
  for (const auto& [ring, kind] : mistakes) {
    BackupRepository where = repository();
    where.keys = ring;
    const auto fails = [expected = kind](const auto& call) {
      try {
        call();
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), expected) << error.what();
        EXPECT_FALSE(error.hint().empty());
      }
    };
    for (const bool deep : {false, true})
      for (const std::string& label : {std::string(), head.label})
        fails([&] {
          VerifyProgress progress;
          verify(where, {.label = label, .deep = deep, .gap_time = {}}, progress, {}, {});
        });
    fails([&] { expire(where, {.last = 1}, false, {}, {}); });
    fails([&] { choose_backup(read_catalogue(where, 2, {}), {}); });
    fails([&] { BackupRun(where, options_, {}, {}); });
  }
  EXPECT_EQ(keys("").size(), objects) << "nothing was stored, and nothing is gone";
  EXPECT_TRUE(damaged_packs(repository(), {}).empty());

  // The key was given up: a full backup, and later ones build on that.
  keys_ = KeyRing::parse(std::string(keys_text).replace(0, 2, "k2"));
  options_.full = true;
  const BackupHead full = backup();
  options_.full = false;
  const BackupHead next = backup();
  EXPECT_EQ(next.base, full.label);
  EXPECT_EQ(next.new_blocks, 0U);
  restore(next, root_.path() / "to");
  EXPECT_TRUE(contents(root_.path() / "to") == expected());
}

TEST_P(BackupDamage, APackThatIsGoneOrCutShortIsStoredAgainByTheSecondTry) {
  const auto pack_of = [&](const BackupHead& head) {
    std::vector<Digest> digests;
    const BackupRepository where = repository();
    return where.key(pack_key(read_pack_list(where, head, digests, {}).front().id));
  };
  // The first one fails unless it has to read that pack, and sees it then.
  const auto mended_backup = [&] {
    try {
      backup();
    } catch (const Error&) {
    }
    return backup();
  };
  store_.remove(pack_of(backup()), {});
  const BackupHead mended = mended_backup();
  restore(mended, root_.path() / "one");
  EXPECT_TRUE(contents(root_.path() / "one") == expected());
  Bytes half = store_.get(pack_of(mended), {}, {}).value();
  half.resize(half.size() / 2);
  store_.overwrite(pack_of(mended), half);
  restore(mended_backup(), root_.path() / "two");
  EXPECT_TRUE(contents(root_.path() / "two") == expected());
}

INSTANTIATE_TEST_SUITE_P(Backups, BackupDamage, testing::Bool(),
                         [](const auto& info) { return info.param ? "Encrypted" : "Plain"; });

} // namespace
} // namespace dbops::core
