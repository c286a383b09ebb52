#include "core/job/error_class.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

using namespace dbops::core;
using enum ErrorClass;

TEST(ErrorClass, BySqlstate) {
  const std::map<std::string, ErrorClass> expected{
      {"40001", contention},  // serialization_failure
      {"40P01", contention},  // deadlock_detected
      {"40003", contention},  // statement_completion_unknown
      {"55P03", contention},  // lock_not_available
      {"55006", contention},  // object_in_use
      {"53100", resource},    // disk_full
      {"53200", resource},    // out_of_memory
      {"53300", resource},    // too_many_connections
      {"57P03", resource},    // cannot_connect_now
      {"58030", resource},    // io_error
      {"08006", resource},    // connection_failure
      {"57014", interrupted}, // query_canceled
      {"57P01", interrupted}, // admin_shutdown
      {"57P02", interrupted}, // crash_shutdown
      {"57P04", interrupted}, // database_dropped
      {"22003", row},         // numeric_value_out_of_range
      {"22P02", row},         // invalid_text_representation
      {"23502", row},         // not_null_violation
      {"23505", row},         // unique_violation
      {"23514", row},         // check_violation
      {"44000", row},         // with_check_option_violation
      {"P0001", row},         // raise_exception
      {"21000", row},         // cardinality_violation
      {"2F002", row},         // modifying_sql_data_not_permitted
      {"38001", row},         // containing_sql_not_permitted
      {"39004", row},         // null_value_not_allowed
      {"40002", row},         // transaction_integrity_constraint_violation
      {"42501", statement},   // insufficient_privilege
      {"42601", statement},   // syntax_error
      {"42P01", statement},   // undefined_table
      {"42703", statement},   // undefined_column
      {"0A000", statement},   // feature_not_supported
      {"0B000", statement},   // invalid_transaction_initiation
      {"24000", statement},   // invalid_cursor_state
      {"25006", statement},   // read_only_sql_transaction
      {"26000", statement},   // invalid_sql_statement_name
      {"28000", statement},   // invalid_authorization_specification
      {"2BP01", statement},   // dependent_objects_still_exist
      {"2D000", statement},   // invalid_transaction_termination
      {"34000", statement},   // invalid_cursor_name
      {"3B001", statement},   // invalid_savepoint_specification
      {"3D000", statement},   // invalid_catalog_name
      {"3F000", statement},   // invalid_schema_name
      {"54000", row},         // program_limit_exceeded: a row too big for a page or an index
      {"54001", statement},   // statement_too_complex
      {"55000", statement},   // object_not_in_prerequisite_state
      {"55P02", statement},   // cant_change_runtime_param
      {"58P01", statement},   // undefined_file
      {"XX000", statement},   // internal_error
      {"XX001", statement},   // data_corrupted
  };
  for (const auto& [sqlstate, error_class] : expected)
    EXPECT_EQ(to_string(classify(sqlstate)), to_string(error_class)) << sqlstate;
}

TEST(ErrorClass, UnknownIsARowsFault) {
  for (const char* sqlstate : {"ZZ999", "MY001", "99999", "00000", "xx000", "", "4", "42", "42P0", "42P011"})
    EXPECT_EQ(to_string(classify(sqlstate)), to_string(row)) << sqlstate;
}

TEST(ErrorClass, Names) {
  EXPECT_EQ(to_string(contention), "contention");
  EXPECT_EQ(to_string(resource), "resource");
  EXPECT_EQ(to_string(interrupted), "interrupted");
  EXPECT_EQ(to_string(row), "row");
  EXPECT_EQ(to_string(statement), "statement");
}
