INSERT INTO called VALUES ('beforeMigrate b');
