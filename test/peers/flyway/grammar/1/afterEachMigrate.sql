INSERT INTO called VALUES ('afterEachMigrate');
