#include "server/backfill/statement.h"

#include <set>

namespace dbops::server::backfill {

namespace {

// "a" or "ROW(a, b)".
std::string row_of(const std::vector<std::string>& parts) {
  std::string list;
  for (const std::string& part : parts)
    list += (list.empty() ? "" : ", ") + part;
  return parts.size() == 1 ? list : "ROW(" + list + ")";
}

std::string key_list(const Table& table) {
  std::string list;
  for (const KeyColumn& column : table.key.columns)
    list += (list.empty() ? "" : ", ") + column.name;
  return list;
}

// Collects parameters and writes conditions over them.
class Range {
 public:
  explicit Range(const Table& table) : table_(table) {
    if (!table.key.present.empty()) add(table.key.present);
  }

  Range& after(std::size_t columns) { return compare(table_.key.after, columns); }
  Range& upto(std::size_t columns) { return compare(table_.key.upto, columns); }
  Range& tids() {
    add("ctid OPERATOR(pg_catalog.>=) " + parameter(TIDOID));
    return add("ctid OPERATOR(pg_catalog.<) " + parameter(TIDOID));
  }
  Range& stripe(Order order) {
    const std::string stripes = parameter(INT4OID);
    const std::string expression = order == Order::block
                                       ? "dbops.tid_stripe(ctid, " + stripes + ")"
                                       : "dbops.key_stripe(" + stripes + ", " + key_list(table_) + ")";
    return add(expression + " OPERATOR(pg_catalog.=) " + parameter(INT4OID));
  }
  Range& of(const RangeShape& shape) {
    if (shape.order == Order::block)
      tids();
    else {
      after(shape.after);
      upto(shape.upto);
    }
    if (shape.striped) stripe(shape.order);
    return *this;
  }
  std::string parameter(Oid type) {
    types_.push_back(type);
    return "$" + std::to_string(types_.size());
  }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] const std::vector<Oid>& types() const { return types_; }

 private:
  // Of the key's first columns, as rows.
  Range& compare(const std::string& op, std::size_t columns) {
    if (columns == 0) return *this;
    std::vector<std::string> names;
    std::vector<std::string> parameters;
    for (std::size_t i = 0; i < columns; ++i) {
      names.push_back(table_.key.columns.at(i).name);
      parameters.push_back(parameter(table_.key.columns.at(i).type));
    }
    return add(row_of(names) + " " + op + " " + row_of(parameters));
  }
  Range& add(const std::string& condition) {
    text_ += (text_.empty() ? "" : " AND ") + condition;
    return *this;
  }

  const Table& table_;
  std::string text_;
  std::vector<Oid> types_;
};

// A newline ends a comment that the user's text may end with.
std::string in_parentheses(const std::string& condition) {
  return "(" + condition + "\n)";
}

} // namespace

RangeShape shape_of(const Unit& unit) {
  return {unit.order, unit.after.size(), unit.upto.size(), unit.stripes > 1};
}

Statement batch_statement(const Table& table, const Spec& spec, const RangeShape& shape, const std::string& unheld) {
  Range range(table);
  range.of(shape);
  const std::string named = named_table(table.name, spec);
  std::string text =
      spec.erase ? "DELETE FROM ONLY " + named : "UPDATE ONLY " + named + " SET " + spec.assignments + "\n";
  text += " WHERE " + range.text();
  if (!spec.condition.empty()) text += " AND " + in_parentheses(spec.condition);
  text += unheld;
  const bool may_move = shape.order == Order::key && table.row_triggers;
  const bool returns = !spec.erase && (!spec.condition.empty() || may_move);
  if (returns) text += " RETURNING " + (spec.condition.empty() ? "true" : in_parentheses(spec.condition) + " IS TRUE");
  if (returns && may_move) text += ", (" + range.text() + ") IS TRUE";
  return {text, range.types(), returns};
}

namespace {

// Writes the statement's parts, one for each dependent, the rows of each found through those above it.
class Erasure {
 public:
  void add(const std::vector<lifecycle::Dependent>& dependents, const std::string& above) {
    for (const lifecycle::Dependent& one : dependents) {
      const std::string part = "dbops_" + std::to_string(++count_);
      const std::string join = lifecycle::join_of(one, "u", "c");
      if (one.effect == lifecycle::Dependent::Effect::erased) {
        text_ += ", " + part + " AS (DELETE FROM " + one.name + " AS c USING " + above + " AS u WHERE " + join +
                 " RETURNING " + returned(one.below, "c") + ")";
        add(one.below, part);
      } else {
        std::string nulls;
        for (const lifecycle::Dependent::Column& column : one.columns)
          nulls += (nulls.empty() ? "" : ", ") + column.child + " = NULL";
        text_ += ", " + part + " AS (UPDATE " + one.name + " AS c SET " + nulls + " FROM " + above + " AS u WHERE " +
                 join + " RETURNING 1)";
      }
    }
  }
  // Columns that those below refer to; of a row once, however many foreign keys there are.
  static std::string returned(const std::vector<lifecycle::Dependent>& below, const std::string& alias) {
    std::set<std::string> columns;
    for (const lifecycle::Dependent& one : below)
      for (const lifecycle::Dependent::Column& column : one.columns)
        columns.insert(column.parent);
    std::string list;
    for (const std::string& column : columns)
      list += (list.empty() ? "" : ", ") + alias + "." + column;
    return list.empty() ? "1" : list;
  }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] std::string sum() const {
    std::string sum = "0";
    for (int i = 1; i <= count_; ++i)
      sum += " OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM dbops_" + std::to_string(i) + ")";
    return sum;
  }

