// Jobs make room for DROP DATABASE, ALTER DATABASE ... RENAME / SET TABLESPACE and CREATE DATABASE ... TEMPLATE: these
// need a database that nobody is connected to. Workers roll their batch back, leave, and continue when it is over.
#pragma once

namespace dbops::server {

void install_yield_hook(); // in _PG_init of a preloaded library

} // namespace dbops::server
