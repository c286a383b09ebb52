#include "core/migrate/plan.h"

#include <gtest/gtest.h>

#include <deque>

namespace dbops::core::migrate {

namespace {

LocalMigration file(const std::string& script, std::int32_t checksum = 1) {
  LocalMigration local;
  local.name = parse_file_name(script, {}).name.value();
  local.script = script;
  local.checksum = checksum;
  return local;
}

AppliedMigration row(int rank, const std::string& script, std::int32_t checksum = 1, bool success = true) {
  const FileName name = parse_file_name(script, {}).name.value();
  return {rank, name.version, name.description, std::string(history_type(name.kind)), script, checksum, success};
}

AppliedMigration special(int rank, const char* type, const char* version) {
  return {rank, Version::parse(version), "x", type, type, std::nullopt, true};
}

std::string states(const Plan& plan) {
  std::string text;
  for (const MigrationInfo& info : plan.infos)
    text += (text.empty() ? "" : ", ") + (info.version() ? info.version()->text() : info.description()) + " " +
            std::string(to_string(info.state));
  return text;
}

std::string pending(const Plan& plan) {
  std::string text;
  for (const LocalMigration* local : plan.pending)
    text += (text.empty() ? "" : " ") + local->script;
  return text;
}

std::size_t errors(const Plan& plan, const PlanOptions& options = {}, bool pending_ignored = true) {
  return validate(plan, options, pending_ignored).size();
}

using Files = std::vector<LocalMigration>;
using Rows = std::vector<AppliedMigration>;

// A plan points into what it was made of.
Plan plan_of(const Files& files, const Rows& rows, const PlanOptions& options = {}) {
  static std::deque<std::pair<Files, Rows>> kept;
  const auto& [kept_files, kept_rows] = kept.emplace_back(files, rows);
  return make_plan(kept_files, kept_rows, options);
}

} // namespace

TEST(MigrationPlan, EmptyHistory) {
  const Files files{file("R__b.sql"),    file("V10__x.sql"), file("V9__x.sql"),
                    file("V1_1__x.sql"), file("R__a.sql"),   file("U9__x.sql")};
  const Plan plan = plan_of(files, {}, {});
  EXPECT_EQ(pending(plan), "V1_1__x.sql V9__x.sql V10__x.sql R__a.sql R__b.sql");
  EXPECT_EQ(errors(plan), 0U);
  EXPECT_EQ(errors(plan, {}, false), 5U);
  PlanOptions until;
  until.target = *Target::parse("9");
  EXPECT_EQ(states(plan_of(files, {}, until)), "1.1 Pending, 9 Pending, 10 Above Target, a Pending, b Pending");
}

TEST(MigrationPlan, TargetWords) {
  const Files files{file("V1__x.sql"), file("V2__x.sql"), file("V3__x.sql"), file("R__r.sql")};
  const Rows rows{row(1, "V1__x.sql")};
  const auto with = [](const char* target) {
    PlanOptions options;
    options.target = Target::parse(target).value();
    return options;
  };
  EXPECT_EQ(pending(plan_of(files, rows, with("latest"))), "V2__x.sql V3__x.sql R__r.sql");
  EXPECT_EQ(states(plan_of(files, rows, with("current"))), "1 Success, 2 Above Target, 3 Above Target, r Pending");
  EXPECT_EQ(states(plan_of(files, rows, with("Next"))), "1 Success, 2 Pending, 3 Above Target, r Pending");
  // Of nothing, nothing but what is repeatable; the first of all.
  EXPECT_EQ(pending(plan_of(files, {}, with("current"))), "R__r.sql");
  EXPECT_EQ(pending(plan_of(files, {}, with("next"))), "V1__x.sql R__r.sql");
  // Nothing is pending.
  const Rows all{row(1, "V1__x.sql"), row(2, "V2__x.sql"), row(3, "V3__x.sql")};
  EXPECT_EQ(states(plan_of(files, all, with("next"))), "1 Success, 2 Success, 3 Success, r Pending");
  // The first that is pending may lie below what is applied.
  PlanOptions loose = with("next");
  loose.out_of_order = true;
  EXPECT_EQ(pending(plan_of(files, {row(1, "V1__x.sql"), row(2, "V3__x.sql")}, loose)), "V2__x.sql R__r.sql");
  EXPECT_EQ(pending(plan_of(files, {row(1, "V2__x.sql")}, loose)), "V1__x.sql R__r.sql");
  // In an empty history, a baseline.
  const Files with_baseline{file("V1__x.sql"), file("V2__x.sql"), file("B2__x.sql"), file("V3__x.sql")};
  EXPECT_EQ(pending(plan_of(with_baseline, {}, with("next"))), "B2__x.sql");
  EXPECT_EQ(pending(plan_of(with_baseline, {}, with("current"))), "");
  EXPECT_TRUE(Target::parse("2.5?")->may_be_missing);
  for (const char* wrong : {"", "?", "newest", "next?", "1.x"})
    EXPECT_FALSE(Target::parse(wrong)) << wrong;
}

TEST(MigrationPlan, OutOfOrder) {
  const Files files{file("V1__x.sql"), file("V2__x.sql"), file("V3__x.sql")};
  const Rows rows{row(1, "V1__x.sql"), row(2, "V3__x.sql")};
  const Plan strict = plan_of(files, rows, {});
  EXPECT_EQ(states(strict), "1 Success, 3 Success, 2 Ignored");
  EXPECT_EQ(pending(strict), "");
  EXPECT_EQ(errors(strict), 1U);
  PlanOptions loose;
  loose.out_of_order = true;
  EXPECT_EQ(pending(plan_of(files, rows, loose)), "V2__x.sql");
  PlanOptions lenient;
  lenient.ignore.push_back({"versioned", "ignored"});
  EXPECT_EQ(errors(strict, lenient), 0U);
  const Rows later{row(1, "V1__x.sql"), row(2, "V3__x.sql"), row(3, "V2__x.sql")};
  EXPECT_EQ(states(plan_of(files, later, {})), "1 Success, 3 Success, 2 Out of Order");
}

TEST(MigrationPlan, ChangedMissingFuture) {
  const Files files{file("V1__x.sql", 7), file("V3__x.sql")};
  const Plan plan =
      plan_of(files, {row(1, "V1__x.sql"), row(2, "V2__x.sql"), row(3, "V3__x.sql"), row(4, "V9__x.sql")}, {});
  EXPECT_EQ(states(plan), "1 Success, 2 Missing, 3 Success, 9 Future");
  const auto found = validate(plan, {}, true);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_NE(found[0].message.find("checksum of version 1 differs"), std::string::npos);
  EXPECT_NE(found[1].message.find("not among the files: version 2"), std::string::npos);
  EXPECT_EQ(errors(plan, {.target = {}, .ignore = {}}), 3U);
}

TEST(MigrationPlan, Description) {
  EXPECT_EQ(errors(plan_of({file("V1__y.sql")}, {row(1, "V1__x.sql")}, {})), 1U);
}

TEST(MigrationPlan, Repeatable) {
  const Files files{file("R__a.sql", 2)};
  const Plan plan = plan_of(files, {row(1, "R__a.sql", 0), row(2, "R__a.sql", 1)}, {});
  EXPECT_EQ(states(plan), "a Superseded, a Outdated, a Pending");
  EXPECT_EQ(pending(plan), "R__a.sql");
  EXPECT_EQ(errors(plan), 0U);
  EXPECT_EQ(pending(plan_of(files, {row(1, "R__a.sql", 2)}, {})), "");
  Files equivalent = files;
  equivalent[0].equivalent_checksum = 5;
  EXPECT_EQ(pending(plan_of(equivalent, {row(1, "R__a.sql", 5)}, {})), "");
  EXPECT_EQ(states(plan_of({}, {row(1, "R__a.sql", 5)}, {})), "a Missing");
}

TEST(MigrationPlan, Baseline) {
  const Files files{file("V1__x.sql"), file("V2__x.sql"), file("V3__x.sql")};
  const Plan plan = plan_of(files, {special(1, "BASELINE", "2")}, {});
  EXPECT_EQ(states(plan), "1 Below Baseline, 2 Ignored (Baseline), 2 Baseline, 3 Pending");
  EXPECT_EQ(errors(plan), 0U);
  Files with_script = files;
  with_script.push_back(file("B2__x.sql"));
  EXPECT_EQ(pending(plan_of(with_script, {}, {})), "B2__x.sql V3__x.sql");
  const Plan later = plan_of(with_script, {row(1, "B2__x.sql")}, {});
  EXPECT_EQ(pending(later), "V3__x.sql");
  EXPECT_EQ(errors(later), 0U);
  EXPECT_EQ(pending(plan_of(with_script, {row(1, "V1__x.sql")}, {})), "V2__x.sql V3__x.sql");
}

TEST(MigrationPlan, Undo) {
  const Files files{file("V1__x.sql"), file("V2__x.sql"), file("U2__x.sql")};
  const Rows before{row(1, "V1__x.sql"), row(2, "V2__x.sql")};
  const auto steps = undo_plan(files, before, std::nullopt);
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_EQ(steps[0].undo->script, "U2__x.sql");
  const auto two = undo_plan(files, before, Version::parse("1"));
  ASSERT_EQ(two.size(), 2U);
  EXPECT_EQ(two[1].undo, nullptr);
  EXPECT_EQ(states(plan_of(files, before, {})), "1 Success, 2 Success, 2 Available");

  Rows after = before;
  after.push_back(row(3, "U2__x.sql"));
  const Plan plan = plan_of(files, after, {});
  EXPECT_EQ(states(plan), "1 Success, 2 Undone, 2 Success, 2 Pending");
  EXPECT_EQ(pending(plan), "V2__x.sql");
  EXPECT_EQ(plan.current->text(), "1");
  EXPECT_EQ(errors(plan), 0U);
  after.push_back(row(4, "V2__x.sql"));
  EXPECT_EQ(pending(plan_of(files, after, {})), "");
  EXPECT_EQ(undo_plan(files, after, std::nullopt).at(0).applied->rank, 4);
}

TEST(MigrationPlan, RepeatableThatFailedIsGoneOnWithInItsPlace) {
  const Plan plan =
      plan_of({file("V1__x.sql"), file("V2__x.sql"), file("R__a.sql"), file("R__b.sql"), file("R__c.sql")},
              {row(1, "V1__x.sql"), row(2, "R__b.sql", 1, false)});
  EXPECT_EQ(pending(plan), "V2__x.sql R__a.sql R__b.sql R__c.sql");
}

TEST(MigrationPlan, FailedIsGoneOnWith) {
  const Files files{file("V1__x.sql"), file("V2__x.sql")};
  const Plan plan = plan_of(files, {row(1, "V1__x.sql", 1, false)}, {});
  EXPECT_EQ(pending(plan), "V1__x.sql V2__x.sql");
  EXPECT_EQ(errors(plan), 1U);
}

TEST(MigrationPlan, Repair) {
  const Files files{file("V1__x.sql", 7), file("V3__x.sql"), file("V4__x.sql")};
  const Rows rows{row(1, "V1__x.sql"), row(2, "V2__x.sql"), row(3, "V3__x.sql"), row(4, "V4__x.sql", 1, false)};
  const Plan plan = plan_of(files, rows, {});
  const auto actions = repair_plan(plan, {});
  ASSERT_EQ(actions.size(), 3U);
  EXPECT_EQ(actions[0].kind, RepairAction::Kind::align);
  EXPECT_EQ(actions[1].kind, RepairAction::Kind::mark_deleted);
  EXPECT_EQ(actions[2].kind, RepairAction::Kind::remove_failed);
  const Plan after =
      plan_of(files, {row(1, "V1__x.sql", 7), row(2, "V2__x.sql"), row(3, "V3__x.sql"), special(5, "DELETE", "2")}, {});
  EXPECT_EQ(states(after), "1 Success, 2 Deleted, 3 Success, 2 Success, 4 Pending");
  EXPECT_EQ(errors(after), 0U);
}

TEST(MigrationPlan, Duplicates) {
  EXPECT_FALSE(find_duplicate({file("V1__x.sql"), file("B1__x.sql"), file("U1__x.sql"), file("V2__x.sql")}));
  EXPECT_EQ(find_duplicate({file("V1__x.sql"), file("V1_0__y.sql")}),
            "more than one file for version 1.0: V1__x.sql, V1_0__y.sql");
  EXPECT_TRUE(find_duplicate({file("R__x.sql"), file("R__x.SQL")}));
}

TEST(MigrationPlan, Patterns) {
  EXPECT_TRUE(IgnorePattern::parse("Repeatable:Missing"));
  EXPECT_FALSE(IgnorePattern::parse("missing"));
  EXPECT_FALSE(IgnorePattern::parse("*:success"));
}

} // namespace dbops::core::migrate
