#include "server/schedule/capture.h"

// Of the connection of a client, which is not used here; Kerberos has headers that PostgreSQL's own do not bring.
#undef ENABLE_GSS

extern "C" {
#include "executor/tuptable.h"
#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "mb/pg_wchar.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::schedule {

namespace {

constexpr const char* cut_mark = "\n[cut]";

// --- rows -----------------------------------------------------------------------------------------------------------

struct RowReceiver {
  DestReceiver pub;
  Capture* capture;
};

bool is_full(const StringInfoData& text, int limit) {
  return text.len >= limit;
}

void start_rows(DestReceiver* self, int, TupleDesc columns) {
  Capture& capture = *reinterpret_cast<RowReceiver*>(self)->capture;
  for (int i = 0; i < columns->natts; ++i) {
    append_captured(&capture.output, i == 0 ? "" : "\t", capture.limit);
    append_captured(&capture.output, NameStr(TupleDescAttr(columns, i)->attname), capture.limit);
  }
  append_captured(&capture.output, "\n", capture.limit);
}

bool take_row(TupleTableSlot* slot, DestReceiver* self) {
  Capture& capture = *reinterpret_cast<RowReceiver*>(self)->capture;
  if (is_full(capture.output, capture.limit)) return true;
  slot_getallattrs(slot);
  // What the output functions leave behind goes with this context.
  MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "dbops captured row", ALLOCSET_SMALL_SIZES);
  MemoryContext previous = MemoryContextSwitchTo(scratch);
  for (int i = 0; i < slot->tts_tupleDescriptor->natts; ++i) {
    append_captured(&capture.output, i == 0 ? "" : "\t", capture.limit);
    if (slot->tts_isnull[i]) {
      append_captured(&capture.output, "\\N", capture.limit);
      continue;
    }
    Oid function = InvalidOid;
    bool variable = false;
    getTypeOutputInfo(TupleDescAttr(slot->tts_tupleDescriptor, i)->atttypid, &function, &variable);
    append_captured(&capture.output, OidOutputFunctionCall(function, slot->tts_values[i]), capture.limit);
  }
  append_captured(&capture.output, "\n", capture.limit);
  MemoryContextSwitchTo(previous);
  MemoryContextDelete(scratch);
  return true;
}

void nothing(DestReceiver*) {}

// --- messages -------------------------------------------------------------------------------------------------------

Capture* listening = nullptr;
const PQcommMethods* methods_before = nullptr;

// The body of a NoticeResponse: fields of a type byte and a text, ended by a zero byte.
const char* field_of(const char* body, std::size_t length, char type) {
  for (const char* at = body; at < body + length && *at != '\0'; at += std::strlen(at + 1) + 2)
    if (*at == type) return at + 1;
  return "";
}

void add_notice(const char* line, const char* label) {
  if (*line == '\0') return;
  append_captured(&listening->notices, label, listening->limit);
  append_captured(&listening->notices, line, listening->limit);
  append_captured(&listening->notices, "\n", listening->limit);
}

int put_message(char type, const char* body, std::size_t length) {
  if (listening == nullptr || type != 'N' || length == 0 || is_full(listening->notices, listening->limit)) return 0;
  append_captured(&listening->notices, field_of(body, length, 'V'), listening->limit);
  add_notice(field_of(body, length, 'M'), ": ");
  add_notice(field_of(body, length, 'D'), "DETAIL: ");
  add_notice(field_of(body, length, 'H'), "HINT: ");
  return 0;
}

void put_message_noblock(char type, const char* body, std::size_t length) {
  (void)put_message(type, body, length);
}
void comm_reset() {}
int flush() {
  return 0;
}
bool is_send_pending() {
  return false;
}

const PQcommMethods capture_methods{comm_reset, flush, flush, is_send_pending, put_message, put_message_noblock};

} // namespace

void begin_capture(Capture& capture, MemoryContext memory, int limit) {
  MemoryContext previous = MemoryContextSwitchTo(memory);
  capture.memory = memory;
  capture.limit = limit;
  capture.rows = 0;
  initStringInfo(&capture.output);
  initStringInfo(&capture.notices);
  MemoryContextSwitchTo(previous);
}

void append_captured(StringInfo text, const char* added, int limit) {
  if (is_full(*text, limit)) return;
  const auto length = static_cast<int>(std::strlen(added));
  const int room = limit - text->len;
  if (length <= room) {
    appendBinaryStringInfo(text, added, length);
    return;
  }
  appendBinaryStringInfo(text, added, pg_mbcliplen(added, length, room));
  while (text->len < limit)
    appendStringInfoChar(text, ' '); // less than a character: full is full
  appendStringInfoString(text, cut_mark);
}

DestReceiver* make_row_receiver(Capture& capture) {
  auto* receiver = static_cast<RowReceiver*>(palloc0(sizeof(RowReceiver)));
  receiver->pub.receiveSlot = take_row;
  receiver->pub.rStartup = start_rows;
  receiver->pub.rShutdown = nothing;
  receiver->pub.rDestroy = nothing;
  receiver->pub.mydest = DestNone;
  receiver->capture = &capture;
  return &receiver->pub;
}

void redirect_messages(Capture& capture) {
  listening = &capture;
  methods_before = PqCommMethods;
  PqCommMethods = &capture_methods;
  whereToSendOutput = DestRemote;
  FrontendProtocol = PG_PROTOCOL(3, 0);
}

void restore_messages() noexcept {
  if (listening == nullptr) return;
  whereToSendOutput = DestNone;
  PqCommMethods = methods_before;
  listening = nullptr;
}

} // namespace dbops::server::schedule
