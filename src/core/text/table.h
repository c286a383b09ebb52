// A table of text: columns as wide as what is in them, narrowed to the terminal where they may be.
#pragma once

#include "core/text/columns.h"
#include "core/text/line.h"

#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

struct TableColumn {
  std::string title;
  Align align = Align::left;
  bool may_shrink = false; // cut when the table is too wide for the terminal
};

struct Cell {
  std::string text;
  Style style = Style::plain;
};

class Table {
 public:
  explicit Table(std::vector<TableColumn> columns) : columns_(std::move(columns)) {}
  // As many cells as there are columns; throws std::logic_error otherwise.
  void add_row(std::vector<Cell> row);
  [[nodiscard]] bool empty() const noexcept { return rows_.empty(); }

  // The titles and the rows, two blanks between columns. Without a width nothing is cut.
  [[nodiscard]] std::vector<Line> lines(std::optional<std::size_t> width, Charset charset) const;

 private:
  [[nodiscard]] std::vector<std::size_t> widths(std::optional<std::size_t> width) const;

  std::vector<TableColumn> columns_;
  std::vector<std::vector<Cell>> rows_;
};

} // namespace dbops::core
