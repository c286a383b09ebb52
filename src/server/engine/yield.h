// Jobs make room for DROP DATABASE, ALTER DATABASE ... RENAME / SET TABLESPACE and CREATE DATABASE ... TEMPLATE, which
// need a database that nobody is connected to, and for DROP EXTENSION, which needs the tables of jobs. Workers roll
// their batch back, leave, and continue when it is over.
#pragma once

namespace dbops::server {

void install_yield_hook(); // in _PG_init of a preloaded library

} // namespace dbops::server
