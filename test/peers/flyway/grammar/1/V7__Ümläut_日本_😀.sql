CREATE TABLE v7 (x text);
INSERT INTO v7 VALUES ('Ümläut 日本 😀');
