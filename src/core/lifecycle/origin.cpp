#include "core/lifecycle/origin.h"

#include <cmath>

namespace dbops::core {

std::string objection(const Origin& known, const Origin& now) {
  if (known.system != now.system) return "the rule comes from another cluster";
  if (known.timeline != now.timeline)
    return "the server was restored or promoted: it is on timeline " + std::to_string(now.timeline) +
           ", the last run was on " + std::to_string(known.timeline);
  if (known.instance != now.instance) return "the data directory was restored, copied or moved since the last run";
  if (!known.boot.empty() && known.boot == now.boot) {
    const double leap = (now.clock - known.clock) - (now.uptime - known.uptime);
    if (leap <= allowed_leap) return {};
    return "the clock was set forward by " + std::to_string(std::llround(leap)) + " s since the last run";
  }
  const double leap = now.ahead - known.ahead;
  if (leap <= allowed_leap) return {};
  return "the server was down for " + std::to_string(std::llround(leap / 3600)) +
         " hours when the machine was started again, or the clock was set forward";
}

} // namespace dbops::core