 private:
  std::string text_;
  int count_ = 0;
};

} // namespace

// What hangs on a row goes by what the deletion of the row returns, so that a row that stays after all, changed by
// somebody else or kept by a trigger, keeps it. The foreign keys are asked at the end of the statement.
Statement erase_with_dependents_statement(const Table& table, const Spec& spec, const RangeShape& shape,
                                          const std::string& unheld,
                                          const std::vector<lifecycle::Dependent>& dependents) {
  Range range(table);
  range.of(shape);
  Erasure erasure;
  erasure.add(dependents, "gone");
  return {"WITH gone AS (DELETE FROM ONLY " + named_table(table.name, spec) + " WHERE " + range.text() + " AND " +
              in_parentheses(spec.condition) + unheld + " RETURNING " + Erasure::returned(dependents, spec.alias) +
              ")" + erasure.text() + " SELECT (SELECT pg_catalog.count(*) FROM gone), " + erasure.sum(),
          range.types(), true};
}

std::string unreferred(const std::string& alias, const std::vector<lifecycle::Dependent>& dependents) {
  std::string text;
  for (const lifecycle::Dependent& one : dependents)
    text += " AND NOT EXISTS (SELECT FROM " + one.name + " AS dbops_child WHERE " +
            lifecycle::join_of(one, alias, "dbops_child") + ")";
  return text;
}

Statement nth_key_statement(const Table& table, const RangeShape& shape) {
  Range range(table);
  range.of(shape);
  std::string text = "SELECT " + key_list(table) + " FROM ONLY " + table.name;
  if (!range.text().empty()) text += " WHERE " + range.text();
  text += " ORDER BY " + key_list(table) + " OFFSET " + range.parameter(INT8OID) + " LIMIT 1";
  return {text, range.types(), false};
}

Statement last_key_statement(const Table& table, const Spec& spec) {
  std::string order;
  for (const KeyColumn& column : table.key.columns)
    order += (order.empty() ? "" : ", ") + column.name + " DESC";
  std::string where = table.key.present;
  if (spec.by_age) where += (where.empty() ? "" : " AND ") + in_parentheses(spec.condition);
  if (!where.empty()) where.insert(0, " WHERE ");
  return {"SELECT " + key_list(table) + " FROM ONLY " + named_table(table.name, spec) + where + " ORDER BY " + order +
              " LIMIT 1",
          {},
          false};
}

// One statement, so that the count and the middle are of one snapshot.
Statement middle_statement(const Table& table, const RangeShape& shape) {
  Range range(table);
  range.of(shape);
  std::string names;
  for (std::size_t i = 0; i < table.key.columns.size(); ++i)
    names += "k" + std::to_string(i) + ", ";
  return {"SELECT " + names + "n FROM (SELECT " + key_list(table) + ", pg_catalog.row_number() OVER (ORDER BY " +
              key_list(table) + "), pg_catalog.count(*) OVER () FROM ONLY " + table.name + " WHERE " + range.text() +
              ") AS m(" + names +
              "i, n) WHERE n OPERATOR(pg_catalog.>) 1 AND i OPERATOR(pg_catalog.=) (n OPERATOR(pg_catalog./) 2)",
          range.types(), false};
}

Statement first_row_statement(const Table& table, const RangeShape& shape) {
  Range range(table);
  range.of(shape);
  const std::string what = table.key.usable() ? key_list(table) : "ctid";
  return {"SELECT " + what + " FROM ONLY " + table.name + " WHERE " + range.text() + " LIMIT 1", range.types(), false};
}

Statement matching_statement(const Table& table, const Spec& spec, std::int64_t limit, const std::string& unheld) {
  return {"SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ONLY " + named_table(table.name, spec) + " WHERE " +
              in_parentheses(spec.condition) + unheld + " LIMIT " + std::to_string(limit) + ") m",
          {},
          false};
}

} // namespace dbops::server::backfill
