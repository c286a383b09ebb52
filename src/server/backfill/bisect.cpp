#include "server/backfill/bisect.h"

extern "C" {
#include "access/htup_details.h"
}

namespace dbops::server::backfill {

namespace {

std::optional<TidBound> middle(TidBound from, TidBound& to) {
  // "Up to the start of the next block" is written with the block's own offsets, so that they can be halved.
  if (to.offset == 0 && to.block == from.block + 1) to = {from.block, MaxHeapTuplesPerPage + 1};
  if (to.block > from.block) {
    const std::uint32_t block = from.block + (to.block - from.block + 1) / 2;
    return TidBound{block, 0};
  }
  const auto first = static_cast<std::uint16_t>(from.offset == 0 ? 1 : from.offset);
  if (to.offset <= first + 1) return std::nullopt;
  return TidBound{from.block, static_cast<std::uint16_t>(first + (to.offset - first) / 2)};
}

} // namespace

std::optional<Halves> bisect(BatchRunner& runner, const Table& table, const Unit& unit) {
  Halves halves{first_stripe(unit), first_stripe(unit)};
  if (unit.order == Order::block) {
    TidBound to = unit.to;
    const std::optional<TidBound> mid = middle(unit.from, to);
    if (!mid) return std::nullopt;
    halves.left.to = *mid;
    halves.right.from = *mid;
    halves.right.to = to;
    halves.left.rows = halves.right.rows = unit.rows / 2;
  } else {
    Unit whole = unit; // every stripe: the middle of the range needs no hash
    whole.stripes = 1;
    const std::optional<BatchRunner::Middle> middle = runner.middle(table, whole);
    if (!middle) return std::nullopt;
    halves.left.upto = middle->key;
    halves.right.after = middle->key;
    halves.left.rows = halves.right.rows = (middle->rows + 1) / 2;
  }
  halves.left.tries = halves.right.tries = 0;
  return halves;
}

} // namespace dbops::server::backfill
