#include "core/text/table.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace dbops::core {

namespace {

constexpr std::size_t gutter = 2;
constexpr std::size_t narrowest = 6; // below that a cut text says nothing

} // namespace

void Table::add_row(std::vector<Cell> row) {
  if (row.size() != columns_.size()) throw std::logic_error("a row of a table must have as many cells as columns");
  rows_.push_back(std::move(row));
}

std::vector<std::size_t> Table::widths(std::optional<std::size_t> width) const {
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = columns(columns_[i].title);
    for (const auto& row : rows_)
      widest = std::max(widest, columns(row[i].text));
    result.push_back(widest);
  }
  if (!width || columns_.empty()) return result;
  std::size_t total = std::accumulate(result.begin(), result.end(), gutter * (columns_.size() - 1));
  // A column at a time from the widest: columns that are narrow anyway stay whole.
  while (total > *width) {
    std::size_t* widest = nullptr;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::size_t least = std::max(narrowest, columns(columns_[i].title));
      if (columns_[i].may_shrink && result[i] > least && (widest == nullptr || result[i] > *widest))
        widest = &result[i];
    }
    if (widest == nullptr) break; // the caller clips the lines
    --*widest;
    --total;
  }
  return result;
}

std::vector<Line> Table::lines(std::optional<std::size_t> width, Charset charset) const {
  const std::vector<std::size_t> wide = widths(width);
  const auto line_of = [&](const std::vector<Cell>& cells) {
    Line line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string text = clipped(cells[i].text, wide[i], charset);
      const bool last = i + 1 == cells.size();
      // No blanks at the end of a line: they would wrap on a terminal that is narrower.
      const bool open_ended = last && columns_[i].align == Align::left;
      if (open_ended && text.empty()) break;
      if (i > 0) line.add(std::string(gutter, ' '));
      line.add(open_ended ? text : padded(text, wide[i], columns_[i].align), cells[i].style);
    }
    return width ? line.clipped(*width, charset) : line;
  };
  std::vector<Cell> titles;
  for (const TableColumn& column : columns_)
    titles.push_back({column.title, Style::strong});
  std::vector<Line> result{line_of(titles)};
  for (const auto& row : rows_)
    result.push_back(line_of(row));
  return result;
}

} // namespace dbops::core
