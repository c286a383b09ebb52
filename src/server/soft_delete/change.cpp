#include "server/soft_delete/change.h"

extern "C" {
#include "utils/lsyscache.h"
}

namespace dbops::server::soft_delete {

std::string* changes = nullptr;

void change(const std::string& sql) {
  if (changes != nullptr && !sql.starts_with("DROP TRIGGER IF EXISTS")) *changes += sql + ";\n";
  run(sql);
}

void make_trigger(const std::string& table, const std::string& name, const std::string& rest) {
  change("DROP TRIGGER IF EXISTS " + name + " ON " + table);
  change("CREATE TRIGGER " + name + " " + rest);
}

void warn(const std::string& text) {
  call_pg([&text] { ereport(WARNING, (errmsg("dbops: %s", text.c_str()))); });
}

bool is_partitioned(Oid target) {
  return call_pg([target] { return get_rel_relkind(target); }) == 'p';
}

} // namespace dbops::server::soft_delete
