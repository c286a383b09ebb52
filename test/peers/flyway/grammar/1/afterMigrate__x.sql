INSERT INTO called VALUES ('afterMigrate x');
