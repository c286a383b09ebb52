CREATE TABLE IF NOT EXISTS called (what text);
INSERT INTO called VALUES ('beforeMigrate');
