#include "cli/json.h"

#include "cli/terminal.h"

namespace dbops::cli {

namespace {

// Of the catalog pg_type, where they are fixed for ever.
enum TypeOid : Oid { bool_oid = 16, int8_oid = 20, int4_oid = 23, json_oid = 114, float8_oid = 701, jsonb_oid = 3802 };

Json value_as_json(const Result& result, int row, int column) {
  if (result.is_null(row, column)) return nullptr;
  switch (result.type(column)) {
  case bool_oid:
    return result.boolean(row, column);
  case int4_oid:
  case int8_oid:
    return result.integer(row, column);
  case float8_oid:
    return result.maybe_real(row, column).value_or(0);
  case json_oid:
  case jsonb_oid: {
    // A database in SQL_ASCII may have bytes in it that are no UTF-8: then it is shown as a text.
    Json parsed = Json::parse(result.text(row, column), nullptr, false);
    return parsed.is_discarded() ? Json(result.text(row, column)) : parsed;
  }
  default:
    return result.text(row, column);
  }
}

} // namespace

Json row_as_json(const Result& result, int row, int columns) {
  Json object = Json::object();
  const int count = columns < 0 ? result.columns() : columns;
  for (int column = 0; column < count; ++column)
    object[std::string(result.name(column))] = value_as_json(result, row, column);
  return object;
}

void print_array(const std::vector<Json>& objects) {
  std::string text = "[";
  for (const Json& object : objects)
    text.append(text.size() == 1 ? "\n" : ",\n").append(dumped(object));
  write_to_standard_output(text + (objects.empty() ? "]\n" : "\n]\n"));
}

void print_rows(const Result& result) {
  std::vector<Json> objects;
  objects.reserve(std::size_t(result.rows()));
  for (int row = 0; row < result.rows(); ++row)
    objects.push_back(row_as_json(result, row));
  print_array(objects);
}

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

} // namespace dbops::cli
